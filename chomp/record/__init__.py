"""A run on disk: its events, its directory, its story."""
