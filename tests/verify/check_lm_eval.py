"""lm-evaluation-harness finds with `chomp lm-eval` what `chomp eval --tasks` finds, offline and without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine import dummy_config, run, write_config, write_corpus

TASKS = Path(__file__).parents[2] / "configs" / "tasks"


def yaml_task(folder: Path, name: str, **fields: Any) -> None:
    files = {"data_files": {"test": str(TASKS / f"{name}.jsonl")}}
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": files,
        "test_split": "test",
        "doc_to_text": "{{context}}",
        "target_delimiter": "",
        **fields,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


def metrics(*names: str) -> list[dict[str, Any]]:
    return [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names]


def test_scores_equal_those_of_the_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), train={"seq_len": 128})
    run_dir = tmp_path / "run"
    assert run("train", write_config(tmp_path / "config.yaml", config), "--run-dir", run_dir).returncode == 0
    own = json.loads(run("eval", run_dir, "--tasks", f"own={TASKS}", "--json").stdout)["tasks"]

    include = tmp_path / "include"
    include.mkdir()
    yaml_task(
        include,
        "python_choice",
        output_type="multiple_choice",
        doc_to_choice="{{continuations}}",
        doc_to_target="label",
        metric_list=metrics("acc", "acc_bytes"),
    )
    yaml_task(
        include,
        "python_cloze",
        output_type="loglikelihood",
        doc_to_target="{{continuation}}",
        metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, *metrics("acc")],
    )
    yaml_task(
        include,
        "python_text",
        output_type="loglikelihood_rolling",
        dataset_kwargs={"data_files": {"test": str(TASKS / "python_cloze.jsonl")}},
        doc_to_text="",
        doc_to_target="{{context}}",
        metric_list=[{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
    )
    yaml_task(
        include,
        "python_written",
        output_type="generate_until",
        dataset_kwargs={"data_files": {"test": str(TASKS / "python_cloze.jsonl")}},
        doc_to_target="{{continuation}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 8},
        metric_list=metrics("exact_match"),
    )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names = "python_choice,python_cloze,python_text,python_written"
    done = run(
        *("lm-eval", run_dir, "--tasks", names, "--include_path", include, "--output_path", tmp_path / "results"),
        "--log_samples",
    )
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "results").rglob("results_*.json")
    results = json.loads(found.read_text())["results"]
    choice, cloze = own["own/python_choice"], own["own/python_cloze"]
    assert results["python_choice"]["acc,none"] == choice["accuracy"]
    assert results["python_choice"]["acc_bytes,none"] == choice["accuracy_norm"]
    assert results["python_cloze"]["acc,none"] == cloze["accuracy"]
    assert results["python_text"]["bits_per_byte,none"] > 0
    assert results["python_written"]["exact_match,none"] >= 0
    # Log-likelihoods too: bits per byte of the right answers, from the samples that the harness writes.
    (samples,) = (tmp_path / "results").rglob("samples_python_cloze_*.jsonl")
    bits = [
        -float(row["resps"][0][0][0]) / 0.6931471805599453 / len(row["doc"]["continuation"].encode())
        for row in map(json.loads, samples.read_text().splitlines())
    ]
    assert sum(bits) / len(bits) == pytest.approx(cloze["bpb"], rel=1e-5)


def test_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = dummy_config(write_corpus(tmp_path / "corpus"), train={"seq_len": 128})
    run_dir = tmp_path / "run"
    assert run("train", write_config(tmp_path / "config.yaml", config), "--run-dir", run_dir).returncode == 0
    include = tmp_path / "include"
    include.mkdir()
    yaml_task(
        include,
        "gone",
        dataset_kwargs={"data_files": {"test": str(tmp_path / "nowhere.jsonl")}},
        output_type="loglikelihood",
        doc_to_target="{{continuation}}",
        metric_list=metrics("acc"),
    )
    for arguments, code, sentence in (
        (("--tasks", "x"), 2, "error: lm-evaluation-harness: Tasks not found: x; `lm-eval ls tasks` lists the tasks"),
        ((), 2, "error: lm-evaluation-harness: No tasks specified"),
        (("--tasks", "gone", "--include_path", tmp_path / "no"), 2, f"--include_path {tmp_path / 'no'}: there is no"),
        (("--tasks", "gone", "--include_path", include), 3, f"Unable to find '{tmp_path / 'nowhere.jsonl'}'"),
    ):
        done = run("lm-eval", run_dir, *arguments)
        assert done.returncode == code, done.stderr
        assert sentence in done.stderr
        assert "fault of chomp" not in done.stderr
        assert "Traceback" not in done.stderr
    assert not list((tmp_path / "state").rglob("crash-*"))
