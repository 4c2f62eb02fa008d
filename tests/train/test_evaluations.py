"""Sets and tasks while training: cadences, rows, events, the best checkpoints, and what a stop leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chomp.data import overlap
from chomp.record.event_log import read_events
from chomp.record.events import Evaluated, SetEvaluated, TaskEvaluated, Warned
from chomp.record.manifest import list_checkpoints
from chomp.train.control import StopRequest, StopRequestedError
from chomp.train.hooks import evaluate
from tests.engine import dummy_config, events_of, rows, write_config, write_corpus
from tests.in_process import run

pytestmark = pytest.mark.compile


def make(folder: Path, **evaluation: Any) -> Path:
    """A configuration with a set of another text and a task, whose cadences differ."""
    write_corpus(folder / "corpus")
    (folder / "own.txt").write_text("A text of its own, which no other file has: numbers 1 2 3 4 5.\n")
    (folder / "code.txt").write_text("def code(own): return [own for own in own]\n")
    lines = [{"context": "def", "continuations": [" a", " b"], "label": 1}, {"context": "1", "continuation": " 2"}]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    section = {
        "sets": {"own": {"files": [f"{folder}/own.txt"]}, "code": {"files": [f"{folder}/code.txt"], "every": 8}},
        "tasks": {"task": {"path": f"{folder}/task.jsonl", "every": 4}},
        **evaluation,
    }
    config = dummy_config(
        folder / "corpus", evaluation=section, train={"eval_every": 6}, checkpoint={"save_every": 100, "max_to_keep": 1}
    )
    return write_config(folder / "config.yaml", config)


def evaluations_of(run_dir: Path) -> list[Any]:
    kinds = (Evaluated, SetEvaluated, TaskEvaluated)
    return [event for event in read_events(run_dir / "events.jsonl") if isinstance(event, kinds)]


def scored(run_dir: Path, key: str) -> dict[int, float]:
    return {row["step"]: row[key] for row in rows(run_dir) if key in row}


def test_each_has_its_cadence_and_the_best_checkpoint_is_chosen_by_one(tmp_path: Path) -> None:
    config, run_dir = make(tmp_path, best="code"), tmp_path / "run"
    done = run("train", config, "--run-dir", run_dir, "-o", "checkpoint.keep_best=2", "-o", "optim.ema.decay=0.9")
    assert done.returncode == 0, done.stderr
    assert list(scored(run_dir, "eval_loss")) == list(scored(run_dir, "eval_loss/own")) == [6, 12, 18, 20]
    assert list(scored(run_dir, "eval_bpb/code")) == [8, 16, 20]
    assert list(scored(run_dir, "task_bpb/task")) == [4, 8, 12, 16, 20]
    assert {"task_accuracy/task"} <= rows(run_dir)[-1].keys()
    # The order within a step is that of the configuration, and the row follows.
    last = [event for event in evaluations_of(run_dir) if event.step == 20]
    assert [getattr(event, "name", "") for event in last] == ["", "code", "own", "task"]
    losses = scored(run_dir, "eval_loss/code")
    saved = list_checkpoints(run_dir / "checkpoints")
    assert {info.step: info.rank("code") for info in saved if info.step != 20}.items() <= losses.items()
    best = sorted(losses, key=lambda step: losses[step])[:2]
    assert [info.step for info in saved] == sorted({*best, 20})
    assert {info.best_by for info in saved} == {"code"}

    again = run("eval", run_dir, "--json")
    assert again.returncode == 0, again.stderr
    sets = json.loads(again.stdout)["sets"]
    assert sets["code"]["loss"] == losses[20]
    tasks = json.loads(run("eval", run_dir, "--tasks", "run", "--json").stdout)["tasks"]
    assert tasks["task"]["bpb"] == scored(run_dir, "task_bpb/task")[20]

    # The moving average is scored at the same steps, and is another model.
    average = json.loads(run("eval", run_dir, "--ema", "--json").stdout)["sets"]
    assert average["code"]["loss"] == scored(run_dir, "eval_ema_loss/code")[20] != losses[20]
    tasks = json.loads(run("eval", run_dir, "--ema", "--tasks", "run", "--json").stdout)["tasks"]
    averages = scored(run_dir, "task_ema_bpb/task")
    assert tasks["task"]["bpb"] == averages[20] == last[-1].ema_bpb != last[-1].bpb
    assert list(averages) == [4, 8, 12, 16, 20]


def test_a_stop_amid_an_evaluation_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("train", make(tmp_path), "--run-dir", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    score_entry = evaluate.score_entry

    def stop(*args: Any, check_stop: Any, **more: Any) -> Any:
        """Stop in the evaluation of step 12, when the texts have been scored."""
        trainer = check_stop.__self__
        if trainer.progress.step == 12:
            trainer.session.switch.set(StopRequest("struck", 143))
            raise StopRequestedError
        return score_entry(*args, check_stop=check_stop, **more)

    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "score_entry", stop)
        assert run("train", tmp_path / "config.yaml", "--run-dir", stopped).returncode == 143
    (saved,) = list_checkpoints(stopped / "checkpoints")
    assert (saved.step, saved.meta["owed"]) == (12, ["eval"])
    assert not [event for event in evaluations_of(stopped) if event.step == 12]
    resumed = run("train", tmp_path / "config.yaml", "--run-dir", stopped, "--resume", "latest")
    assert resumed.returncode == 0, resumed.stderr
    keys = ("eval_loss", "eval_loss/own", "eval_loss/code", "task_bpb/task", "task_accuracy/task", "loss")
    assert [{key: row.get(key) for key in keys} for row in rows(stopped)] == [
        {key: row.get(key) for key in keys} for row in rows(tmp_path / "whole")
    ]


def test_a_resume_compares_only_what_no_start_has_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, meet = list[str](), overlap._Known.meet
    monkeypatch.setattr(overlap._Known, "meet", lambda known, *args: read.append(args[1]) or meet(known, *args))
    config, run_dir = make(tmp_path), tmp_path / "run"
    assert run("train", config, "--run-dir", run_dir, "-o", "train.steps=4").returncode == 0
    first = len(read)
    assert first > 0, "every training document is compared once"

    def resumed(steps: int, *options: str) -> int:
        """How many training documents a resume compares."""
        read.clear()
        done = run("train", config, "--run-dir", run_dir, "--resume", "latest", "-o", f"train.steps={steps}", *options)
        assert done.returncode == 0, done.stderr
        return len(read)

    accept = ("--accept", "derived.optim")
    assert resumed(6, *accept) == 0
    (tmp_path / "own.txt").write_text("Another text, which no other file has.\n")
    assert resumed(8, *accept) == first
    # What is read of the text decides, too.
    changed = ("data.max_eval_samples", "data_fingerprint")
    accept += tuple(word for name in changed for word in ("--accept", name))
    assert resumed(10, "-o", "data.max_eval_samples=2", *accept) == first + 1


@pytest.mark.parametrize("best", ["own", "task"])
def test_scores_of_other_text_are_said_to_be_and_do_not_compete(best: str, tmp_path: Path) -> None:
    config, run_dir, task = make(tmp_path, best=best), tmp_path / "run", tmp_path / "task.jsonl"
    harder = task.read_text()
    task.write_text(json.dumps({"context": "def", "continuations": [" ÿþýüû", " ùø÷öõ"], "label": 0}))
    keep = ("-o", "checkpoint.keep_best=1", "-o", "train.steps=18", "-o", f"evaluation.{_kind(best)}.{best}.every=6")
    done = run("train", config, "--run-dir", run_dir, *keep)
    assert done.returncode == 0, done.stderr
    (newest,) = list_checkpoints(run_dir / "checkpoints")[-1:]
    assert newest.step == 18

    def resumed(steps: int) -> list[str]:
        """What a resume says of evaluations."""
        options = ("-o", "checkpoint.keep_best=1", "-o", f"train.steps={steps}", "--accept", "derived.optim", *keep[4:])
        before = len(events_of(run_dir, Warned))
        done = run("train", config, "--run-dir", run_dir, "--resume", "latest", *options)
        assert done.returncode == 0, done.stderr
        return [event.message for event in events_of(run_dir, Warned)[before:] if event.topic == "evaluation"]

    assert resumed(19) == []
    # Text with a higher loss: by number alone, no checkpoint after the resume would be the best.
    (tmp_path / "own.txt").write_text("ÿþýüûúùø÷öõôóòñðïîíìëêéèçæåäãâáàßÞÝÜÛÚÙØ×ÖÕÔÓÒÑÐ\n" * 3)
    task.write_text(harder)
    kinds = {"own": "the evaluation set own", "task": "the task task"}
    begins = "; the best checkpoints are chosen among those after step 19"
    said = {
        name: f"the content of {kind} has changed: scores after step 19 are of other text than those before"
        for name, kind in kinds.items()
    }
    assert resumed(30) == [said[name] + (begins if name == best else "") for name in ("own", "task")]
    key = {"own": "eval_loss/own", "task": "task_bpb/task"}[best]
    scores = scored(run_dir, key)
    old, new = ([score for step, score in scores.items() if (step > 19) is after] for after in (False, True))
    assert max(old) < min(new)
    kept = [info.step for info in list_checkpoints(run_dir / "checkpoints")]
    assert min((step for step in scores if step > 19), key=lambda step: scores[step]) in kept
    assert min(kept) > 19


def test_named_held_out_text_is_compared_by_its_passages(tmp_path: Path) -> None:
    config, part = make(tmp_path), tmp_path / "part.txt"
    training = max((tmp_path / "corpus").glob("*.txt"), key=lambda path: path.stat().st_size)
    part.write_bytes(training.read_bytes()[:500])
    for option, name in (
        (f"data.eval_files={part}", "data.eval_files"),
        (f"data.eval_text={part.read_text()}", "data.eval_text"),
    ):
        done = run("train", config, "--run-dir", tmp_path / "run", "-o", option)
        assert (done.returncode, done.stderr.count("\n")) == (3, 1)
        assert f"document 1 of {name} is training text: 100% of its passages are in" in done.stderr
        assert not (tmp_path / "run").exists()


def _kind(name: str) -> str:
    return "tasks" if name == "task" else "sets"


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ("tasks.t.path={}/bad.jsonl", "bad.jsonl:2: `label` is missing"),
        ("tasks.t.path={}/long.jsonl", "long.jsonl:1: an answer has 40 tokens, and a row 32"),
        ("sets.s.files={}/corpus/005.txt", "document 1 of the evaluation set s is training text: 100%"),
        ("sets.s.files={}/void.txt", "the file {}/void.txt is empty"),
    ],
    ids=["label", "answer", "overlap", "empty"],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_written(
    evaluation: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "void.txt").touch()
    (tmp_path / "bad.jsonl").write_text(
        '{"context": "a", "continuation": "b"}\n{"context": "a", "continuations": ["b"]}'
    )
    (tmp_path / "long.jsonl").write_text(json.dumps({"context": "a", "continuation": "b" * 40}))
    override = f"evaluation.{evaluation.format(tmp_path)}"
    done = run("train", make(tmp_path), "--run-dir", tmp_path / "run", "-o", override)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert said.format(tmp_path) in done.stderr
    assert not (tmp_path / "run").exists()
