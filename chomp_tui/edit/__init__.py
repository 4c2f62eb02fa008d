"""The configuration being edited, and what it amounts to; no widget anywhere."""
