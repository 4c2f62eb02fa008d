"""`chomp config check|show|schema`."""

import json

import pytest
import yaml
from click.testing import CliRunner

from chomp.cli.config import command
from chomp.config import Config, InvalidConfig, config_from_dict, parse_config

FILE = """\
variables: {n: 2048}
train:
  seq_len: $variables.n
  batch_size: 2
  batch_tokens: 32768
model:
  preset: mega200m
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(FILE)
    return path


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def test_check_prints_one_line(file):
    result = run("check", file, "-o", "train.steps=500")
    assert result.exit_code == 0
    assert result.output == (
        f"OK {file}: megalodon on stdlib; 500 steps x 32,768 tokens (8 x 2 x 2048) = 16,384,000 tokens; "
        "muon, warm-up 100, cosine decay 400; vocabulary 384\n"
    )


def test_check_says_notes_on_stderr(file):
    result = run("check", file, "-o", "checkpoint.enabled=false")
    assert result.stdout.count("\n") == 1
    assert result.stderr == "note: checkpoint.enabled is false: nothing is saved and the run cannot be resumed\n"


def test_check_refuses(file):
    with pytest.raises(InvalidConfig) as caught:
        run("check", file, "-o", "train.stepz=5")
    assert caught.value.exit_code == 2
    assert str(caught.value) == "-o train.stepz=5: train.stepz: unknown key; did you mean train.steps?"


def test_show_says_who_set_what(file):
    lines = run("show", file, "-o", "train.seed=3").output.splitlines()
    for line in (
        "  seq_len: 2048  # file",
        "  seed: 3  # override",
        "  num_layers: 12  # preset",
        "  steps: 1000  # default",
        '    kind: "byte"  # default',
        "#   train.grad_accum: 8",
        "#   optim.decay_steps_effective: 900",
    ):
        assert line in lines


def test_show_can_be_read_again(file):
    shown = run("show", file, "-o", "data.text_key='a: b # $$variables'").output
    again = parse_config(shown, source="shown")
    assert again.config == parse_config(FILE, source="c", overrides=["data.text_key='a: b # $$variables'"]).config
    assert list(yaml.safe_load(shown)) == list(Config.model_fields)


def test_show_as_json(file):
    values = json.loads(run("show", file, "--json").output)
    assert config_from_dict(values["config"]).train.batch_tokens == 32_768
    assert values["derived"]["train"]["grad_accum"] == 8
    assert values["origins"]["model.z_dim"] == "preset"


def test_schema_is_printed():
    schema = json.loads(run("schema").output)
    assert schema["properties"]["train"]["properties"]["steps"]["default"] == 1000


def test_help_names_the_commands():
    output = run("--help").output
    for name in ("check", "show", "migrate", "schema"):
        assert f"  {name} " in output
