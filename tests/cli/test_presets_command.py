"""`chomp presets` counts what the models really have."""

import json

import pytest
from click.testing import CliRunner

from chomp.cli import presets
from chomp.config.model import ModelConfig
from chomp.config.presets import MODEL_PRESETS, expand_preset
from chomp.model.build import build_model


def test_every_preset_is_listed_with_its_parameters() -> None:
    done = CliRunner().invoke(presets.command, ["--json", "--vocab-size", "256"])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(done.output)}
    assert set(rows) == set(MODEL_PRESETS)
    assert round(rows["small-50m"]["parameters"] / 1e6, 1) == 58.3
    assert rows["micro"]["parameters"] == 2 * (3 * 128 * 128 + 3 * 128 * 682 + 2 * 128) + 128 + 256 * 128
    assert rows["micro"]["state_bytes"] == 16 * rows["micro"]["parameters"]
    table = CliRunner().invoke(presets.command, ["--vocab-size", "256"]).output.splitlines()
    assert len(table) == 1 + len(rows)
    assert next(line for line in table if line.startswith("small-50m")).split() == [
        "small-50m", "llama", "12", "512", "8/2", "2728", "58.29M", "932.7", "MB",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["tiny-cpu", "mega200m"])
def test_two_layers_tell_how_many_parameters_all_have(name: str) -> None:
    config = ModelConfig.model_validate(expand_preset({"preset": name, "vocab_size": 256}))
    assert presets.count_parameters(config) == build_model(config).parameter_count
