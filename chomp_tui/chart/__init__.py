"""Curves as character cells: pure functions on arrays."""
