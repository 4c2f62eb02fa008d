"""`chomp export` on a run that an engine has trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chomp.analysis.scoring import open_heldout
from chomp.export.formats import FORMATS
from chomp.export.int8 import read
from chomp.generate.load import load_trained
from tests.engine import tiny_config
from tests.export.test_export import LLAMA
from tests.in_process import run
from tests.references import References

STEPS = 6


@pytest.fixture
def finished(references: References) -> Path:
    """The directory of a small Llama's run."""
    config = tiny_config(
        references.corpus,
        model=LLAMA,
        train={"steps": STEPS, "log_every": STEPS},
        checkpoint={"save_every": STEPS},
    )
    return references.run(run, config)


@pytest.fixture
def torn(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run whose checkpoint has lost its parameters."""
    copy = shutil.copytree(finished, tmp_path / "torn")
    shutil.rmtree(copy / "checkpoints" / str(STEPS) / "params")
    return copy


def test_a_run_is_exported_by_the_command(finished: Path, tmp_path: Path) -> None:
    written = run("export", finished, "--to", "hf", "--output", tmp_path / "out", "--dtype", "bfloat16")
    assert written.returncode == 0, written.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert "model.safetensors" in written.stdout


def test_int8_says_what_it_costs(finished: Path, tmp_path: Path) -> None:
    told = run("export", finished, "--to", "int8", "--output", tmp_path / "out", "--json")
    assert told.returncode == 0, told.stderr
    loss = json.loads(told.stdout)["loss"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["loss"] == loss
    evaluated = json.loads(run("eval", finished, "--json").stdout)
    assert loss["before"] == {"nats_per_token": evaluated["loss"], "bits_per_byte": evaluated["bpb"]}
    assert (loss["tokens"], loss["bytes"]) == (evaluated["tokens"], evaluated["bytes"])

    # What the reader returns has the loss that the command printed, to the bit.
    with open_heldout(load_trained(finished)) as score:
        again = score(read(tmp_path / "out").params)
    assert loss["after"] == {"nats_per_token": again.loss, "bits_per_byte": again.bpb}
    assert 0 < abs(loss["after"]["nats_per_token"] - evaluated["loss"]) < 0.05

    plain = run("export", finished, "--to", "int8", "--output", tmp_path / "plain", "--no-measure")
    assert plain.returncode == 0, plain.stderr
    assert "nats/token" not in plain.stdout
    assert read(tmp_path / "plain").cost is None


def test_the_list_reads_no_array(torn: Path) -> None:
    listed = run("export", torn, "--list", "--json")
    assert listed.returncode == 0, listed.stderr
    said = json.loads(listed.stdout)
    assert set(said) == set(FORMATS)
    assert {name for name, entry in said.items() if entry["possible"]} == {"hf", "gguf", "int8", "stablehlo"}
    assert said["hf"] == {"possible": True, "why": None, "what": FORMATS["hf"].WHAT}
    assert said["megalodon-jax"]["why"] == "megalodon-jax writes Megalodon models, and this one is a llama"
    in_words = run("export", torn / "checkpoints" / str(STEPS), "--list", "--dtype", "q8_0").stdout
    assert "✗ megalodon-jax" in in_words
    assert "✗ hf            hf has no q8_0; only gguf has" in in_words
    assert "✓ gguf" in in_words


def test_a_checkpoint_without_parameters_is_refused(torn: Path, tmp_path: Path) -> None:
    refused = run("export", torn, "--to", "hf", "--output", tmp_path / "out")
    assert refused.returncode == 5
    assert "no good checkpoint: step 6: params/" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "pickle", "--output", "x"), "unknown format pickle; choose one of hf, gguf"),
        (("--to", "hf"), "--output FOLDER"),
        (("--to", "hf", "--output", "x", "--no-measure"), "--no-measure is only for --to int8"),
    ],
)
def test_a_misspelled_command(finished: Path, options: tuple[str, ...], said: str) -> None:
    refused = run("export", finished, *options)
    assert refused.returncode == 2
    assert said in refused.stderr
