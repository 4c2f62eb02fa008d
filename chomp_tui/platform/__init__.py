"""The terminal, keys, threads and child processes."""
