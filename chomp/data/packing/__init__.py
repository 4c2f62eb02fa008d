"""Packers: documents of any length in, batches of fixed shape out."""
