"""Streamed text: the same as in one piece, whole characters, ends where it is told to."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chomp.config.data import TokenizerConfig
from chomp.data.tokenizers import Tokenizer, build_tokenizer
from chomp.generate import sampling
from chomp.generate.request import Request
from chomp.generate.sampling import Continuation, SamplingOptions, encode_prompt, longest_beginning, write
from chomp.model.base import LanguageModel
from chomp.model.build import build_model
from chomp.model.decoding import remembered_bytes
from tests.model.tiny import model_config

TEXTS = st.text(alphabet=st.sampled_from("ab ñ€😀\u0301"), max_size=30)


@functools.cache
def tokenizer() -> Tokenizer:
    return build_tokenizer(TokenizerConfig(vocab_size_multiple=1))


@functools.cache
def model(backend: str) -> LanguageModel:
    model_def = build_model(model_config(backend, vocab_size=tokenizer().vocab_size))
    return model_def.combine(model_def.init(jax.random.key(0)))


class Spoken:
    """A fake model that says a text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
        def said(*_: object) -> Iterator[int]:
            yield from ids

        monkeypatch.setattr(sampling, "tokens_as_they_come", said)

    def pieces(self, prompt: str = "p", *stop: str) -> tuple[list[str], Continuation]:
        options = SamplingOptions(100, stop=stop)
        continuation = Continuation(None, tokenizer(), encode_prompt(tokenizer(), prompt), options, 0)  # type: ignore[arg-type]
        return list(continuation), continuation


@pytest.mark.parametrize("backend", ["dummy", "llama", "megalodon"])
@pytest.mark.parametrize("prompt", ["a", "for i in"])
def test_what_comes_piece_by_piece_is_what_one_program_writes(backend: str, prompt: str) -> None:
    ids = encode_prompt(tokenizer(), prompt)
    for options in (SamplingOptions(24, temperature=0.9, top_k=50, top_p=0.95), SamplingOptions(24, temperature=0.0)):
        whole = write(model(backend), tokenizer(), ids, options, seed=5)
        continuation = Continuation(model(backend), tokenizer(), ids, options, seed=5)
        assert "".join(continuation) == whole.text
        assert continuation.tokens == whole.tokens
        assert continuation.end == ("length" if whole.tokens == 24 else "end-of-text")


@given(prompt=TEXTS, text=TEXTS)
def test_pieces_are_whole_characters_and_together_the_text(prompt: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pieces, continuation = Spoken(patch, [int(i) for i in tokenizer().encode(text)]).pieces(prompt)
    assert "".join(pieces) == text
    assert all(pieces)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert (continuation.tokens, continuation.end) == (len(text.encode()), "length")


@given(text=TEXTS, stops=st.lists(st.text(alphabet="ab ñ", min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_stop_text_ends_before_it(text: str, stops: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pieces, continuation = Spoken(patch, [int(i) for i in tokenizer().encode(text)]).pieces("p", *stops)
    places = [text.find(stop) for stop in stops if stop in text]
    # Of two stop texts the one that is whole first ends the text; it may lie in the other one.
    first_whole = min((text.find(stop) + len(stop) for stop in stops if stop in text), default=0)
    got = "".join(pieces)
    assert text.startswith(got)
    assert continuation.end == ("stop" if places else "length")
    if places:
        assert not any(stop in got for stop in stops)
        assert len(got) <= first_whole
    else:
        assert got == text


def test_bytes_that_are_no_text_do_not_hold_up_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [int(i) for i in tokenizer().encode("é")][:1] + [int(i) for i in tokenizer().encode("ok, go on")]
    pieces, _ = Spoken(monkeypatch, broken).pieces()
    assert "".join(pieces) == "\N{REPLACEMENT CHARACTER}ok, go on"
    only_beginnings = [int(tokenizer().encode("é")[0])] * 40
    pieces, _ = Spoken(monkeypatch, only_beginnings).pieces()
    assert "".join(pieces) == "\N{REPLACEMENT CHARACTER}" * 40


def test_the_end_of_text_id_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    eos_id = tokenizer().eos_id
    assert eos_id is not None
    pieces, continuation = Spoken(monkeypatch, [*map(int, tokenizer().encode("ab")), eos_id, 70]).pieces()
    assert (pieces, continuation.tokens, continuation.end) == (["a", "b"], 2, "end-of-text")


def test_how_much_may_be_the_beginning_of_a_stop_text() -> None:
    assert longest_beginning("x\n", ("\n\n",)) == 1
    assert longest_beginning("aab", ("abc", "b", "bb")) == 2
    assert longest_beginning("", ("abc",)) == 0
    assert longest_beginning("abc", ()) == 0


@pytest.mark.parametrize("backend", ["dummy", "llama", "megalodon"])
def test_the_memory_of_a_continuation_is_known_before_it_is_kept(backend: str) -> None:
    made = model(backend)
    kept = eqx.filter_jit(lambda made, ids: made.prefill(ids, 64)[1])(made, jax.numpy.zeros((1, 1), jax.numpy.int32))
    arrays = [leaf for leaf in jax.tree.leaves(kept) if isinstance(leaf, jax.Array)]
    assert remembered_bytes(made, 10, 50) == sum(leaf.nbytes for leaf in arrays)
    assert remembered_bytes(made, 10, 2**24) >= remembered_bytes(made, 10, 50)


def test_a_temperature_that_would_overflow_takes_the_likeliest() -> None:
    assert [SamplingOptions(1, temperature).divisor for temperature in (0.0, 1e-40, 0.5)] == [0.0, 0.0, 0.5]


def test_a_request_overrides_the_command_line() -> None:
    defaults = Request.defaults(SamplingOptions(9, 0.5, top_k=3, stop=("x",)), seed=1)
    asked = defaults.read(json.dumps({"prompt": "a", "temperature": 0, "top_k": None, "stop": ["y", "z"]}))
    assert asked.options == SamplingOptions(9, 0.0, None, None, ("y", "z"))
    assert (asked.prompt, asked.seed) == ("a", 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "a line must be a JSON object"),
        ("[]", "a line must be a JSON object"),
        ('{"promt": "a"}', "unknown field promt; known are prompt, max_tokens"),
        ('{"max_tokens": 0}', "max_tokens: "),
        ('{"temperature": NaN}', "temperature: "),
        ('{"top_p": 0}', "top_p: "),
        ('{"stop": [""]}', "stop.0: "),
        ('{"seed": "1"}', "seed: "),
        ('{"seed": 4294967296}', "seed: must be at most 4294967295, got 4294967296"),
        ('{"seed": ' + "9" * 5000 + "}", "a line must be a JSON object"),
        ('{"prompt": "\\udc00"}', "prompt: "),
        ("[" * 100_000, "a line must be a JSON object"),
    ],
)
def test_a_request_that_cannot_be_served_is_one_sentence(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + problem.replace(".", r"\.")) as caught:
        Request.defaults(SamplingOptions(9), seed=1).read(line)
    assert "\n" not in str(caught.value)


def test_every_prompt_length_shares_the_programs_of_powers_of_two(tmp_path: Path) -> None:
    shapes = set()
    made = model("dummy")

    class Watched:
        def prefill(self, ids: jax.Array, capacity: int) -> object:
            shapes.add((ids.shape, capacity))
            return made.prefill(ids, capacity)

    with pytest.MonkeyPatch.context() as patch:
        # The compiled function itself: a program that an earlier test compiled would not call the model again.
        patch.setattr("chomp.model.decoding._prefilled", lambda model, ids, capacity: Watched().prefill(ids, capacity))
        for length in range(16, 32):
            list(Continuation(made, tokenizer(), [70] * length, SamplingOptions(17), 0))
    assert shapes == {((1, 16), 64)}
