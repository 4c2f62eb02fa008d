"""The queue: jobs in a folder, and the runner that trains them one after another; no JAX."""
