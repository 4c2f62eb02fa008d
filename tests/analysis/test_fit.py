"""`chomp fit` tries the promising ways first, skips what cannot fit, survives what fails, and keeps its time limit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from chomp.analysis import fit, trial
from chomp.analysis.fit import OOM_KILLER, Search, ask, expected_cost
from chomp.config.load import parse_config
from chomp.config.schema import Config
from chomp.config.variants import Variant, as_written, variants
from chomp.errors import ChompError, DeviceError
from tests.engine import dummy_config

GIB = 2**30
LLAMA = (
    "{model: {backend: llama, vocab_size: 512}, train: {batch_size: 2, grad_accum: 4, seq_len: 1024, allow_cpu: true}}"
)
Answer = Callable[[Config], dict[str, Any]]


def llama() -> Config:
    return parse_config(LLAMA, source="test").config


def answering(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, *, memory: int = 100 * GIB, seconds: float = 0.0
) -> list[dict[str, Any]]:
    """Answer for the child processes on a device of `memory` bytes; returns the requests."""
    requests = []

    def ask(request: dict[str, Any], deadline: float) -> dict[str, Any]:
        requests.append(request)
        clock[0] += seconds
        config = Config.model_validate(request["config"])
        device = {"platform": "gpu", "name": "FakeGPU", "memory": request["memory_limit"] or memory, "peak_flops": 1e12}
        return {"device": device, "model": config.model.model_dump(), **answer(config)}

    clock = [0.0]
    monkeypatch.setattr(fit.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fit, "ask", ask)
    return requests


def ran(speed: float, total: int = GIB, state: int = GIB // 2) -> dict[str, Any]:
    estimate = {"state": state, "activations": total - state}
    measured = {"tokens_per_second": speed, "flops_per_token": 1e6, "peak_bytes": None}
    return {
        "estimate": estimate,
        "compiled": {"seconds": 1.0, "memory": {"total": total}},
        "measured": measured,
    }


def needing(rows_bytes: int, state: int, limit: int) -> Answer:
    """A device on which a row of the micro-batch takes `rows_bytes`; recomputation halves that."""

    def answer(config: Config) -> dict[str, Any]:
        total = state + config.train.batch_size * rows_bytes // (2 if config.model.remat == "full" else 1)
        if total > limit:
            estimate = {"estimate": {"state": state, "activations": total - state}}
            compiled = {"compiled": {"seconds": 1.0, "memory": {"total": total}}}
            return {**estimate, **compiled, "failed": "needs more", "needs": total}
        return ran(1000.0 * config.train.batch_size, total, state)

    return answer


def rows_tried(requests: list[dict[str, Any]]) -> list[tuple[int, bool]]:
    return [(each["config"]["train"]["batch_size"], each["config"]["model"]["remat"] != "none") for each in requests]


def test_the_configuration_comes_first_and_the_fastest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = answering(monkeypatch, lambda config: ran(1000.0 * config.train.batch_size))
    search = Search(llama(), 60)
    found = list(search.run())
    assert len(found) == len(list(variants(llama()))) == len(requests)
    assert found[0].variant == as_written(llama())
    costs = [expected_cost(each.variant) for each in found[1:]]
    assert costs == sorted(costs)
    best = search.best()
    assert best is not None
    assert best.variant.batch_size == 8
    assert best.mfu == pytest.approx(8000 * 1e6 / 1e12)
    assert {each["resolved"] for each in requests[1:]} == {True}
    assert requests[0]["resolved"] is False


def test_a_gain_within_noise_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda config: ran(1000.0 + config.train.batch_size))
    search = Search(llama(), 60)
    found = list(search.run())
    assert search.best() is found[0]


def test_what_cannot_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = answering(monkeypatch, needing(GIB, GIB, 6 * GIB), memory=6 * GIB)
    search = Search(llama(), 60)
    found = list(search.run())
    best = search.best()
    assert best is not None
    assert (best.variant.batch_size, best.variant.policy) == (8, "full")
    # Two rows showed what a row takes without recomputation: eight need 9 GiB of 6.
    whole = [each for each in found if each.variant.batch_size == 8 and each.variant.policy == "none"]
    assert {each.why for each in whole if each.variant.head_chunk is None} == {"needs about 9.0 GiB of 6.0 GiB"}
    assert all(each.outcome != "measured" for each in whole)
    assert len(requests) < len(found)


def test_estimates_of_the_first_try_spare_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {(each.policy, each.head_chunk) for each in variants(llama())}
    sizes = {way: 100 * GIB if way[0] == "none" else 2 * GIB for way in ways}

    def answer(config: Config) -> dict[str, Any]:
        estimates = [
            {"policy": policy, "head_chunk": chunk, "rows": 8, "state": 0, "activations": size}
            for (policy, chunk), size in sizes.items()
        ]
        return {"estimates": estimates, "failed": "needs more", "needs": 1} if not requests[1:] else ran(1.0, GIB)

    requests = answering(monkeypatch, answer, memory=20 * GIB)
    list(Search(llama(), 60).run())
    # Without recomputation two rows of eight take 25 GiB, and one takes 12.5.
    assert set(rows_tried(requests[1:])) == {(1, False), (1, True), (2, True), (4, True), (8, True)}


def test_what_needs_more_than_a_failure_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(config: Config) -> dict[str, Any]:
        return {"failed": "out of memory"} if config.train.batch_size > 1 else ran(1.0)

    requests = answering(monkeypatch, answer)
    search = Search(llama(), 60)
    found = list(search.run())
    assert found[0].why == "out of memory"
    assert search.best() is not None
    skipped = [each for each in found if each.outcome == "skipped"]
    assert skipped
    assert {each.why for each in skipped} <= {
        f"needs more than a micro-batch of {rows} sequences that did not fit" for rows in (2, 4, 8)
    }
    assert len(requests) + len(skipped) == len(found)


def test_other_failures_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(config: Config) -> dict[str, Any]:
        return {"failed": "INTERNAL: no tile sizes"} if config.train.batch_size == 1 else ran(1.0)

    requests = answering(monkeypatch, answer)
    assert len(list(Search(llama(), 60).run())) == len(requests)


def test_no_try_begins_that_the_time_limit_would_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = answering(monkeypatch, lambda config: ran(1.0), seconds=20)
    search = Search(llama(), 60)
    found = list(search.run())
    assert len(requests) == len(found) == 2
    assert search.untried == len(list(variants(llama()))) - 2


def test_the_compiled_memory_corrects_later_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = {"state": GIB, "activations": 3 * GIB}
    requests = answering(monkeypatch, lambda config: {**ran(1.0, total=3 * GIB), "estimate": estimate})
    list(Search(llama(), 60).run())
    assert requests[0]["factor"] == 1.0
    assert requests[1]["factor"] == pytest.approx(2 / 3)


def test_a_way_that_is_refused_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(config: Config) -> dict[str, Any]:
        return {"refused": "no such kernel", "exit_code": 4} if config.train.batch_size == 8 else ran(1.0)

    answering(monkeypatch, answer)
    found = list(Search(llama(), 60).run())
    assert {each.why for each in found if each.variant.batch_size == 8} == {"no such kernel"}
    assert all(each.outcome == "measured" for each in found if each.variant.batch_size < 8)


def test_a_refusal_of_the_first_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda config: {"refused": "the tokenizer cannot be read", "exit_code": 2})
    with pytest.raises(ChompError, match="the tokenizer cannot be read") as caught:
        list(Search(llama(), 60).run())
    assert caught.value.exit_code == 2
    monkeypatch.setattr(fit, "ask", lambda request, deadline: {"failed": "ImportError: no libcuda"})
    with pytest.raises(DeviceError, match="a step cannot be tried on this machine: ImportError: no libcuda"):
        list(Search(llama(), 60).run())


# A child process --------------------------------------------------------------------------


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the interpreter of the child by a shell script."""

    def write(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return write


@pytest.mark.parametrize(
    ("script", "failed"),
    [
        ("read line; kill -KILL $$", OOM_KILLER),
        ("echo 'LLVM ERROR: out of memory' >&2; kill -ABRT $$", "ended by SIGABRT: LLVM ERROR: out of memory"),
        ("echo first >&2; echo 'ValueError: no' >&2; exit 1", "ValueError: no"),
        ("exit 0", "no message"),
    ],
)
def test_a_child_that_dies_is_a_result(child: Callable[[str], None], script: str, failed: str) -> None:
    child(script)
    assert ask({"config": {"fill": "x" * 200_000}}, time.monotonic() + 60) == {"failed": failed}


def test_answers_before_a_crash_are_kept(child: Callable[[str], None]) -> None:
    child("""echo '{"device": {"name": "x"}}'; printf '{"half'; kill -SEGV $$""")
    answers = ask({}, time.monotonic() + 60)
    assert answers["device"] == {"name": "x"}
    assert answers["failed"].startswith("ended by SIGSEGV")


def test_the_time_limit_ends_a_child_with_all_that_it_started(child: Callable[[str], None]) -> None:
    child("sleep 1000 & wait")
    assert ask({}, time.monotonic() + 0.3) == {"late": True, "failed": "the time limit ended it"}


def test_what_a_dead_child_started_does_not_hold_up_the_search(child: Callable[[str], None]) -> None:
    child("sleep 1000 &")
    assert ask({}, time.monotonic() + 0.5)["failed"] == "the time limit ended it"


def test_a_child_leaves_with_its_parent() -> None:
    import subprocess

    command = [sys.executable, "-c", "import time; from chomp.analysis import trial; trial._attempt = lambda *_: "
               "time.sleep(1000); trial.main()"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"{}\n")
        process.stdin.flush()
        process.stdin.close()
        process.stdin = None
        assert process.wait(60) == 1


# The try itself ---------------------------------------------------------------------------


def attempt(config: dict[str, Any], **request: Any) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    checked = parse_config(json.dumps(config), source="test").config
    whole = {
        "config": checked.model_dump(),
        "resolved": False,
        "others": True,
        "seconds": 0.0,
        "memory_limit": None,
        "factor": 1.0,
    }
    trial._attempt({**whole, **request}, answers.update)
    return answers


def test_a_try_measures_the_step(tmp_path: Path) -> None:
    answers = attempt(dummy_config(tmp_path))
    assert list(answers) == ["device", "model", "estimates", "estimate", "compiled", "measured"]
    assert answers["device"]["platform"] == "cpu"
    assert answers["model"]["vocab_size"] == 384
    assert answers["measured"]["steps"] >= 1
    assert answers["measured"]["tokens_per_second"] > 0
    assert answers["measured"]["loss"] > 1


def test_a_try_measures_the_step_of_a_mixture(tmp_path: Path) -> None:
    config = dummy_config(tmp_path)
    config["data"] = {"mixture": {"sources": {name: {"backend": "stdlib"} for name in "ab"}}}
    answers = attempt(config)
    assert answers["measured"]["loss"] > 1


@pytest.mark.parametrize(("share", "last"), [(0.5, "estimate"), (0.9, "estimate")])
def test_a_limit_below_the_estimate_spares_the_compilation(tmp_path: Path, share: float, last: str) -> None:
    config = dummy_config(tmp_path)
    estimate = attempt(config)["estimate"]
    limit = round(share * sum(estimate.values()))
    answers = attempt(config, memory_limit=limit)
    assert "compiled" not in answers
    assert answers["needs"] == sum(estimate.values())
    assert answers["failed"].endswith(" by estimate")


def test_a_limit_below_the_compiled_memory_spares_the_run(tmp_path: Path) -> None:
    config = dummy_config(tmp_path)
    total = attempt(config)["compiled"]["memory"]["total"]
    answers = attempt(config, memory_limit=total - 1, factor=0.0)
    assert answers["needs"] == total
    assert answers["failed"].endswith(" as compiled")
    assert "measured" not in answers
    assert "measured" in attempt(config, memory_limit=total, factor=0.0)


def test_a_failed_allocation_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.00GiB.")

    monkeypatch.setattr(trial, "_attempt", fail)
    monkeypatch.setattr(trial.threading, "Thread", lambda **options: type("Thread", (), {"start": lambda self: None})())
    monkeypatch.setattr(trial.os, "dup2", lambda old, new: None)
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO("{}\n"))
    trial.main()
    assert json.loads(capfd.readouterr().out) == {"failed": "out of memory (2.0 GiB requested)"}


def test_a_batch_is_full_and_has_documents(tmp_path: Path) -> None:
    from chomp.data.batch import BatchShape

    config = parse_config(json.dumps(dummy_config(tmp_path)), source="test").config
    config = config.model_copy(update={"model": config.model.model_copy(update={"vocab_size": 300})})
    batch = trial.synthetic_batch(config, BatchShape(2, 3, 32))
    assert batch.input_ids.shape == (2, 3, 32)
    assert batch.attention_mask.all()
    assert batch.segment_ids.max() == 4
    assert 0 <= batch.input_ids.min() < batch.input_ids.max() < 300


def test_the_order_prefers_less_recomputation_and_larger_micro_batches() -> None:
    ways = {(each.batch_size, each.policy, each.head_chunk): each for each in variants(llama())}

    def before(one: Variant, other: Variant) -> bool:
        return expected_cost(one) < expected_cost(other)

    assert before(ways[8, "none", None], ways[4, "none", None])
    assert before(ways[8, "none", None], ways[8, "full", None])
    assert before(ways[8, "none", 2048], ways[8, "none", 512])
