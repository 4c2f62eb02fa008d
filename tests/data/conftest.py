"""Shared by the data tests: configurations from overrides, pipelines that are closed again, a private cache."""

from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

from chomp.config.derive import derive
from chomp.config.load import parse_config
from chomp.config.schema import Config
from chomp.data.pipeline import DataPipeline, build_data
from chomp.data.tokenizers import build_tokenizer

SMALL = ("train.batch_size=2", "train.grad_accum=2", "train.seq_len=16", "data.prefetch=0")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets-cache")


@pytest.fixture
def configure() -> Callable[..., Config]:
    """Overrides on top of a small batch shape to a configuration."""

    def make(*overrides: str) -> Config:
        return parse_config("{}", source="test", overrides=(*SMALL, *overrides)).config

    return make


@pytest.fixture
def open_data(configure: Callable[..., Config]) -> Iterator[Callable[..., DataPipeline]]:
    """Overrides to an open pipeline with the configured tokenizer."""
    opened: list[DataPipeline] = []

    def build(*overrides: str) -> DataPipeline:
        config = configure(*overrides)
        opened.append(build_data(config, derive(config), build_tokenizer(config.data.tokenizer)))
        return opened[-1]

    yield build
    for pipeline in opened:
        pipeline.close()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty text files of 0 to about 90 bytes, one of them much longer than a row."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(40):
        text = f"<{number}>" + "abcdefghij"[number % 10] * (number * 13 % 90)
        (folder / f"{number:02}.txt").write_text("" if number == 7 else text * (20 if number == 11 else 1))
    return folder
