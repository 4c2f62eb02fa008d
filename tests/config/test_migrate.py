"""A configuration of the predecessor becomes one that loads, with its comments and its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chomp.cli.config import command
from chomp.config import parse_config, settings
from chomp.config.migrate import migrated
from chomp.config.predecessor import REMOVED, RENAMED
from chomp.errors import ChompError, ConfigError
from tests.config.wrong import refusal

OLD = """\
# A run of long ago.
model:
  backend: dummy
  d_model: 64  # small
  softmax_dtype: float32

data:
  backend: local_text
  local_text: |
    one # no comment
    two
  grain_prefetch: 2
  tokenizer:
    kind: byte
    hf_use_fast: true  # nothing to choose
    max_doc_tokens: 512 # in tokens

train:
  steps: 20
  # The step is compiled.
  jit: true
  allow_cpu: true

optim:
  warmup_steps: 2
  total_steps: 15

logging:
  project: old
debug:
  nan_check: true
  check_device_every: 10
"""


def values(text: str) -> Any:
    changed, changes = migrated(text)
    return parse_config(changed, source="new").config, changed, changes


def test_it_loads_and_says_every_change() -> None:
    config, text, changes = values(OLD)
    assert (config.model.model_dim, config.data.prefetch, config.data.max_doc_tokens) == (64, 2, 512)
    assert (config.logging.wandb.project, config.data.local_text) == ("old", "one # no comment\ntwo\n")
    assert (config.optim.name, config.optim.decay_steps, config.optim.adam.b2, config.train.seq_len) == (
        "adamw",
        13,
        0.999,
        128,
    )
    assert (config.data.tokenizer.byte_offset, config.data.tokenizer.add_eos) == (0, False)
    assert not config.data.isolate_documents
    for comment in ("# A run of long ago.", "# small", "# nothing to choose", "# in tokens", "# The step is compiled."):
        assert comment in text
    assert "model.d_model is now model.model_dim" in changes
    assert "data.tokenizer.max_doc_tokens is now data.max_doc_tokens" in changes
    assert "removed train.jit: true (the step is always compiled)" in changes
    assert "added optim.adam.b2: 0.999 (the predecessor's default)" in changes
    assert all("\n" not in change for change in changes)


@pytest.mark.parametrize("old", [OLD, "checkpoint: {resume_compat: strict}\n", "data: {window_shuffle_tokens: 0}\n"])
def test_a_second_time_changes_nothing(old: str) -> None:
    text = values(old)[1]
    assert migrated(text) == (text, [])


@pytest.mark.parametrize(
    ("old", "setting", "value"),
    [
        ("model: {init_mode: none}", "model.init_mode", "he"),
        ("model: {accum_dtype: bfloat16}", "model.accum_dtype", "float32"),
        ("model: {d_model: 7}", "model.model_dim", 128),
        ("model: {backend: dummy, d_model: 7, model_dim: 9}", "model.model_dim", 7),
        ("model: {vocab_size: 32000}\ndata: {tokenizer: {kind: hf}}", "model.vocab_size", None),
        ("model: {num_layers: 3}", "model.share_emb", True),
        ("model: {output_size: 384}", "model.share_emb", False),
        ("data: {packing_mode: multipack, packing_group_docs: 99}", "data.packing_buffer_docs", 99),
        ("data: {packing_mode: bin}", "data.isolate_documents", False),
        ("data: {packing_mode: bin, window_shuffle_tokens: 0}", "data.isolate_documents", True),
        ("data: {packing_mode: bin, packing_strict_segments: false}", "data.isolate_documents", False),
        ("checkpoint: {resume_compat: strict}", "data.packing_mode", "bin"),
        ("checkpoint: {resume_compat: strict}", "data.tokenizer.kind", "hf"),
        ("data: {max_eval_samples: 0}\ntrain: {eval_every: 5}", "train.eval_every", 0),
        ("data: {tokenizer: {max_doc_tokens: 0}}", "data.max_doc_tokens", None),
        ("data: {seed: 4}", "data.shuffle_seed", 4),
        ("train: {seed: 4}", "data.shuffle_seed", 0),
        ("train: {seed: 0}", "data.hf_dataset", "Zyphra/Zyda-2"),
        ("train: {steps: 20, generate_temperature: null}", "train.eval_every", 0),
        ("train: {steps: 2500}", "train.eval_every", 2500),
        ("logging: {project: a, wandb: {project: b}}", "logging.wandb.project", "b"),
        ("logging: {project: a, wandb: {project: null, mode: disabled, enabled: true}}", "logging.wandb.project", "a"),
        ("logging: {wandb: {mode: disabled, enabled: true}}", "logging.wandb.enabled", False),
        ("logging: {log_file: null}", "logging.log_file", "train.log"),
        ("variables: {n: x}\nlogging: {wandb: {tags: ['a${variables.n}']}}", "logging.wandb.tags", ["ax"]),
        ("variables: {n: 3}\ndata: {grain_prefetch: $variables.n}", "data.prefetch", 3),
        ("optim: {name: muon}", "optim.muon.lr_scale", 100.0),
        ("optim: {name: muon, muon_lr_scale: 7}", "optim.muon.lr_scale", 7.0),
        ("derived:\n  train: {tokens: 5}\ntrain: {seed: 0}", "train.steps", 100),
    ],
)
def test_a_value_that_is_written_otherwise_now(old: str, setting: str, value: Any) -> None:
    config: Any = values(f"{old}\n")[0]
    for name in setting.split("."):
        config = getattr(config, name)
    assert config == value


@pytest.mark.parametrize("text", ["model: {backend: llama}\n", "data: {backend: stdlib}\n"])
def test_a_configuration_of_chomp_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigError, match="which the predecessor does not have: nothing is migrated"):
        migrated(text)


def test_line_ends_stay() -> None:
    text = migrated(OLD.replace("\n", "\r\n"))[0]
    assert text.count("\n") == text.count("\r\n")
    assert text.split() == migrated(OLD)[0].split()


@pytest.mark.parametrize("text", ["a: [\n", "- a\n", "\t\n", "model: &a {d_model: 3}\ndata: *a\n"])
def test_what_is_no_configuration_is_one_sentence(text: str) -> None:
    with pytest.raises(ChompError) as caught:
        parse_config(migrated(text)[0], source="new")
    assert str(caught.value)


def test_the_table_names_no_setting_and_leads_to_settings() -> None:
    assert not {*RENAMED, *REMOVED} & set(settings())
    assert set(RENAMED.values()) <= set(settings())


def test_an_old_key_names_the_command() -> None:
    assert refusal("train:\n  jit: true\n") == [
        "c.yaml:2: train.jit: unknown key; the step is always compiled; delete the line; `chomp config migrate` "
        "rewrites the file"
    ]


def test_the_command_writes_a_new_file_once(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(OLD)
    done = CliRunner().invoke(command, ["migrate", str(old)])
    assert done.exit_code == 0, done.output
    new = tmp_path / "old.migrated.yaml"
    assert old.read_text() == OLD
    assert f"written to {new}\nOK {new}: dummy on local_text; 20 steps" in done.output
    again = CliRunner().invoke(command, ["migrate", str(old)])
    assert f"{new} exists; name another file with --output, or delete it" in str(again.exception)
    other = CliRunner().invoke(command, ["migrate", str(old), "--output", str(tmp_path / "b.yaml")])
    assert (other.exit_code, (tmp_path / "b.yaml").read_text()) == (0, new.read_text())
