"""chomp pretrains language models on one machine."""

__version__ = "0.2.0"
