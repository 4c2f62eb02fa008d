"""Tensors of safetensors files, one file or shards with an index, read in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from chomp.config.pretrained import INDEX, WEIGHTS
from chomp.data.lfs import BEGINNING, is_lfs_pointer, lfs_problem
from chomp.data.vocabulary import read_object
from chomp.errors import DataError

DTYPES = ("F32", "BF16", "F16")


@dataclass(frozen=True)
class Tensor:
    """One tensor; none of its numbers is in memory."""

    file: Path
    name: str
    shape: tuple[int, ...]

    def part(self, index: tuple[slice, ...]) -> np.ndarray:
        """Some of its rows and columns, in the dtype of the file.

        Raises:
            DataError: the file cannot be read any more.
        """
        with _opened(self.file) as file:
            found: np.ndarray = file.get_slice(self.name)[index]
            return found

    def whole(self) -> np.ndarray:
        """All of it."""
        return self.part(tuple(slice(0, size) for size in self.shape))


def open_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of a folder, by name; the headers of all files are read.

    Raises:
        DataError: a file is missing or damaged, or has numbers of a dtype that chomp does not read.
    """
    if path.is_file():
        return _tensors_of(path)
    if (path / WEIGHTS).is_file():
        return _tensors_of(path / WEIGHTS)
    if not (path / INDEX).is_file():
        pickled = next(iter(sorted(path.glob("*.bin"))), None)
        has = "" if pickled is None else f", only {pickled.name}; convert it with save_pretrained of transformers"
        raise DataError(f"{path} has no {WEIGHTS} and no {INDEX}{has}")
    return _shards(path)


def _shards(folder: Path) -> dict[str, Tensor]:
    index = folder / INDEX
    files = read_object(index).get("weight_map")
    if not isinstance(files, dict) or not files or not all(_is_name(file) for file in files.values()):
        raise DataError(f"{index} has no weight_map of tensors and file names; replace the file")
    shards = sorted(set(files.values()))
    missing = [file for file in shards if not (folder / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{folder} lacks the shard {shown(missing[0])}{more} of the {len(shards)} that {INDEX} names; "
            "download it again"
        )
    tensors = {name: tensor for file in shards for name, tensor in _tensors_of(folder / file).items()}
    lost = [name for name in files if name not in tensors]
    if lost:
        raise DataError(
            f"{folder / shown(files[lost[0]])} has no tensor {shown(lost[0])}, which {INDEX} names; download it again"
        )
    return tensors


def shown(name: str) -> str:
    """A name out of a file, without what a terminal would obey."""
    return name if name.isprintable() else repr(name)


def _is_name(file: Any) -> bool:
    return isinstance(file, str) and file != "" and Path(file).name == file


def _tensors_of(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        odd = [name for name, one in slices.items() if one.get_dtype() not in DTYPES]
        if odd:
            dtype = slices[odd[0]].get_dtype()
            raise DataError(
                f"{path}: the tensor {shown(odd[0])} has the dtype {dtype}; chomp reads {', '.join(DTYPES)}"
            )
        return {name: Tensor(path, name, tuple(one.get_shape())) for name, one in slices.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            if is_lfs_pointer(file.read(len(BEGINNING))):
                raise DataError(lfs_problem(path))
        with safe_open(path, framework="np") as opened:
            yield opened
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{path} is no whole safetensors file: {shown(str(error))}; download it again") from error
