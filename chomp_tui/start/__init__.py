"""Starting and steering engines, and the machine they run on; no widget anywhere."""
