"""`chomp presets` counts what the models really have, and predicts what `chomp inspect` estimates."""

import json

import pytest
from click.testing import CliRunner

from chomp.analysis.inspection import inspect
from chomp.cli import presets
from chomp.config import Config
from chomp.config.load import parse_config
from chomp.config.presets import MODEL_PRESETS
from chomp.train.footprint import MemoryEstimate


def listed(*arguments: str) -> dict[str, dict]:
    done = CliRunner().invoke(presets.command, ["--json", *arguments])
    assert done.exit_code == 0, done.output
    return {row["name"]: row for row in json.loads(done.output)}


def test_without_names_every_preset_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(config: Config, platform: str) -> tuple[int, MemoryEstimate]:
        return config.model.num_layers, MemoryEstimate(1, 2, 3, 4)

    monkeypatch.setattr("chomp.train.footprint.predict", predict)
    rows = listed()
    assert list(rows) == list(MODEL_PRESETS)
    for name, row in rows.items():
        predicted = row["parameters"] + row["prediction_head_parameters"]
        assert predicted == row["num_layers"] == MODEL_PRESETS[name]["num_layers"]


def test_parameters_are_counted_and_their_state_with_them() -> None:
    rows = listed("micro", "small-50m", "--vocab-size", "256")
    assert round(rows["small-50m"]["parameters"] / 1e6, 1) == 58.3
    assert listed("small-50m")["small-50m"]["vocab_size"] == 256
    micro = rows["micro"]
    assert micro["parameters"] == 2 * (3 * 128 * 128 + 3 * 128 * 682 + 2 * 128) + 128 + 256 * 128
    # Weights, gradients and two moments in fp32, and the optimizer's two step counts.
    assert micro["state_bytes"] == 16 * micro["parameters"] + 8
    assert micro["memory"]["total"] == sum(
        micro["memory"][part] for part in ("parameters", "optimizer", "gradients", "activations")
    )


def test_the_table_is_of_the_presets_named_and_fits_a_terminal() -> None:
    done = CliRunner().invoke(presets.command, ["small-50m", "d20", "--vocab-size", "256", "--batch-size", "2"])
    head, first, second, last = done.output.splitlines()
    memory = listed("small-50m", "--vocab-size", "256", "--batch-size", "2")["small-50m"]["memory"]["total"]
    assert first.split() == [
        "small-50m", "12", "512", "8/2", "2728", "256", "58.29M", "58.16M",
        "889", "MiB", f"{memory / 2**30:.1f}", "GiB",
    ]  # fmt: skip
    assert second.startswith("d20 ")
    assert max(map(len, (head, first, second))) <= 80
    assert last == "memory: with the activations of 2 sequences of 512 tokens, estimated"


def test_blocks_and_prediction_heads_are_counted_by_themselves() -> None:
    """As `chomp inspect` counts them, and with them what is trained."""
    name = "d20-e3-full"
    found = inspect(parse_config(f"model: {{preset: {name}, vocab_size: 50257, num_layers: 1}}", source="test").config)
    row = listed(name.upper())[name]
    counts = (row["parameters"] / 1e6, row["block_parameters"] / 1e6)
    assert counts == (pytest.approx(243.9, abs=0.05), pytest.approx(205.3, abs=0.05))
    assert row["prediction_head_parameters"] == found.breakdown["prediction_heads"]
    assert row["parameters"] - row["block_parameters"] == found.breakdown["embedding"]
    shown = CliRunner().invoke(presets.command, [name]).output
    assert f"{name}: 1.77M more in prediction heads, which state and memory include\n" in shown


def test_a_name_that_is_no_preset_is_refused() -> None:
    done = CliRunner().invoke(presets.command, ["mega200", "--json"])
    assert done.exit_code == 2
    assert "'mega200' is not one of mega200m, " in done.output


def test_more_rows_take_more_activations_and_the_same_state() -> None:
    few, many = (listed("micro", "--batch-size", size)["micro"] for size in ("2", "4"))
    assert many["state_bytes"] == few["state_bytes"]
    assert many["memory"]["activations"] > 1.9 * few["memory"]["activations"]


@pytest.mark.parametrize("name", ["tiny-cpu", pytest.param("base-120m", marks=pytest.mark.soak), "mega200m"])
def test_two_layers_predict_what_inspect_finds_in_all(name: str) -> None:
    # The defaults of the command are those of a configuration that says nothing of its batch.
    found = inspect(parse_config(f"model: {{preset: {name}, vocab_size: 1024}}", source="test").config)
    row = listed(name, "--vocab-size", "1024")[name]
    assert row["parameters"] == found.parameters
    assert row["memory"] == found.memory.as_dict()


def test_a_batch_that_is_small_beside_the_model_is_predicted_too() -> None:
    asked = "{model: {preset: base-120m, vocab_size: 50257}, train: {batch_size: 1, seq_len: 256}}"
    found = inspect(parse_config(asked, source="test").config)
    rows = listed("base-120m", "--vocab-size", "50257", "--batch-size", "1", "--seq-len", "256")
    memory = rows["base-120m"]["memory"]
    assert memory == found.memory.as_dict()
    # More than the model's matrices in bf16, which the backward pass reads.
    assert memory["activations"] > 2 * 100e6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--vocab-size", "3000000000"], "3000000000 is not in the range 1<=x<=2147483647"),
        (["--batch-size", "1000000", "--seq-len", "1000000"], "1000000 x 1000000 tokens are more than 2,147,483,647"),
    ],
)
def test_what_no_32_bit_number_counts_is_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(presets.command, ["micro", *arguments])
    assert done.exit_code == 2
    assert said in done.output
