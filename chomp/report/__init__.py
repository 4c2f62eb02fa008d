"""Reports of runs to share: a page, charts as files, tables as CSV; no JAX."""
