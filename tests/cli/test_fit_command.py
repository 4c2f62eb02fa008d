"""`chomp fit` at the command line, with real tries on the CPU, and what it writes into a file."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from chomp.cli.fit import MemorySize, write_settings
from chomp.config.load import load_config
from chomp.errors import ConfigError
from tests.in_process import run

TEXT = """\
# My run.
model:
  backend: dummy  # seconds
  model_dim: 16

train:
  batch_size: 1   # what fits on my old card
  grad_accum: 2
  seq_len: 64
  steps: 2000
  allow_cpu: true
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration; tries measure it for an instant, for what is measured is not looked at."""
    monkeypatch.setattr("chomp.analysis.fit.MEASURED_SECONDS", 0.2)
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.process
def test_a_table_of_all_tries_and_the_best(config: Path) -> None:
    done = run("fit", config, "--seconds", 100)
    assert done.returncode == 0, done.stderr
    head, *rows, device, best = done.stdout.splitlines()[:5]
    assert head.split() == ["micro-batch", "accumulation", "recompute", "head", "chunk", "tokens/s", "memory", "MFU"]
    assert [row.split()[:4] for row in rows] == [["1", "2", "none", "whole"], ["2", "1", "none", "whole"]]
    assert rows[0].endswith("-  as written")
    assert device == "device: cpu"
    assert best.startswith(
        ("best: the configuration as written", "best: -o train.batch_size=2 -o train.grad_accum=1 (")
    )
    assert config.read_text() == TEXT


@pytest.mark.process
def test_a_pretended_limit_decides_what_fits(config: Path) -> None:
    config.write_text(TEXT.replace("batch_size: 1 ", "batch_size: 2 ").replace("grad_accum: 2", "grad_accum: 1"))
    whole = json.loads(run("fit", config, "--seconds", 100, "--json").stdout)
    assert [each["outcome"] for each in whole["tries"]] == ["measured", "measured"]
    needs = [each["memory_bytes"] for each in whole["tries"]]
    assert needs[1] < needs[0]
    limit = f"{(needs[0] + needs[1]) / 2 / 1024:.1f}KiB"
    done = run("fit", config, "--seconds", 100, "--memory-limit", limit, "--write", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tries"][0]["outcome"] == "failed"
    assert found["tries"][0]["too_large"]
    assert found["best"] == 1
    assert found["written"] == {"train.batch_size": 1, "train.grad_accum": 2}
    assert config.read_text() == TEXT
    none = run("fit", config, "--seconds", 100, "--memory-limit", "1KiB")
    assert none.returncode == 4
    assert none.stderr.startswith("error: no way to compute the step ran on this device: needs ")


def test_the_file_changes_in_these_values_only(config: Path) -> None:
    config.write_bytes(TEXT.replace("\n", "\r\n").encode())
    config.chmod(0o640)
    link = config.with_name("link.yaml")
    link.symlink_to(config)
    settings = {
        "train.batch_size": 2,
        "train.grad_accum": 1,
        "model.loss_chunk_size": None,
        "model.use_checkpoint": False,
    }
    write_settings(link, settings, ())
    after = config.read_bytes().decode()
    assert link.is_symlink()
    assert config.stat().st_mode & 0o777 == 0o640
    assert "  batch_size: 2   # what fits on my old card\r\n  grad_accum: 1\r\n" in after
    assert "\n  loss_chunk_size: null\r\n" in after
    kept = TEXT.replace("batch_size: 1", "batch_size: 2").replace("grad_accum: 2", "grad_accum: 1")
    assert set(kept.splitlines()) <= set(after.splitlines())
    assert load_config(link).config.train.batch_size == 2


def test_what_an_override_chose_is_written_too(config: Path) -> None:
    from chomp.cli.fit import chosen_settings
    from chomp.config.variants import as_written

    overrides = ("train.batch_size=2", "train.grad_accum=1", "optim.lr=1e-4")
    loaded = load_config(config, overrides)
    chosen = chosen_settings(as_written(loaded.config), overrides)
    assert chosen == {"train.batch_size": 2, "train.grad_accum": 1}


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("train: *no\n", {"train.batch_size": 2}, "the YAML does not parse; mend it first"),
        ("model: [1]\n", {"model.loss_chunk_size": 2}, "model is no section in the YAML; mend it there"),
    ],
)
def test_a_file_that_cannot_be_edited_stays(config: Path, text: str, settings: dict[str, object], said: str) -> None:
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        write_settings(config, settings, ())
    assert str(caught.value) == f"{config}: the settings were not written: {said}"
    assert config.read_text() == text


def test_a_full_disk_leaves_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("chomp.record.rundir.write_whole", full)
    with pytest.raises(ConfigError, match="the settings were not written: No space left on device"):
        write_settings(config, {"train.batch_size": 2}, ())
    assert config.read_text() == TEXT


@pytest.mark.parametrize(("text", "size"), [("22GiB", 22 * 2**30), ("1.5 mib", 3 * 2**19), ("500KiB", 512_000)])
def test_sizes(text: str, size: int) -> None:
    assert MemorySize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["22", "22GB", "GiB", "-1GiB", "0GiB", "1e3GiB", "nanGiB"])
def test_other_sizes_are_refused(config: Path, text: str) -> None:
    done = run("fit", config, "--memory-limit", text)
    assert done.returncode == 2
    assert f"{text!r} is not a size; write a number with KiB, MiB, GiB or TiB, e.g. 22GiB" in done.stderr


@pytest.mark.process
def test_a_cpu_that_the_configuration_does_not_allow(config: Path) -> None:
    done = run("fit", config, "-o", "train.allow_cpu=false", "--seconds", 60)
    assert done.returncode == 4
    assert "no GPU was found and train.allow_cpu is false" in done.stderr
