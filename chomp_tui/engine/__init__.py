"""Starting and steering engine processes."""
