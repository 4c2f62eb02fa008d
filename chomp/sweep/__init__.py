"""Sweeps: jobs of the queue over a space of settings."""
