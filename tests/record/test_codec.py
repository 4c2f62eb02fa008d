"""The lines of `events.jsonl`, letter by letter: other programs read them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from chomp.record.codec import decode, encode, json_line
from chomp.record.events import (
    KINDS,
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    Event,
    NonFinite,
    Phase,
    Profiled,
    Progress,
    RolledBack,
    RunEnded,
    RunStarted,
    Sampled,
    SetEvaluated,
    Spike,
    Step,
    TaskEvaluated,
    Unknown,
    Warned,
)

T = 1_700_000_000.25

GOLDEN: list[tuple[Event, str]] = [
    (
        RunStarted(
            pid=42,
            host="box",
            attempt=2,
            resumed_from=20,
            versions={"jax": "0.10.2"},
            device={"platform": "cpu", "name": "cpu", "count": 1},
            environment={"XLA_FLAGS": "--a=b"},
            parameters=1000,
            tokens_per_step=512,
            total_steps=40,
            tokens_seen=10240,
            data="3 files",
            optimizer="adam: all",
            accepted=["optim.lr"],
        ),
        '{"v":2,"t":1700000000.25,"kind":"run_started","pid":42,"host":"box","attempt":2,"resumed_from":20,'
        '"versions":{"jax":"0.10.2"},"device":{"platform":"cpu","name":"cpu","count":1},'
        '"environment":{"XLA_FLAGS":"--a=b"},"parameters":1000,"tokens_per_step":512,"total_steps":40,'
        '"tokens_seen":10240,"data":"3 files","optimizer":"adam: all","accepted":["optim.lr"],"weights":""}',
    ),
    (
        Phase(name="data", step=0, last_row_t=1699999990.5),
        '{"v":2,"t":1700000000.25,"kind":"phase","name":"data","step":0,"last_row_t":1699999990.5}',
    ),
    (
        Progress("converting tables", 120, None, "rows"),
        '{"v":2,"t":1700000000.25,"kind":"progress","what":"converting tables","done":120,"total":null,"unit":"rows"}',
    ),
    (
        Compiled(seconds=1.5, cache_hit=True, memory={"total": 99}, flops_per_token=None, cache="/c"),
        '{"v":2,"t":1700000000.25,"kind":"compiled","seconds":1.5,"cache_hit":true,"memory":{"total":99},'
        '"flops_per_token":null,"cache":"/c","in_run":null}',
    ),
    (
        Step(row={"step": 3, "loss": 2.5, "grad_norm": math.nan, "lr": 1e-3}),
        '{"v":1,"t":1700000000.25,"kind":"step","step":3,"loss":2.5,"grad_norm":null,"lr":0.001}',
    ),
    (
        Evaluated(step=3, loss=2.5, perplexity=12.18, bpb=None, tokens=100, seconds=0.5, unigram_loss=3.25),
        '{"v":2,"t":1700000000.25,"kind":"eval","step":3,"loss":2.5,"perplexity":12.18,"bpb":null,"tokens":100,'
        '"seconds":0.5,"unigram_loss":3.25,"ema_loss":null,"ema_bpb":null}',
    ),
    (
        SetEvaluated("code", 3, 2.5, 12.18, None, 100, 0.5),
        '{"v":2,"t":1700000000.25,"kind":"eval_set","name":"code","step":3,"loss":2.5,"perplexity":12.18,"bpb":null,'
        '"tokens":100,"seconds":0.5,"ema_loss":null,"ema_bpb":null}',
    ),
    (
        TaskEvaluated("arc", 3, 0.5, None, 1.25, 0.25, 8, 0, 0.5),
        '{"v":2,"t":1700000000.25,"kind":"eval_task","name":"arc","step":3,"accuracy":0.5,"accuracy_norm":null,'
        '"bpb":1.25,"centered":0.25,"examples":8,"cut":0,"seconds":0.5,"part_of":null,"ema_accuracy":null,'
        '"ema_accuracy_norm":null,"ema_bpb":null,"ema_centered":null}',
    ),
    (
        Sampled(step=3, prompt="é", text="\x1b[31m\x9b\u2028\ud800", tokens=4, seconds=0.1),
        '{"v":2,"t":1700000000.25,"kind":"sample","step":3,"prompt":"é","text":"\\u001b[31m\\u009b\\u2028\\ud800",'
        '"tokens":4,"seconds":0.1}',
    ),
    (
        Checkpoint(state="committed", step=3, bytes=10, seconds=0.2, blocked_seconds=0.01, tags=["best"]),
        '{"v":2,"t":1700000000.25,"kind":"checkpoint","state":"committed","step":3,"bytes":10,"seconds":0.2,'
        '"blocked_seconds":0.01,"tags":["best"],"reason":null}',
    ),
    (
        Warned(topic="resume", message="look", step=None),
        '{"v":2,"t":1700000000.25,"kind":"warning","topic":"resume","message":"look","step":null}',
    ),
    (
        NonFinite(step=3, loss=math.nan, grad_norm=-math.inf, skipped=1, action="halt"),
        '{"v":2,"t":1700000000.25,"kind":"nonfinite","step":3,"loss":null,"grad_norm":null,"skipped":1,"action":"halt",'
        '"source":"","first_read":null,"document_count":0,"documents":[]}',
    ),
    (
        Spike(step=3, loss=9.5, grad_norm=2.0, action="skip", message="high", loss_limit=3.5, grad_norm_limit=math.inf),
        '{"v":2,"t":1700000000.25,"kind":"spike","step":3,"loss":9.5,"grad_norm":2.0,"action":"skip","message":"high",'
        '"loss_limit":3.5,"grad_norm_limit":null,"skipped":0,"source":"","first_read":null,"document_count":0,'
        '"documents":[]}',
    ),
    (
        RolledBack(
            step=20,
            from_step=25,
            lr_factor=0.5,
            until_step=125,
            in_a_row=1,
            count=2,
            message="went back",
            source="data.files",
            first_read=7,
            document_count=2,
            documents=[9, 4],
        ),
        '{"v":2,"t":1700000000.25,"kind":"rollback","step":20,"from_step":25,"lr_factor":0.5,"until_step":125,'
        '"in_a_row":1,"count":2,"message":"went back","source":"data.files","first_read":7,"document_count":2,'
        '"documents":[9,4],"skipped_step":null,"cause":"nonfinite"}',
    ),
    (
        Profiled(
            step=10,
            steps=5,
            seconds=0.5,
            path="profile/step-6",
            busy_seconds=0.25,
            operations=[{"name": "dot", "calls": 2, "seconds": 0.25}],
        ),
        '{"v":2,"t":1700000000.25,"kind":"profile","step":10,"steps":5,"seconds":0.5,"path":"profile/step-6","bytes":0,'
        '"devices":1,"busy_seconds":0.25,"operations":[{"name":"dot","calls":2,"seconds":0.25}]}',
    ),
    (
        Acknowledged(id="a1", command="save", ok=True, message="saving step 3", step=3),
        '{"v":2,"t":1700000000.25,"kind":"acknowledged","id":"a1","command":"save","ok":true,"message":"saving step 3",'
        '"step":3}',
    ),
    (
        RunEnded(
            status="stopped", reason="SIGTERM received", step=3, exit_code=143, time_budget_seconds={"train": 1.5}
        ),
        '{"v":2,"t":1700000000.25,"kind":"run_ended","status":"stopped","reason":"SIGTERM received","step":3,'
        '"exit_code":143,"time_budget_seconds":{"train":1.5}}',
    ),
]


def test_there_is_a_golden_line_for_every_kind() -> None:
    assert [type(event) for event, _ in GOLDEN] == list(KINDS.values())


@pytest.mark.parametrize(("event", "line"), GOLDEN, ids=[event.kind for event, _ in GOLDEN])
def test_golden_lines(event: Event, line: str) -> None:
    encoded = encode(event, T)
    assert encoded == (line + "\n").encode()
    again = decode(encoded)
    assert type(again) is type(event)
    assert again is not None
    assert again.t == T
    assert encode(again, T) == encoded


def test_a_phase_has_the_time_of_an_earlier_row_only_where_there_is_one() -> None:
    line = b'{"v":2,"t":1700000000.25,"kind":"phase","name":"eval","step":7}\n'
    assert encode(Phase(name="eval", step=7), T) == line
    assert decode(line) == decode(line.replace(b"7}", b'7,"last_row_t":null}')) == Phase(name="eval", step=7, t=T)


def test_unknown_kinds_are_kept_as_they_were() -> None:
    line = b'{"v":9,"t":5.0,"kind":"moonrise","step":3,"deep":{"a":[1,null]}}\n'
    event = decode(line)
    assert event == Unknown(name="moonrise", fields={"step": 3, "deep": {"a": [1, None]}}, t=5.0)
    assert encode(event, 5.0) == line.replace(b'"v":9', b'"v":2')


def test_fields_of_the_future_are_dropped_and_missing_ones_make_it_unknown() -> None:
    known = decode('{"v":2,"t":1,"kind":"phase","name":"train","step":2,"mood":"good"}')
    assert known == Phase(name="train", step=2, t=1.0)
    assert decode('{"v":2,"t":1,"kind":"phase","name":"train"}') == Unknown(
        name="phase", fields={"name": "train"}, t=1.0
    )


def changed(event: Event, **values: object) -> str:
    """The line of `event` with some of its values replaced."""
    return json.dumps(json.loads(encode(event, T)) | values)


GOLDEN_EVENTS = {event.kind: event for event, _ in GOLDEN}
ESSENTIAL = [
    ("run_started", "resumed_from"), ("run_started", "attempt"), ("phase", "name"), ("phase", "step"),
    ("compiled", "seconds"), ("eval", "step"), ("eval", "loss"), ("sample", "text"), ("checkpoint", "state"),
    ("checkpoint", "step"), ("warning", "message"), ("nonfinite", "action"), ("rollback", "step"),
    ("acknowledged", "ok"), ("run_ended", "status"), ("run_ended", "step"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field"), ESSENTIAL)
def test_an_essential_value_that_does_not_fit_makes_the_line_unknown(kind: str, field: str) -> None:
    for value in ([], {"a": {}}, 10**400):
        event = decode(changed(GOLDEN_EVENTS[kind], **{field: value}))
        assert isinstance(event, Unknown), value
        assert (event.name, event.t, event.fields[field]) == (kind, T, value)


@pytest.mark.parametrize("step", [-1, 2**53 + 1, True, 3.0, "3", None])
def test_steps_are_whole_numbers_that_a_float_holds(step: object) -> None:
    assert isinstance(decode(changed(GOLDEN_EVENTS["phase"], step=step)), Unknown)


@pytest.mark.parametrize("kind", ["run_started", "run_ended", "checkpoint", "warning", "compiled"])
def test_an_optional_value_that_does_not_fit_takes_its_default(kind: str) -> None:
    """What a newer version writes in another form hides neither the start of a run nor its end."""
    event = GOLDEN_EVENTS[kind]
    optional = [f for f in dataclasses.fields(event) if f.name != "t" and not is_required(f)]
    assert optional
    for misfit in ([{}], True):
        read = decode(changed(event, **{one.name: misfit for one in optional}))
        assert type(read) is type(event)
        for one in optional:
            default = one.default_factory() if callable(one.default_factory) else one.default
            assert getattr(read, one.name) == default, one.name


def is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def test_names_of_newer_versions_are_kept() -> None:
    phase = decode(changed(GOLDEN_EVENTS["phase"], name="dream"))
    assert isinstance(phase, Phase)
    assert phase.name == "dream"
    ended = decode(changed(GOLDEN_EVENTS["run_ended"], status="evaporated"))
    assert isinstance(ended, RunEnded)
    assert ended.status == "evaporated"


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_measurement_that_is_not_finite_is_nan(value: float | None) -> None:
    event = decode(changed(GOLDEN_EVENTS["eval"], loss=value, perplexity=value))
    assert isinstance(event, Evaluated)
    assert math.isnan(event.loss)
    assert math.isnan(event.perplexity)


def test_values_may_be_nested_deeply() -> None:
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    event = decode(changed(GOLDEN_EVENTS["run_started"], device={"name": "cpu", "deep": deep}))
    assert isinstance(event, RunStarted)
    assert event.device["name"] == "cpu"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "null",
        "3",
        "[]",
        '"text"',
        "{",
        '{"kind":5}',
        '{"no":"kind"}',
        "\ufffd",
        '{"kind":"phase"',
        "[" * 100_000,
    ],
)
def test_lines_that_hold_no_event(line: str) -> None:
    assert decode(line) is None


def test_bytes_that_are_no_text() -> None:
    assert decode(b'{"kind":"phase","name":"\xff"}\n') is None


@pytest.mark.parametrize("t", ['"soon"', "null", "{}", "true", "1" + "0" * 400, "NaN", "1e999"])
def test_a_time_that_is_none(t: str) -> None:
    event = decode(f'{{"kind":"phase","name":"train","step":1,"t":{t}}}')
    assert isinstance(event, Phase)
    assert event.t == 0.0


def test_one_record_is_one_line_however_it_is_split() -> None:
    text = "".join(map(chr, range(0x20))) + "\x7f\x85\x9b\u2028\u2029"
    line = json_line({"text": text})
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["text"] == text
    assert not any(byte < 0x20 or byte == 0x7F for byte in line[:-1])


def test_numbers_that_json_has_not_become_null_at_any_depth() -> None:
    line = json_line({"a": [math.inf, {"b": (math.nan, 1.5)}], "c": -math.inf})
    assert json.loads(line) == {"a": [None, {"b": [None, 1.5]}], "c": None}
