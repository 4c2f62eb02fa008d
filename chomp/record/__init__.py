"""A run on disk: its events, its directory, and its view."""
