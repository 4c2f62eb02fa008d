"""`chomp presets` counts what the models really have."""

import json

from click.testing import CliRunner

from chomp.cli import presets
from chomp.config.presets import MODEL_PRESETS


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
