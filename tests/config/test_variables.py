"""`variables`: types kept, texts interpolated, mistakes named."""

import pytest

from chomp.config import parse_config
from tests.config.wrong import refusal


def read(text, *overrides):
    return parse_config(text, source="c.yaml", overrides=overrides).config


def test_whole_reference_keeps_its_type():
    config = read(
        "variables: {n: 2000, r: 3e-4, b: no, l: [a, b], t: hello}\n"
        "train: {steps: $variables.n, generate_prompts: $variables.l}\n"
        "optim: {lr: $variables.r}\ndata: {shuffle: $variables.b, text_key: $variables.t}\n"
    )
    assert (config.train.steps, config.optim.lr, config.data.shuffle) == (2000, 3e-4, False)
    assert (config.train.generate_prompts, config.data.text_key) == (["a", "b"], "hello")


def test_interpolation_in_text():
    config = read(
        "variables: {n: 512, r: 3e-4, b: yes}\n"
        "logging: {run_dir: 'runs/n{$variables.n}-{$variables.r}-{$variables.b}', "
        "wandb: {tags: ['seq{$variables.n}', plain]}}\n"
    )
    assert config.logging.run_dir == "runs/n512-0.0003-true"
    assert config.logging.wandb.tags == ["seq512", "plain"]


def test_variables_use_variables():
    config = read("variables: {a: $variables.b, b: 7, c: 'x{$variables.a}'}\ntrain: {seed: $variables.a}\n"
                  "logging: {run_dir: $variables.c}\n")  # fmt: skip
    assert (config.train.seed, config.logging.run_dir) == (7, "x7")


def test_override_comes_before_expansion():
    assert read("variables: {n: 1}\ntrain: {seed: $variables.n}\n", "variables.n=5").train.seed == 5
    assert read("train: {seed: $variables.n}\n", "variables.n=5").train.seed == 5
    assert read("variables: {n: 4}\n", "train.seed=$variables.n").train.seed == 4
    assert read("train: {generate_prompts: $variables.p}\n", "variables.p=[a, b]").train.generate_prompts == ["a", "b"]


def test_the_plain_text_can_be_written():
    assert read("data: {backend: local_text, local_text: 'a $$variables.x {$$variables.y}'}\n").data.local_text == (
        "a $variables.x {$variables.y}"
    )


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "variables:\n  steps: 5\ntrain:\n  steps: $variables.stps\n",
            ["c.yaml:4: train.steps: there is no variables.stps; did you mean variables.steps?"],
        ),
        (
            "train:\n  steps: $variables.n\n",
            ["c.yaml:2: train.steps: there is no variables.n; the file defines none"],
        ),
        (
            "variables:\n  a: $variables.b\n  b: '{$variables.a}'\n",
            [
                "c.yaml:2: variables.a: variables refer to each other in a cycle: "
                "variables.a -> variables.b -> variables.a",
                "c.yaml:3: variables.b: variables refer to each other in a cycle: "
                "variables.b -> variables.a -> variables.b",
            ],
        ),
        (
            "variables:\n  a: 1\nlogging:\n  run_dir: runs/$variables.a\n",
            [
                "c.yaml:4: logging.run_dir: inside a longer text write {$variables.NAME}; "
                "$$variables is the literal text"
            ],
        ),
        (
            "variables:\n  a: [1]\nlogging:\n  run_dir: 'x{$variables.a}'\n",
            ["c.yaml:4: logging.run_dir: variables.a is a list and cannot become part of a text"],
        ),
        (
            "variables:\n  a: {b: 1}\n",
            ["c.yaml:2: variables.a: a variable is a plain value or a list of plain values, got a section"],
        ),
        (
            "variables:\n  a-b: 1\n",
            [
                "c.yaml:2: variables.a-b: a variable's name has only letters, digits and _, and no digit first"
            ],
        ),
        (
            "variables: 5\n",
            ["c.yaml:1: variables: expected names with values below it, such as `seq_len: 2048`"],
        ),
        (
            "variables:\n  n: '60'\ntrain:\n  steps: $variables.n\n",
            ["c.yaml:4: train.steps: expected a whole number, got the text '60'; write 60 without quotes"],
        ),
    ],
)  # fmt: skip
def test_mistakes(text, messages):
    assert refusal(text) == messages
