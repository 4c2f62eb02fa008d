"""Text to fixed-shape batches: sources, tokenizers, packing, one iterator with one small state."""
