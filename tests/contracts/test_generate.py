"""`chomp generate`: prompts from everywhere, streamed text, for people and for programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chomp.cli.generate import command
from chomp.cli.stdin import MOST_BYTES
from chomp.generate.load import load_trained
from tests.engine import dummy_config
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile

LLAMA = {"backend": "llama", "num_layers": 1, "num_heads": 2, "ffn_hidden_dim": 16}


@pytest.fixture
def trained(references: References) -> Path:
    return references.run(run, dummy_config(references.corpus, train={"steps": 4}))


def generate(trained: Path, *args: object, **given: Any) -> Result:
    return CliRunner().invoke(command, [str(trained), *map(str, args)], **given)


def test_a_prompt_from_anywhere_is_continued_alike(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("def é")
    ways = [
        generate(trained, "--prompt", "def é", "--max-tokens", 9),
        generate(trained, "--prompt-file", file, "--max-tokens", 9),
        generate(trained, "--prompt-file", "-", "--max-tokens", 9, input="def é"),
        generate(trained, "--interactive", "--max-tokens", 9, input="def é\n"),
    ]
    assert {way.exit_code for way in ways} == {0}
    assert len({way.stdout for way in ways}) == 1
    assert ways[0].stdout.startswith("def é")
    assert "step 4 of " in ways[0].stderr
    assert "9 tokens in " in ways[0].stderr
    assert "ended at --max-tokens" in ways[0].stderr


@pytest.mark.parametrize("backend", ["dummy", "llama"])
def test_text_beyond_the_rows_of_training_is_warned_of_once(backend: str, references: References) -> None:
    model = {} if backend == "dummy" else LLAMA
    trained = references.run(run, dummy_config(references.corpus, train={"steps": 4}, model=model))
    long = generate(trained, "--interactive", "--max-tokens", 32, input="a\nb\n")
    said = "warning: prompt and text may be 33 tokens long, and the model was trained on rows of 32 (train.seq_len)"
    assert long.stderr.count("warning: ") == long.stderr.count(said) == 1
    limited = generate(trained, "--prompt", "a", "--max-new", 32, "--max-context", 8)
    if backend == "dummy":
        assert str(limited.exception) == "--max-context limits the attention of a Llama, and this model is a dummy"
    else:
        assert f"{said}; --max-context limits what it sees\n" in long.stderr
        assert (limited.exit_code, "warning: " in limited.stderr) == (0, False)
        assert load_trained(trained, max_context=8).model_def.config.attention_window == 8


def test_for_a_program_it_is_one_object(trained: Path) -> None:
    args = ("--prompt", "def ", "--max-tokens", 9, "--json")
    one, again, other = (json.loads(generate(trained, *args, "--seed", seed).stdout) for seed in (1, 1, 2))
    assert {**one, "seconds": 0} == {**again, "seconds": 0}
    assert one["text"] != other["text"]
    assert (one["step"], one["prompt"], one["tokens"], one["end"]) == (4, "def ", 9, "length")
    stopped = json.loads(generate(trained, *args, "--seed", 1, "--stop", one["text"][3]).stdout)
    assert (stopped["text"], stopped["end"]) == (one["text"].split(one["text"][3])[0], "stop")


def test_what_cannot_be_meant_is_refused(trained: Path, tmp_path: Path) -> None:
    twice = generate(trained, "--prompt", "a", "--interactive")
    assert (twice.exit_code, "give one of --prompt, --prompt-file and --interactive" in twice.stderr) == (2, True)
    empty = generate(trained, "--stop", "")
    assert (empty.exit_code, "--stop: the text must not be empty" in empty.stderr) == (2, True)
    file = tmp_path / "prompt.bin"
    file.write_bytes(b"ab\xff")
    binary = generate(trained, "--prompt-file", file)
    assert (binary.exit_code, f"--prompt-file: {file} is not UTF-8 at byte 2" in binary.stderr) == (2, True)


def test_a_bad_line_does_not_end_the_protocol(trained: Path) -> None:
    lines = [
        b'{"prompt": "\\ud83d"}',
        b"\xff",
        b"[" * 100_000,
        b'{"seed": 99999999999999999999}',
        b'{"max_tokens": 0}',
        b'{"temperature": Infinity}',
        b'{"stop": ["\\udc00"]}',
        b" " * (MOST_BYTES + 2),
        b'{"prompt": "b", "max_tokens": 2, "seed": 4294967295}',
    ]
    done = generate(trained, "--interactive", "--json", input=b"\n".join(lines))
    said = [json.loads(line) for line in done.stdout.splitlines()]
    problems = [line["problem"] for line in said if "problem" in line]
    assert (done.exit_code, len(problems)) == (0, len(lines) - 1)
    assert problems[:2] == ["prompt: half of a surrogate pair at character 0", "the line is not UTF-8 at byte 0"]
    assert all(len(problem) < 300 and "\n" not in problem for problem in problems)
    assert (said[-1]["tokens"], said[-1]["end"]) == (2, "length")


def test_a_bad_line_does_not_end_a_conversation(trained: Path) -> None:
    done = generate(trained, "--interactive", "--max-tokens", 2, input=b"one\n\xff\r\n\xed\xa0\xbd\ntwo")
    first, second = done.stdout.splitlines()
    assert (done.exit_code, first[:3], second[:3]) == (0, "one", "two")
    assert done.stderr.count("error: the line is not UTF-8 at byte 0; it is left out\n") == 2


@pytest.mark.parametrize("options", [("--temperature", 1e9), ("--temperature", 1e-40), ("--top-k", 10**40)], ids=str)
def test_extreme_numbers_are_used(options: tuple[object, ...], trained: Path) -> None:
    done = generate(trained, "--prompt", "a", "--max-tokens", 3, *options)
    assert done.exit_code == 0, done.exception


@pytest.mark.process
def test_a_program_asks_line_by_line_and_may_end_a_continuation(trained: Path) -> None:
    args = [sys.executable, "-m", "chomp", "generate", str(trained), "--interactive", "--json", "--max-tokens", "9"]
    child = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None

    def ask(line: str) -> None:
        assert child.stdin is not None
        child.stdin.write(line + "\n")
        child.stdin.flush()

    def answer() -> list[dict[str, Any]]:
        assert child.stdout is not None
        got = []
        for line in child.stdout:
            got.append(json.loads(line))
            if "end" in got[-1] or "problem" in got[-1]:
                break
        return got

    try:
        assert json.loads(child.stdout.readline()) == {"step": 4, "run": str(trained)}
        ask('{"prompt": "def "}')
        prompt, *pieces, end = answer()
        assert (prompt, end["tokens"], end["end"]) == ({"prompt": "def "}, 9, "length")
        text = json.loads(generate(trained, "--prompt", "def ", "--max-tokens", 9, "--json").stdout)["text"]
        assert "".join(piece["piece"] for piece in pieces) == text
        ask('{"prompt": 1}')
        assert answer()[0]["problem"].startswith("prompt: ")
        ask('{"prompt": "def ", "max_tokens": 200000}')
        for _ in range(9):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        *_, end = answer()
        assert end["end"] == "stopped"
        assert 0 < end["tokens"] < 200000
        ask('{"prompt": "x", "max_tokens": 1}')
        assert answer()[-1]["tokens"] == 1
        child.stdin.close()
        assert child.wait(30) == 0
    finally:
        child.kill()
