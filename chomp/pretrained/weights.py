"""The weights of `model.init_from`: compared with a model, then read to where its parameters lie."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from chomp.checkpoint.reading import leaving_out, load, load_to_host
from chomp.config.model import ModelConfig
from chomp.config.pretrained import Pretrained, describe_pretrained, reinterpreted
from chomp.data.tokenizer import Tokenizer
from chomp.errors import CheckpointError, ConfigError, DataError
from chomp.generate.load import describe, find_checkpoint
from chomp.model.build import ModelDef, build_model
from chomp.model.llama_names import hf_name
from chomp.model.mtp import trunk_of
from chomp.model.paths import named_leaves
from chomp.parallel.mesh import Placement
from chomp.pretrained.tensors import Tensor, open_tensors, shown
from chomp.pretrained.vocabulary import vocabulary_note

Shapes = Mapping[str, jax.ShapeDtypeStruct]
# Tables of old Llama folders that follow from the configuration.
_NOT_LEARNED = re.compile(r".*\.rotary_emb\.inv_freq")
# Rows of a table whose mean is computed at once.
_ROWS = 1 << 12


class Arrays(abc.ABC):
    """The arrays of a source under chomp's names.

    Attributes:
        what: whose they are, for the record.
    """

    shapes: Mapping[str, tuple[int, ...]]
    what: str

    @abc.abstractmethod
    def read(self, wanted: Shapes) -> Mapping[str, jax.Array]:
        """These arrays where `wanted` says that they lie; each process reads the parts of its own devices."""

    @abc.abstractmethod
    def table(self, parameter: str) -> np.ndarray:
        """A whole array on the host."""


class FileArrays(Arrays):
    """Arrays of safetensors files.

    Args:
        tensors: by chomp's names.
    """

    def __init__(self, tensors: Mapping[str, Tensor], what: str) -> None:
        self._tensors, self.what = tensors, what
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}

    def read(self, wanted: Shapes) -> Mapping[str, jax.Array]:
        return {name: self._placed(self._tensors[name], like) for name, like in wanted.items()}

    def _placed(self, tensor: Tensor, like: jax.ShapeDtypeStruct) -> jax.Array:
        # Devices that hold the same part share what is read once.
        parts: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            span = tuple(one.indices(size)[:2] for one, size in zip(index, like.shape, strict=True))
            if span not in parts:
                parts[span] = tensor.part(tuple(slice(*ends) for ends in span)).astype(like.dtype, copy=False)
            return parts[span]

        return jax.make_array_from_callback(like.shape, like.sharding, part)

    def table(self, parameter: str) -> np.ndarray:
        return self._tensors[parameter].whole()


class RunArrays(Arrays):
    """Parameters of a chomp run's newest good checkpoint, or of the checkpoint at the path itself."""

    def __init__(self, source: Pretrained) -> None:
        self._path, self.what = source.path, "chomp"
        described = describe(source.path)
        model = build_model(described.config.model)
        self._saved = dict(named_leaves(model.abstract()))
        self.shapes = {name: leaf.shape for name, leaf in self._saved.items()}

    def read(self, wanted: Shapes) -> Mapping[str, jax.Array]:
        _, info = find_checkpoint(self._path)
        # In the dtypes in which they are saved; the program of the first state converts them.
        like = {
            name: jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=wanted[name].sharding)
            for name, saved in self._saved.items()
            if name in wanted
        }
        items, _ = load(info, {"params": leaving_out({**self._saved, **like}, wanted)}, verified=True)
        self.what = f"chomp, step {info.step}"
        return {name: items["params"][name] for name in wanted}

    def table(self, parameter: str) -> np.ndarray:
        _, info = find_checkpoint(self._path)
        return load_to_host(info, "params", self._saved, (parameter,))[parameter]


@dataclass(frozen=True)
class InitialWeights:
    """Weights that fit a model.

    Attributes:
        like: the model's parameters, without extra heads, by name.
        grown: those of which the source has fewer rows: tables of the vocabulary.
    """

    source: Pretrained
    arrays: Arrays
    model: ModelConfig
    like: Shapes
    grown: tuple[str, ...]

    def read(self, placement: Placement) -> dict[str, jax.Array]:
        """The parameters by name, each device with its own part; new rows are the mean of the others.

        Raises:
            DataError: they cannot be read, or one holds a number that is not finite.
        """
        exact = {name: leaf for name, leaf in self.like.items() if name not in self.grown}
        try:
            found = dict(self.arrays.read(placement.abstract(exact)))
            tables = {name: self.arrays.table(name) for name in self.grown}
        except CheckpointError as error:
            raise DataError(f"model.init_from: {error}") from error
        for name, table in tables.items():
            leaf = self.like[name]
            found[name] = _placed(with_new_rows(table, leaf.shape[0]).astype(leaf.dtype, copy=False), placement)
        self._require_finite(found)
        return found

    def _require_finite(self, found: Mapping[str, jax.Array]) -> None:
        # All devices agree, so that all processes refuse the same.
        for name, array in found.items():
            if not bool(_is_finite(array)):
                theirs = hf_name(name) if self.source.layout == "huggingface" else name
                raise DataError(
                    f"model.init_from: {self.source.path}: the tensor {theirs} holds numbers that are not finite, and "
                    "training from it would fail at its first step; download or export the weights again"
                )

    def notes(self, tokenizer: Tokenizer) -> list[str]:
        """What is not as it was when the weights were trained, one sentence each."""
        different = vocabulary_note(tokenizer, self.source)
        return [*reinterpreted(self.model, self.source), *([different] if different else [])]

    def describe(self) -> str:
        """Where the weights come from, for the record."""
        grown = self.grown[:1]
        new = [f"{self.like[name].shape[0] - self.arrays.shapes[name][0]:,} new rows" for name in grown]
        return f"{self.source.path} ({', '.join([self.arrays.what, *new])})"


def open_weights(model_def: ModelDef, path: str) -> InitialWeights:
    """The weights at `model.init_from`, compared with a resolved model by names and shapes.

    Raises:
        ConfigError: they contradict the model.
        DataError: they are damaged, or a file is missing.
    """
    model = model_def.config
    like = dict(named_leaves(trunk_of(model_def.abstract())))
    try:
        source = describe_pretrained(path)
        if source.model.get("backend") != model.backend or (source.layout == "huggingface" and _has_streams(model)):
            raise ConfigError(f"{source.path} has other parameters than a model with this `model` section")
        arrays = RunArrays(source) if source.layout == "run" else _open_files(source, like)
    except CheckpointError as error:
        raise DataError(f"model.init_from: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"model.init_from: {error}") from error
    return InitialWeights(source, arrays, model, like, _grown(source, arrays, like, model_def))


@jax.jit
def _is_finite(array: jax.Array) -> jax.Array:
    return jnp.isfinite(array).all()


def with_new_rows(table: np.ndarray, rows: int) -> np.ndarray:
    """A table with more rows, each the mean of those that it has, whatever the mesh on which it is read.

    A softmax over the longer table stays near that over the shorter one (Hewitt 2021, "Initializing New Word
    Embeddings for Pretrained Language Models").
    """
    total = np.zeros(table.shape[1:], np.float64)
    for start in range(0, len(table), _ROWS):
        total += table[start : start + _ROWS].astype(np.float64).sum(axis=0)
    mean = (total / len(table)).astype(np.float32).astype(table.dtype)
    return np.concatenate([table, np.broadcast_to(mean, (rows - len(table), *mean.shape))])


def _has_streams(model: ModelConfig) -> bool:
    return model.residual_streams > 1


def _placed(array: np.ndarray, placement: Placement) -> jax.Array:
    return jax.make_array_from_callback(array.shape, placement.sharding(array.shape), lambda index: array[index])


def _open_files(source: Pretrained, like: Shapes) -> FileArrays:
    tensors = open_tensors(source.path)
    is_llama = source.layout == "huggingface"
    names = {name: hf_name(name) if is_llama else name for name in like}
    missing = [theirs for theirs in names.values() if theirs not in tensors]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{source.path} has no tensor {missing[0]}{more}; download it again, or export it again")
    known = {*names.values(), *([hf_name("lm_head.weight")] if is_llama else [])}
    strange = [theirs for theirs in tensors if theirs not in known and not _NOT_LEARNED.fullmatch(theirs)]
    if strange:
        raise DataError(
            f"{source.path} has the tensor {shown(strange[0])}, and a model with this `model` section has no place "
            "for it"
        )
    words = "Hugging Face" if is_llama else "megalodon_jax"
    return FileArrays({name: tensors[theirs] for name, theirs in names.items()}, words)


def _grown(source: Pretrained, arrays: Arrays, like: Shapes, model_def: ModelDef) -> tuple[str, ...]:
    """The tables that get new rows; all other shapes are equal.

    Raises:
        ConfigError: one is not.
    """
    tables = (model_def.embedding_path.removeprefix("trunk."), "lm_head.weight", "lm_head.bias")
    grown = []
    for name, leaf in like.items():
        shape = arrays.shapes.get(name)
        if shape == leaf.shape:
            continue
        is_table = shape is not None and name in tables and shape[1:] == leaf.shape[1:] and shape[0] < leaf.shape[0]
        if not (is_table and model_def.config.extends_vocabulary):
            has = "missing" if shape is None else " x ".join(map(str, shape))
            needs = " x ".join(map(str, leaf.shape))
            advice = "; set model.init_vocab to extend to add rows" if is_table else ""
            raise ConfigError(f"model.init_from: {source.path}: {name} is {has}, and the model needs {needs}{advice}")
        grown.append(name)
    return tuple(grown)
