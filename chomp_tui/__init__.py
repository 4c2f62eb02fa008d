"""The console: starts and follows engines; never imports JAX."""
