"""What the weights of `model.init_from` say of their model and tokenizer, and a configuration filled from it.

No array is read here, and nothing that needs JAX: the console fills its form from the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chomp.config.model import HIGH_FREQUENCY, LOW_FREQUENCY, ROPE_BASE, ModelConfig
from chomp.config.problems import Problem
from chomp.errors import ConfigError

Layout = Literal["huggingface", "megalodon-jax", "run", "resumed"]
"""Whose files they are; `resumed` is the run itself, which contradicts nothing: a resume judges what has changed."""

LLAMA3 = "llama3"
"""What Hugging Face calls the scaling of `model.rope_scaling`."""
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
MEGALODON_FORMAT = {
    "format": "megalodon-jax",
    "format_version": "3",
    "rope_layout": "adjacent_pair",
    "normalization_storage": "plus_one",
    "bias_schema": "upstream",
}
"""What the header of a `megalodon_jax` checkpoint says, in the version that chomp computes."""

# Settings that describe weights; the preset and the initialiser do not.
_DESCRIBING = tuple(
    name
    for name, field in ModelConfig.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("group") == "architecture"
)
_NOT_DESCRIBING = ("preset", "init_mode")
# The weights have the shapes of any value of these. A change is a choice, such as a larger base for longer rows.
_MAY_DIFFER = ("chunk_size", "attention_window", "norm_eps", "rope_base", "rope_scaling", "rope_original_seq_len")
# Null is no choice of a value.
_NULL_IS_OPEN = ("vocab_size", "num_kv_heads", "rope_base")
_TOKENIZER_CHOICE = ("kind", "path", "hf_name_or_path")
_LLAMA_WIDTHS = {
    "vocab_size": "vocab_size",
    "model_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_hidden_dim": "intermediate_size",
}


@dataclass(frozen=True)
class Pretrained:
    """Weights to start from, as their files describe them.

    Attributes:
        path: a folder, or a `megalodon_jax` file.
        model: settings of the `model` section.
        tokenizer: settings of `data.tokenizer`; None where no tokenizer is beside the weights.
    """

    layout: Layout
    path: Path
    model: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.path if self.path.is_dir() else self.path.parent


Find = Callable[[Mapping[str, Any]], Pretrained | None]
"""The weights that a configuration's sections name, if any."""


def named_weights(values: Mapping[str, Any]) -> Pretrained | None:
    """Those of `model.init_from`; a value that is no text is left for validation to refuse.

    Raises:
        ConfigError: they cannot be described.
    """
    model = values.get("model")
    name = model.get("init_from") if isinstance(model, Mapping) else None
    return describe_pretrained(name) if isinstance(name, str) and name.strip() else None


def describe_pretrained(name: str) -> Pretrained:
    """What the files at a path are.

    Raises:
        ConfigError: chomp cannot start from them; says why.
    """
    path = Path(name).expanduser()
    try:
        if (path / "config.json").is_file():
            return _huggingface(path)
        for file in (path / "meta.json", path / "config_resolved.json"):
            if file.is_file():
                return _run(path, file)
        if path.is_file() or (path / WEIGHTS).is_file():
            return _megalodon(path if path.is_file() else path / WEIGHTS)
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
    if not path.exists():
        raise ConfigError(
            f"there is no {name}; write the path of a folder or a file (a model of the hub is downloaded before, with "
            "`hf download NAME --local-dir FOLDER`)"
        )
    raise ConfigError(
        f"{path} holds no weights that chomp reads: expected a Hugging Face folder with config.json, a run or "
        "checkpoint of chomp, or a checkpoint of megalodon_jax"
    )


def resumed(path: Path, saved: Mapping[str, Any]) -> Pretrained | None:
    """A run's own settings in the place of what it started from; None where they are damaged."""
    model, data = saved.get("model"), saved.get("data")
    if not isinstance(model, Mapping) or not isinstance(data, Mapping) or "tokenizer" not in data:
        return None
    return Pretrained("resumed", path, _describing(model), data["tokenizer"])


def fill(values: Mapping[str, Any], source: Pretrained) -> tuple[dict[str, Any], list[Problem]]:
    """All sections with what the weights say under what the user wrote, and where the two contradict each other."""
    written = values.get("model")
    written = written if isinstance(written, Mapping) else {}
    problems = [] if source.layout == "resumed" else _contradictions(written, source)
    open_ = {name: value for name, value in source.model.items() if name not in written or _is_open(name, written)}
    filled = {**values, "model": {**written, **open_}}
    data = values.get("data")
    data = data if isinstance(data, Mapping) else {}
    tokenizer = data.get("tokenizer")
    tokenizer = tokenizer if isinstance(tokenizer, Mapping) else {}
    if not any(name in tokenizer for name in _TOKENIZER_CHOICE):
        if source.tokenizer is not None:
            filled["data"] = {**data, "tokenizer": {**source.tokenizer, **tokenizer}}
        elif source.layout != "resumed":
            message = f"is not set, and {source.folder} has no tokenizer; write the tokenizer of its weights"
            problems.append(Problem("data.tokenizer.kind", message, also=("model.init_from",)))
    return filled, problems


def reinterpreted(model: ModelConfig, source: Pretrained) -> list[str]:
    """Settings with which the model computes something else from the weights than they were trained for."""
    now = model.model_dump()
    return [
        f"model.{name} is {_told(now[name])}, and {source.path} was trained with {_told(value)}"
        for name, value in source.model.items()
        if name in _MAY_DIFFER and _effective(name, now[name]) != _effective(name, value)
    ]


def _contradictions(written: Mapping[str, Any], source: Pretrained) -> list[Problem]:
    if written.get("preset") is not None:
        message = "names a shape, and model.init_from brings that of its weights; remove one of the two"
        return [Problem("model.preset", message, also=("model.init_from",))]
    found = []
    for name, value in source.model.items():
        if name in written and name not in _MAY_DIFFER and not _is_open(name, written):
            contradiction = _contradiction(name, written, value, source)
            found += [Problem(f"model.{name}", contradiction, also=("model.init_from",))] if contradiction else []
    # Of another architecture every number differs.
    return [one for one in found if one.path == "model.backend"] or found


def _contradiction(name: str, written: Mapping[str, Any], value: Any, source: Pretrained) -> str | None:
    given, advice = written[name], f"remove it, or write {_told(value)}"
    if name == "num_kv_heads" and value is None:
        value = source.model.get("num_heads")
    if given == value:
        return None
    if name == "vocab_size" and isinstance(given, int) and given > value:
        if written.get("init_vocab") == "extend":
            return None
        advice = f"{advice}, or write model.init_vocab: extend"
    return f"{_told(given)} contradicts {source.path}, whose weights have {_told(value)}; {advice}"


def _is_open(name: str, written: Mapping[str, Any]) -> bool:
    return name in _NULL_IS_OPEN and written[name] is None


def _effective(name: str, value: Any) -> Any:
    return ROPE_BASE if name == "rope_base" and value is None else value


def _told(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    # Text of a file that a terminal would obey is shown escaped.
    return str(value) if str(value).isprintable() else repr(value)


def _in_json(value: Any) -> str:
    """A value as the file has it: a number in quotes is text."""
    return json.dumps(value) if isinstance(value, str) else _told(value)


def _describing(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: model[name] for name in _DESCRIBING if name in model and name not in _NOT_DESCRIBING}


def _huggingface(folder: Path) -> Pretrained:
    file = folder / "config.json"
    said = _read_table(file)
    rope = said.get("rope_parameters") or said.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ConfigError(f"{file}: rope_parameters is no table; replace the file")
    if (why := _unsupported(said, rope)) is not None:
        raise ConfigError(f"{file}: {why}")
    model: dict[str, Any] = {name: _whole(said, key, file) for name, key in _LLAMA_WIDTHS.items()}
    if (width := said.get("head_dim")) not in (None, model["model_dim"] // max(1, model["num_heads"])):
        raise ConfigError(
            f"{file}: head_dim is {width}, and chomp's heads have hidden_size / num_attention_heads channels, "
            f"{model['model_dim']} / {model['num_heads']}"
        )
    heads = said.get("num_key_value_heads")
    model |= {
        "backend": "llama",
        "num_kv_heads": model["num_heads"] if heads is None else _whole(said, "num_key_value_heads", file),
        "norm_eps": _number(said, "rms_norm_eps", 1e-6, file),
        "rope_base": _number({**said, **rope}, "rope_theta", ROPE_BASE, file),
        **_rope_scaling({**said, **rope}, file),
        "share_emb": bool(said.get("tie_word_embeddings", False)),
        "attention_window": None,
        "residual_streams": 1,
        "output_size": -1,
    }
    return Pretrained("huggingface", folder, model, _tokenizer_in(folder))


def _rope_kind(rope: Mapping[str, Any]) -> Any:
    return rope.get("rope_type", rope.get("type", "default"))


def _rope_scaling(said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """How positions are scaled; the settings of a model without scaling say so."""
    if _rope_kind(said) != LLAMA3:
        return {"rope_scaling": None}
    if "original_max_position_embeddings" not in said:
        said = {**said, "original_max_position_embeddings": said.get("max_position_embeddings")}
    original = _whole(said, "original_max_position_embeddings", file)
    factor = _number(said, "factor", 0.0, file)
    if factor < 1:
        raise ConfigError(f"{file}: factor is {_in_json(said.get('factor'))}, and a number of at least 1 is needed")
    return {"rope_scaling": factor, "rope_original_seq_len": original}


def _unsupported(said: Mapping[str, Any], rope: Mapping[str, Any]) -> str | None:
    """Why chomp's Llama does not compute what this model does, or None."""
    if said.get("model_type") != "llama":
        return f"model_type is {said.get('model_type')!r}; chomp starts from models of the type 'llama'"
    kind = _rope_kind(rope)
    if kind not in ("default", LLAMA3):
        return f"the type of rope_parameters is {_told(kind)}, and chomp's Llama computes only default and {LLAMA3}"
    low, high = rope.get("low_freq_factor", LOW_FREQUENCY), rope.get("high_freq_factor", HIGH_FREQUENCY)
    for name, value, allowed in (
        ("low_freq_factor", low, LOW_FREQUENCY),
        ("high_freq_factor", high, HIGH_FREQUENCY),
        ("hidden_act", said.get("hidden_act", "silu"), "silu"),
        ("attention_bias", said.get("attention_bias", False), False),
        ("mlp_bias", said.get("mlp_bias", False), False),
        ("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0), 1.0),
    ):
        if value != allowed:
            return f"{name} is {_told(value)}, and chomp's Llama computes only {_told(allowed)}"
    if said.get("quantization_config") is not None:
        return "the weights are quantised (quantization_config); chomp starts from float32, bfloat16 and float16"
    return None


def _run(path: Path, file: Path) -> Pretrained:
    """A run by its `config_resolved.json`, or a checkpoint by its `meta.json`."""
    saved = _read_table(file)
    found = resumed(path, saved.get("identity", {}) if file.name == "meta.json" else saved)
    if found is None or not isinstance(found.tokenizer, Mapping):
        raise ConfigError(f"{file} is damaged: it holds no settings of a model and a tokenizer; restore it from a copy")
    return Pretrained("run", path, found.model, found.tokenizer)


def _megalodon(file: Path) -> Pretrained:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            header = opened.metadata() or {}
        config = json.loads(header.get("config_json", "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no checkpoint of megalodon_jax: {error}; replace the file") from None
    differing = [name for name, value in MEGALODON_FORMAT.items() if header.get(name) != value]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{file} is no checkpoint of megalodon_jax that chomp reads: its {name} is {header.get(name)!r}, not "
            f"{MEGALODON_FORMAT[name]!r} (weights of a Hugging Face model need its config.json beside them)"
        )
    model = {"backend": "megalodon", **_describing(config if isinstance(config, dict) else {})}
    return Pretrained("megalodon-jax", file, model, _tokenizer_in(file.parent))


def _tokenizer_in(folder: Path) -> dict[str, Any] | None:
    if (file := folder / "tokenizer.json").is_file():
        return {"kind": "file", "path": str(file)}
    # The sentence about a SentencePiece model names the way to convert it.
    return {"kind": "hf", "hf_name_or_path": str(folder)} if any(folder.glob("*.model")) else None


def _read_table(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid JSON: {error}; replace the file") from None
    if not isinstance(said, dict):
        raise ConfigError(f"{file} holds no JSON object; replace the file")
    return said


def _whole(said: Mapping[str, Any], key: str, file: Path) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key} is {_in_json(value)}, and a whole number above 0 is needed")
    return value


def _number(said: Mapping[str, Any], key: str, default: float, file: Path) -> float:
    value = said.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigError(f"{file}: {key} is {_in_json(value)}, and a number above 0 is needed")
    return float(value)
