from dataclasses import dataclass

import pytest

from chomp.errors import ConfigError
from chomp.model.resolve import resolve_model
from tests.model.tiny import model_config

NULLS = {"vocab_size": None, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}


@dataclass
class Facts:
    vocab_size: int = 259
    padded_vocab_size: int = 384
    pad_id: int | None = 0
    bos_id: int | None = 1
    eos_id: int | None = 2


def test_null_fields_come_from_the_tokenizer() -> None:
    resolved = resolve_model(model_config(**NULLS), Facts())
    assert (resolved.vocab_size, resolved.pad_token_id, resolved.bos_token_id, resolved.eos_token_id) == (384, 0, 1, 2)


def test_a_written_size_that_is_large_enough_stays() -> None:
    assert resolve_model(model_config(vocab_size=259), Facts()).vocab_size == 259


def test_a_size_below_the_tokenizer_s_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(model_config(vocab_size=256), Facts())
    assert str(caught.value) == (
        "model.vocab_size is 256 but the tokenizer needs 259 ids, rounded to 384: remove model.vocab_size, "
        "or set it to 259 or more."
    )


def test_a_contradicting_special_id_is_replaced_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    resolved = resolve_model(model_config(vocab_size=300, eos_token_id=7), Facts(eos_id=5))
    assert resolved.eos_token_id == 5
    assert "model.eos_token_id 7 is replaced by the tokenizer's 5" in caplog.text


def test_a_contradicting_special_id_is_refused_when_not_set_automatically() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(model_config(vocab_size=300, eos_token_id=7), Facts(eos_id=5), auto_set_special_tokens=False)
    assert str(caught.value) == (
        "model.eos_token_id is 7 but the tokenizer's is 5: remove model.eos_token_id, or set it to 5, "
        "or set data.tokenizer.auto_set_special_tokens to true."
    )


def test_a_tokenizer_without_special_ids_leaves_the_model_s() -> None:
    resolved = resolve_model(model_config(vocab_size=300), Facts(pad_id=None, bos_id=None, eos_id=None))
    assert (resolved.pad_token_id, resolved.bos_token_id, resolved.eos_token_id) == (0, 1, 2)


def test_a_special_id_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(model_config(vocab_size=300, eos_token_id=300), Facts(eos_id=None))
    assert str(caught.value) == "model.eos_token_id is 300 but model.vocab_size is 300: an id must be below it."


def test_a_head_too_narrow_for_the_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(model_config(vocab_size=300, output_size=100), Facts())
    assert str(caught.value) == (
        "model.output_size is 100 but the tokenizer needs 259 ids: set it to -1, which means model.vocab_size."
    )
