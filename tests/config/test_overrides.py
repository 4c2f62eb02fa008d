"""`-o KEY=VALUE`, read by the declared type."""

import pytest

from chomp.config import flatten, parse_config
from tests.config.wrong import refusal

FILE = "data: {backend: files, files: [x]}\n"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.text_key=1", "1"),
        ("data.text_key=a=b", "a=b"),
        ("data.text_key=", ""),
        ("data.hf_name=null", None),
        ("data.hf_name=None", None),
        ("train.steps=1e3", 1000),
        ("train.steps=1_000", 1000),
        ("train.batch_tokens=none", None),
        ("optim.lr=3e-4", 3e-4),
        ("optim.lr=1", 1.0),
        ("optim.muon.consistent_rms=0.2", 0.2),
        ("train.deterministic=null", None),
        *((f"data.shuffle={word}", True) for word in ("true", "yes", "on", "1", "True")),
        *((f"data.shuffle={word}", False) for word in ("false", "no", "off", "0", "FALSE")),
        ("data.files=[a, b]", ["a", "b"]),
        ("data.files=a.txt,b/*.txt", ["a.txt", "b/*.txt"]),
        ("data.files=['a, b', 1]", ["a, b", "1"]),
        ("train.generate_prompts=[]", []),
        ("data.packing_mode=bin", "bin"),
        ("model.preset=none", None),
    ],
)
def test_value_by_type(override, value):
    loaded = parse_config(FILE, source="c.yaml", overrides=[override])
    key = override.partition("=")[0]
    got = flatten(loaded.config)[key]
    assert got == value
    assert type(got) is type(value)
    assert loaded.origins[key] == "override"


def test_the_last_one_wins():
    loaded = parse_config("train: {seed: 1}\n", source="c.yaml", overrides=["train.seed=2", "train.seed=3"])
    assert loaded.config.train.seed == 3


def test_a_missing_section_is_made():
    config = parse_config("train:\n", source="c.yaml", overrides=["optim.muon.ns_steps=3", "train.seed=1"]).config
    assert (config.optim.muon.ns_steps, config.train.seed) == (3, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=1", "train.stepz: unknown key; did you mean train.steps?"),
        ("lr=1", "lr: unknown key; did you mean optim.lr?"),
        ("nonsense.lr=1", "nonsense.lr: unknown key; did you mean optim.lr?"),
        ("train.steps.x=1", "train.steps.x: unknown key; did you mean train.steps or train.profile.steps?"),
        ("train.steps", "expected KEY=VALUE such as train.steps=100, got 'train.steps' without ="),
        ("=5", "expected KEY=VALUE such as train.steps=100, got '=5' without a key"),
        ("train=5", "train: is a section; set one of its keys, such as train.seed=…"),
        (
            "evaluation.sets=x",
            "evaluation.sets: is a section; set one of its keys, such as evaluation.sets.NAME.files=…",
        ),
        (
            "evaluation.sets=[a=b.txt]",
            "evaluation.sets: is a section; set one of its keys, such as evaluation.sets.a.files=[b.txt]",
        ),
        (
            "evaluation.tasks=a=b",
            "evaluation.tasks: is a section; set one of its keys, such as evaluation.tasks.a.path=b",
        ),
        ("evaluation.tasks.a.pat=b", "evaluation.tasks.a.pat: unknown key; did you mean evaluation.tasks.a.path?"),
        ("variables=5", "variables: set one variable at a time: variables.NAME=VALUE"),
        ("train.steps=1.5", "train.steps: expected a whole number, got '1.5'"),
        ("train.steps=", "train.steps: expected a whole number, got ''"),
        ("train.steps=null", "train.steps: expected a whole number, got 'null'"),
        ("train.steps=0", "train.steps: expected a whole number above 0 and at most 2147483647, got 0"),
        ("data.shuffle=maybe", "data.shuffle: expected true or false, got 'maybe'"),
        ("optim.lr=fast", "optim.lr: expected a number, got 'fast'"),
        ("data.files=[a, [b]]", "data.files: expected a list of texts, got '[a, [b]]'"),
        ("data.files=[a", "data.files: expected a list of texts, got '[a'"),
        ("optim.name=adam", "optim.name: expected one of adamw, lion, muon, got the text 'adam'; did you mean adamw?"),
    ],
)
def test_mistakes(override, message):
    assert refusal(FILE, override) == [f"-o {override}: {message}"]


def test_override_of_a_file_that_is_wrong_there():
    assert refusal("train: 5\n", "train.seed=1") == [
        "c.yaml:1: train: expected a section with keys such as `seed:` below it, got 5"
    ]
