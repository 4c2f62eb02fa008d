"""Data of live and finished runs."""
