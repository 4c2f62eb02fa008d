"""The configuration being edited."""
