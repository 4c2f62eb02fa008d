"""Unknown keys and values that do not fit: the exact words."""

from typing import Any, get_args, get_type_hints

import pytest

from chomp.config import InvalidConfig, config_from_dict, parse_config
from chomp.config.data import DataConfig
from chomp.config.optim import OptimConfig
from chomp.config.spec import sections, settings
from chomp.config.suggest import ALIASES
from tests.config.wrong import refusal


def allowed(section: Any, name: str) -> tuple[str, ...]:
    """The values of a setting that is a choice."""
    return get_args(get_type_hints(section)[name])


PLACES = [
    ("train:\n  stepz: 3\n", "c.yaml:2: train.stepz: unknown key; did you mean train.steps?"),
    ("train:\n  lr: 1e-3\n", "c.yaml:2: train.lr: unknown key; did you mean optim.lr?"),
    ("optimizer:\n  lr: 1e-3\n", "c.yaml:1: optimizer: unknown key; did you mean optim?"),
    ("steps: 5\n", "c.yaml:1: steps: unknown key; did you mean train.steps or train.profile.steps?"),
    ("tokenizer:\n  kind: byte\n", "c.yaml:1: tokenizer: unknown key; did you mean data.tokenizer?"),
    (
        "data:\n  tokenizer:\n    kin: byte\n",
        "c.yaml:3: data.tokenizer.kin: unknown key; did you mean data.tokenizer.kind?",
    ),
    (
        "model:\n  softmax_dtype: float32\n",
        "c.yaml:2: model.softmax_dtype: unknown key; it is now called model.attention_softmax_dtype; `chomp config "
        "migrate` rewrites the file",
    ),
    (
        "debug:\n  zzzzzz: 1\n",
        "c.yaml:2: debug.zzzzzz: unknown key; the keys of debug are nonfinite, max_consecutive_nonfinite, "
        "rollback_lr_factor, rollback_steps, max_consecutive_rollbacks, spikes, spike_deviations, "
        "max_consecutive_spikes",
    ),
    (
        "qqqq: 1\n",
        "c.yaml:1: qqqq: unknown key; the keys at the top are model, data, train, objective, evaluation, optim, "
        "parallel, checkpoint, logging, debug, notify, variables",
    ),
    ("train:\n  learning_rate: 1e-3\n", "c.yaml:2: train.learning_rate: unknown key; did you mean optim.lr?"),
    ("model:\n  n-layer: 3\n", "c.yaml:2: model.n-layer: unknown key; did you mean model.num_layers?"),
    ("training:\n  x: 3\n", "c.yaml:1: training: unknown key; did you mean train?"),
    ("train:\n  optimizer: lion\n", "c.yaml:2: train.optimizer: unknown key; did you mean optim.name?"),
    (
        "train.steps: 3\n",
        "c.yaml:1: train.steps: a key has no dots; write it as a section: train: / steps: 3 (a line each, indented "
        "below the one before)",
    ),
    (
        "data:\n  tokenizer.kind: 'byte'\n",
        "c.yaml:2: data.tokenizer.kind: a key has no dots; write it as a section: data: / tokenizer: / kind: byte (a "
        "line each, indented below the one before)",
    ),
    (
        "data.tokenizer: {kind: byte}\n",
        "c.yaml:1: data.tokenizer: a key has no dots; write it as a section: data: / tokenizer: … (a line each, "
        "indented below the one before)",
    ),
    ("train.stepz: 3\n", "c.yaml:1: train.stepz: unknown key; did you mean train.steps?"),
]  # fmt: skip

TYPES = [
    ("train.steps", "'60'", "expected a whole number, got the text '60'; write 60 without quotes"),
    ("train.steps", "abc", "expected a whole number, got the text 'abc'"),
    ("train.steps", "1.5", "expected a whole number, got 1.5"),
    ("train.steps", "-1", "expected a whole number above 0 and at most 2147483647, got -1"),
    ("train.steps", "1e10", "expected a whole number above 0 and at most 2147483647, got 10000000000"),
    ("train.steps", "true", "expected a whole number, got true"),
    (
        "train.steps",
        "",
        "expected a whole number, got null (no value); write a value, or delete the line to use the default",
    ),
    ("train.steps", "[5]", "expected a whole number, got a list"),
    ("train.steps", "{a: 5}", "expected a whole number, got a section"),
    (
        "train.steps",
        "{$variables.n}",
        "expected a whole number, got a section; YAML reads {…} without quotes as a section; write "
        "$variables.NAME, or quote the text",
    ),
    (
        "train.batch_tokens",
        "'none'",
        "expected a whole number, or null, got the text 'none'; write null for none",
    ),
    ("optim.lr", "'1e-3'", "expected a number, got the text '1e-3'; write 1e-3 without quotes"),
    ("optim.lr", ".nan", "expected a finite number, got nan"),
    ("optim.lr", ".inf", "expected a finite number, got inf"),
    ("optim.adam.b1", "1", "expected a number of at least 0 and below 1, got 1"),
    ("objective.label_smoothing", "1", "expected a number of at least 0 and below 1, got 1"),
    ("objective.z_loss", "-1e-4", "expected a number of at least 0, got -0.0001"),
    ("objective.token_filter_keep", "0", "expected a number above 0 and at most 1, got 0"),
    ("objective.mtp_heads", "-1", "expected a whole number of at least 0, got -1"),
    ("objective.mtp_weight", "0", "expected a number above 0, got 0"),
    ("optim.min_lr_ratio", "2.5", "expected a number of at least 0 and at most 1, got 2.5"),
    ("data.shuffle", "'no'", "expected true or false, got the text 'no'; write no without quotes"),
    ("data.shuffle", "1", "expected true or false, got 1"),
    ("data.text_key", "1", "expected text, got 1; put text in quotes"),
    ("data.text_key", "no", "expected text, got false; put text in quotes"),
    ("data.files", "a.txt", "expected a list of texts, got the text 'a.txt'; write a list: [a.txt]"),
    (
        "data.backend",
        "stdlb",
        f"expected one of {', '.join(allowed(DataConfig, 'backend'))}, got the text 'stdlb'; did you mean stdlib?",
    ),
    ("optim.name", "xyz", f"expected one of {', '.join(allowed(OptimConfig, 'name'))}, got the text 'xyz'"),
    ("logging.log_file", "''", "expected text that is not empty, got the text ''"),
    ("logging.run_dir", "''", "expected text that is not empty, or null, got the text ''"),
    ("data.tokens_eval_path", "''", "expected text that is not empty, or null, got the text ''"),
    (
        "model.compute_dtype",
        "float16",
        "float16 is not supported: the model library computes in float32 and bfloat16 only, and bfloat16 needs no loss "
        "scaling; choose float32 or bfloat16",
    ),
    (
        "model.compute_dtype",
        "bf16",
        "expected one of float32, bfloat16, got the text 'bf16'; did you mean bfloat16?",
    ),
    ("train", "5", "expected a section with keys such as `seed:` below it, got 5"),
    ("data.tokenizer", "byte", "expected a section with keys such as `kind:` below it, got the text 'byte'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), PLACES)
def test_unknown_key(text, message):
    assert refusal(text) == [message]


def test_every_suggestion_is_a_setting():
    assert set(ALIASES.values()) <= set(settings())
    known = {name.rpartition(".")[2] for name in (*settings(), *sections())}
    assert not known & set(ALIASES), "a key of the same name comes first"


def _nested(path, value):
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(path.split("."))]
    return "\n".join(lines) + f" {value}\n", len(lines)


@pytest.mark.parametrize(("path", "value", "message"), TYPES)
def test_value_that_does_not_fit(path, value, message):
    text, line = _nested(path, value)
    assert refusal(text) == [f"c.yaml:{line}: {path}: {message}"]


def test_item_of_a_list():
    assert refusal("data:\n  files:\n    - a\n    - 5\n") == [
        "c.yaml:4: data.files[1]: expected text, got 5; put text in quotes"
    ]


def test_all_problems_in_the_order_of_the_file():
    text = "train:\n  stepz: 3\n  seed: -1\noptim:\n  lr: x\n"
    assert refusal(text, "data.shufle=no") == [
        "c.yaml:2: train.stepz: unknown key; did you mean train.steps?",
        "c.yaml:3: train.seed: expected a whole number of at least 0 and at most 4294967295, got -1",
        "c.yaml:5: optim.lr: expected a number, got the text 'x'",
        "-o data.shufle=no: data.shufle: unknown key; did you mean data.shuffle?",
    ]


def test_whole_numbers_may_have_an_exponent():
    assert parse_config("train:\n  steps: 1e3\n", source="c.yaml").config.train.steps == 1000


def test_control_characters_are_shown_escaped():
    [line] = refusal('"tr\\e[2Jain": 1\n')
    assert "\x1b" not in line
    assert r"tr\x1b[2Jain" in line


def test_problems_are_data_for_a_form():
    with pytest.raises(InvalidConfig) as caught:
        parse_config("train:\n  steps: 0\n", source="c.yaml")
    [problem] = caught.value.problems
    assert (problem.path, problem.line, problem.where) == ("train.steps", 2, "c.yaml:2")


def test_a_dump_that_does_not_fit_is_refused_in_the_same_words():
    with pytest.raises(InvalidConfig) as caught:
        config_from_dict({"train": {"steps": "60"}, "old": 1})
    assert [str(problem) for problem in caught.value.problems] == [
        "train.steps: expected a whole number, got the text '60'; write 60 without quotes",
        "old: unknown key; the keys at the top are model, data, train, objective, evaluation, optim, parallel, "
        "checkpoint, logging, debug, notify, variables",
    ]
