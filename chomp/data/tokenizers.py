"""Building a tokenizer from configuration or from a snapshot."""

import json
from pathlib import Path

from chomp.config.data import TokenizerConfig
from chomp.data.byte_tokenizer import ByteTokenizer
from chomp.data.tokenizer import SETTINGS_FILE, Tokenizer
from chomp.errors import CheckpointError

__all__ = ["ByteTokenizer", "Tokenizer", "build_tokenizer", "load_tokenizer"]


def build_tokenizer(config: TokenizerConfig, snapshot: Path | None = None) -> Tokenizer:
    """The configured tokenizer, or the snapshot's if one is given.

    Raises:
        ConfigError: the section names what the tokenizer does not have.
        DataError: the tokenizer cannot be found, reached or read.
        CheckpointError: the snapshot is missing or damaged.
    """
    if snapshot is not None:
        return load_tokenizer(snapshot)
    if config.kind == "byte":
        return ByteTokenizer(
            offset=config.byte_offset,
            add_bos=config.add_bos,
            add_eos=config.add_eos,
            vocab_size_multiple=config.vocab_size_multiple,
        )
    from chomp.data.fast_tokenizers import tokenizer_from_file, tokenizer_from_hub

    return tokenizer_from_hub(config) if config.kind == "hf" else tokenizer_from_file(config)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
        CheckpointError: the folder or a file in it is missing or damaged.
    """
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(path.read_text("utf-8"))
        if settings["kind"] == "byte":
            del settings["kind"]
            settings["offset"] = settings.pop("byte_offset")
            return ByteTokenizer(**settings)
        from chomp.data.fast_tokenizers import FastTokenizer

        return FastTokenizer.from_snapshot(folder, settings)
    except FileNotFoundError as error:
        raise CheckpointError(f"the tokenizer snapshot {folder} has no {Path(error.filename).name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the tokenizer snapshot {folder} cannot be read ({type(error).__name__}: {error}); restore it from a copy "
            f"of the run"
        ) from error
