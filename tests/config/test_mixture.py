"""Mixtures in a configuration: what is refused, in one sentence each, and what a resume may change."""

import pytest

from chomp.config import InvalidConfig, flatten, notes, parse_config
from chomp.config.compat import blocking, compare
from chomp.config.load import parse_resolved

TWO = "sources: {a: , b: {backend: local_text, local_text: x}}"


def parsed(mixture: str, *overrides: str):
    return parse_config(f"data:\n  mixture:\n    {mixture}\n", source="f", overrides=overrides)


STAGE = TWO + "\n    stages: {s: {from_tokens: 9, weights: {WEIGHTS}}}"


@pytest.mark.parametrize(
    ("mixture", "path", "said"),
    [
        ("sources: {web: {wieght: 2}}", "sources.web.wieght", "did you mean data.mixture.sources.web.weight?"),
        ("sources: {web: {text_column: x}}", "sources.web.text_column", "mean data.mixture.sources.web.text_key?"),
        ("sources: {'a.b': {files: [x]}}", "sources", "a letter first, at most 32 characters, got the text 'a.b'"),
        ("sources: {\"\\e[31m\": }", "sources", "a letter first, at most 32 characters, got the text '\\x1b[31m'"),
        ("sources: 3", "sources", "expected names with a value each below it, got 3"),
        ("sources: {a: 3}", "sources.a", "expected a section with keys such as `backend:` below it, got 3"),
        ("sources: {a: {weight: -1}}", "sources.a.weight", "expected a number of at least 0, got -1"),
        ("sources: {a: {weight: 0}}", "sources", "every weight is 0, so that there is nothing to read"),
        ("sources: {a: {backend: files}}", "sources.a.files", "backend is files and this is empty"),
        ("sources: {a: {max_epochs: 2}}", "sources.a.max_epochs", "repeat starts a source again without end"),
        (STAGE.replace("WEIGHTS", "a: 1"), "stages.s.weights", "names every source but b; write b: 0"),
        (STAGE.replace("WEIGHTS", "a: 1, b: 1, c: 1"), "stages.s.weights.c", "there is no such source in data.mixture"),
        (STAGE.replace("WEIGHTS", "a: 0, b: 0"), "stages.s.weights", "every weight is 0"),
        (STAGE.replace("9, weights: {WEIGHTS", "0, weights: {a: 1, b: 0"), "stages.s.from_tokens", "a number above 0"),
        (f"{TWO}\n  files: [x]", "files", "data.mixture is set, whose sources name the text"),
        (f"{TWO}\n  repeat: false", "repeat", "write data.mixture.exhausted: stop or renormalise in place of false"),
        (f"{TWO}\n  eval_text: x", "eval_text", "name files in data.mixture.sources.NAME.eval_files"),
        (
            "sources: {a: {backend: tokens, tokens_path: x, eval_files: [y]}}", "sources.a.eval_files",
            "name the evaluation text in data.mixture.sources.a.tokens_eval_path",
        ),
        (f"{TWO}\ntrain: {{epochs: 1}}", "train.epochs", "data.mixture has several; write train.steps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_sentence(mixture, path, said):
    with pytest.raises(InvalidConfig) as error:
        parsed(mixture)
    (problem,) = error.value.problems
    assert problem.path in (path, f"data.{path}", f"data.mixture.{path}")
    assert said in problem.message
    assert problem.line is not None
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.mixture.sources=1", "is a section; set one of its keys, such as data.mixture.sources.NAME.backend=…"),
        ("data.mixture.sources.a.wieght=1", "unknown key; did you mean data.mixture.sources.a.weight?"),
        ("data.mixture.stages.s.weights.a.x=1", "unknown key"),
        ("data.mixture.sources.a.weight=x", "expected a number, got 'x'"),
    ],
)
def test_overrides_reach_into_tables(override, said):
    with pytest.raises(InvalidConfig, match=None) as error:
        parsed(TWO, override)
    assert said in str(error.value)
    loaded = parsed(TWO, "data.mixture.sources.a.weight=3", "data.mixture.sources.new.backend=stdlib")
    assert loaded.origins["data.mixture.sources.a.weight"] == "override"
    assert list(loaded.config.data.mixture.sources) == ["a", "b", "new"]
    assert parse_resolved(loaded.config.model_dump(), source="dump").config == loaded.config


def test_what_is_never_read_is_noted():
    stage = "stages: {s: {from_tokens: 1_000_000_000_000, weights: {a: 0, b: 1}}}"
    said = notes(parsed(f"sources: {{a: {{weight: 0}}, b: }}\n    {stage}").config)
    assert any("the stage s of data.mixture begins after 1,000,000,000,000 tokens" in note for note in said)
    assert any("the source a of data.mixture has weight 0 in every stage" in note for note in said)


@pytest.mark.parametrize(
    ("before", "after", "accepted", "refused"),
    [
        (TWO, TWO.replace("a: ", "a: {weight: 2}"), (), ["data.mixture.sources.a.weight"]),
        (TWO, TWO.replace("a: ", "a: {weight: 2}"), ("data.mixture",), []),
        (TWO, TWO.replace("{a: ", "{c: , a: "), (), ["data.mixture.sources.c"]),
        (TWO, TWO.replace("{a: ", "{c: , a: "), ("data.mixture.sources.c",), []),
        (TWO, TWO.replace("a: ", "a: {backend: hf}"), ("data.mixture",), ["data.mixture.sources.a.backend"]),
        (TWO, TWO.replace("local_text: x", "local_text: y"), (), []),
        (TWO, "exhausted: repeat", ("data.mixture",), []),
    ],
)
def test_a_resume_may_change_shares_and_no_backend(before, after, accepted, refused):
    sides = [flatten(parsed(mixture).config) for mixture in (before, after)]
    differences = compare({**sides[0]}, {**sides[1]})
    assert [difference.path for difference in blocking(differences, accepted)] == refused
