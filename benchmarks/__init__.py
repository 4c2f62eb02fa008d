"""Figures of this machine: `python -m benchmarks`, or one page at a time."""
