"""chomp pretrains language models on one machine."""

__version__ = "0.3.0.dev0"
