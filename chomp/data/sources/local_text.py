"""`backend: local_text`: text in the configuration itself, as one document."""

from chomp.config.data import DataConfig
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import InMemorySource
from chomp.data.sources.build import Text
from chomp.data.sources.files import divided
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open `data.local_text`.

    Raises:
        ConfigError: it is missing.
        DataError: it is empty.
    """
    text = data.local_text
    if text is None:
        raise ConfigError("data.local_text is missing: `data.backend: local_text` needs the text itself")
    if not text.strip():
        raise DataError("data.local_text is empty: write the text to train on, or choose another data.backend")
    return divided(InMemorySource("data.local_text", [text], {"backend": "local_text"}), data)
