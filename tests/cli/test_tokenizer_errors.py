"""What `chomp train` says of a tokenizer that cannot be used, and what it warns of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_control_tokens import lacking_unigram, lacking_word_level
from tests.data.test_tokenizer_files import POINTER, SENTENCEPIECE
from tests.engine import write_config
from tests.in_process import run
from tests.references import References

pytestmark = pytest.mark.compile


def words(folder: Path) -> tuple[str, str]:
    backend = lacking_word_level()
    backend.add_special_tokens(["</s>"])
    backend.save(str(folder / "w.json"))
    return "file", "w.json"


def letters(folder: Path) -> tuple[str, str]:
    backend = lacking_unigram()
    backend.add_special_tokens(["</s>"])
    backend.save(str(folder / "w.json"))
    return "file", "w.json"


def sentencepiece(folder: Path) -> tuple[str, str]:
    (folder / "sp").mkdir()
    (folder / "sp" / "tokenizer.model").write_bytes(SENTENCEPIECE)
    return "hf", "./sp"


def pointer(folder: Path) -> tuple[str, str]:
    (folder / "tokenizer.json").write_bytes(POINTER)
    return "file", "tokenizer.json"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (words, "the tokenizer w.json cannot encode "),
        (letters, "the tokenizer w.json cannot encode "),
        (sentencepiece, "./sp has no tokenizer.json, only a SentencePiece model (tokenizer.model); convert it with "),
        (pointer, "tokenizer.json is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`"),
    ],
)
def test_one_sentence_and_exit_code_3(
    references: References, tmp_path: Path, make: Callable[[Path], tuple[str, str]], problem: str
) -> None:
    config = write_config(tmp_path / "config.yaml", references.config)
    kind, place = make(tmp_path)
    name = {"file": "path", "hf": "hf_name_or_path"}[kind]
    options = ("-o", f"data.tokenizer.kind={kind}", "-o", f"data.tokenizer.{name}={place}")
    refused = run("train", config, "--dry-run", *options, cwd=tmp_path)
    assert refused.returncode == 3
    said = refused.stdout + refused.stderr
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {problem}")
    assert "Traceback" not in said
    assert "transformers]" not in said


def test_a_warning_of_bytes_with_another_offset(references: References, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", references.config)
    (np.frombuffer(b"some words to train on\n" * 200, np.uint8) + np.uint32(0)).astype("<u4").tofile(tmp_path / "x.bin")
    done = run("train", config, "--dry-run", "-o", "data.backend=tokens", "-o", "data.tokens_path=x.bin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: the token file x.bin (uint32) seems to hold bytes with the offset 0, but " in done.stdout
