"""Notices about runs, to a command and to webhooks; no JAX."""
