"""What screens know of live and finished runs."""
