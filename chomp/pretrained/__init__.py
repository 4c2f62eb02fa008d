"""Weights to start from: `model.init_from`."""
