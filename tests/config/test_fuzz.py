"""Whatever a file or an override contains, the answer is a configuration or a `ConfigError`."""

import contextlib

from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chomp.config import derive, notes, parse_config, settings
from chomp.errors import ConfigError

WORDS = st.sampled_from(
    ["0x_", "9" * 5000, "0x" + "f" * 5000, "1e999", "-1", "1_", "._", ".", "yes", "None", "null", "''", "[a, b]",
     "[[", "{a: 1}", "{$variables.a}", "$variables.a", "$$variables", "$variables", "a: b", "*", "&a x", "*a",
     "!!set", "|", ">", "- x", "? a", "%", "\t", "\ufeff", "\x85", "\u2028", "'", '"\\x00"', "~", "<<", "=", "#"]
)  # fmt: skip
KEYS = st.sampled_from([*settings(), "train", "data.tokenizer", "variables", "variables.a", "variables.", "x.y", ""])
VALUES = WORDS | st.text(max_size=8) | st.integers().map(str) | st.floats().map(repr)

# A busy machine is no failure.
UNTIMED = hypothesis_settings(deadline=None)


def accept(text, overrides=()):
    with contextlib.suppress(ConfigError):
        config = parse_config(text, source="c.yaml", overrides=overrides).config
        derive(config)
        notes(config)


@UNTIMED
@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("{" * 2000)
@example("[" * 2000)
@example("a:\n" + "".join(f"{' ' * depth}b:\n" for depth in range(1, 200)))
def test_any_text(text):
    accept(text)


@UNTIMED
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_values(pairs):
    lines = []
    for key, value in pairs:
        names = key.split(".")
        lines += [f"{'  ' * depth}{name}:" for depth, name in enumerate(names)]
        lines[-1] += f" {value}"
    accept("\n".join(lines) + "\n")


@UNTIMED
@given(st.lists(st.tuples(KEYS, VALUES).map("=".join) | st.text(max_size=8), max_size=4))
def test_any_overrides(overrides):
    accept("variables: {a: 1}\n", overrides)
