"""Make a model from its configuration: parameters, their shapes, their number."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree
from megalodon_jax import MegalodonForCausalLM
from megalodon_jax.model import MegalodonBlock

from chomp.config.model import ModelConfig
from chomp.errors import ConfigError
from chomp.model.base import LanguageModel
from chomp.model.dummy import DummyModel
from chomp.model.flops import prediction_head_flops
from chomp.model.llama import LlamaModel
from chomp.model.llama_block import Block
from chomp.model.megalodon import MegalodonModel, computed_by_documents, megalodon_config, own_cema, with_remat
from chomp.model.mtp import PredictionHead, WithHeads, trunk_of
from chomp.model.paths import dotted, named_leaves
from chomp.model.remat import policy_of


@dataclass(frozen=True)
class ModelDef:
    """A model without its parameters.

    Attributes:
        config: the resolved model section.
        deterministic: whether training runs without dropout and recomputation.
        embedding_path: dotted path of the token embedding among the parameters.
        make_params: key -> parameters, traced, never run as it is.
        combine: parameters (arrays or their shapes) -> a model that can be called, without its extra heads.
        layer: class of the layers, each of which gathers its own parameters where devices share them; the others are
            gathered for the whole pass.
        mtp_heads: extra heads among the parameters (`chomp.model.mtp`).
    """

    config: ModelConfig
    deterministic: bool
    embedding_path: str
    make_params: Callable[[PRNGKeyArray], PyTree]
    combine: Callable[[PyTree], LanguageModel]
    layer: type | tuple[type, ...] = ()
    mtp_heads: int = 0

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draw parameters on the default device in one compiled call; a pytree of arrays only."""
        return jax.jit(self.make_params)(key)

    def dropout_key(self, key: PRNGKeyArray) -> PRNGKeyArray | None:
        """Return what training passes to the model: `key`, or None where the model runs without dropout."""
        return None if self.deterministic else key

    def gathered_dtype(self, path: Any, leaf: Any) -> Any:
        """Return the dtype in which devices that share a parameter gather it: that in which the model multiplies it.

        Weights of linear layers and the embedding are cast to `compute_dtype` where they are read; the rest is read in
        its own dtype.
        """
        is_weight = leaf.ndim == 2 and dotted(path).rpartition(".")[2] == "weight"
        return self.config.compute_dtype if is_weight else leaf.dtype

    def abstract(self) -> PyTree:
        """Return the parameters' shapes and dtypes as `jax.ShapeDtypeStruct` without running anything."""
        return _abstract(self)

    @property
    def parameter_count(self) -> int:
        """Number of trainable scalars."""
        return self.parameter_breakdown()["total"]

    def parameter_breakdown(self) -> dict[str, int]:
        """Count trainable scalars by part of the network (all layers together), with their `total`."""
        counts: dict[str, int] = {}
        for path, leaf in named_leaves(self.abstract()):
            part = _part(path)
            counts[part] = counts.get(part, 0) + math.prod(leaf.shape)
        counts["total"] = sum(counts.values())
        return counts

    def flops_per_token(self, seq_len: int) -> float:
        """Return analytic training FLOPs per token, see `LanguageModel.flops_per_token`, extra heads included."""
        trunk = self.combine(self.abstract()).flops_per_token(seq_len)
        return trunk + self.mtp_heads * 3.0 * prediction_head_flops(self.config.model_dim, self.outputs)

    def recomputed_flops_per_token(self, seq_len: int) -> float:
        """Return what `model.remat` costs, see `LanguageModel.recomputed_flops_per_token`."""
        return self.combine(self.abstract()).recomputed_flops_per_token(seq_len, policy_of(self.config))

    @property
    def outputs(self) -> int:
        """Width of the output head."""
        states = jax.ShapeDtypeStruct((self.config.model_dim,), self.config.compute_dtype)
        return jax.eval_shape(lambda params, some: self.combine(params).unembed(some), self.abstract(), states).size


@functools.lru_cache(maxsize=8)
def _abstract(model_def: ModelDef) -> PyTree:
    return eqx.filter_eval_shape(model_def.make_params, jax.random.key(0))


_PARTS = (
    ("mtp.", "prediction_heads"),
    ("_residual.", "residual_streams"),
    ("attn.timenorm.", "timestep_norm"),
    ("attn.cema.", "cema"),
    ("attn.rmsnorm.", "rms_norm"),
    ("attn.gamma", "qk_affine"),
    ("attn.beta", "qk_affine"),
    ("attn.w", "attention_projections"),
    ("attn_norm.", "attention_norm"),
    ("ffn.norm.", "ffn_norm"),
    ("ffn_norm.", "ffn_norm"),
    ("ffn.alpha", "ffn_rescale"),
    ("ffn.", "ffn"),
    ("lm_head.", "output_head"),
    ("embed.", "embedding"),
    ("norm.", "final_norm"),
)


def _part(path: str) -> str:
    """Name the part of the network that a parameter belongs to."""
    return next(part for piece, part in _PARTS if piece in path)


def build_model(
    config: ModelConfig, *, deterministic: bool = True, backend: str = "cpu", mtp_heads: int = 0
) -> ModelDef:
    """Make a model from a resolved model section.

    Args:
        config: from `resolve_model`; its `vocab_size` is set.
        deterministic: train without dropout and recomputation.
        backend: JAX's platform name, which decides between the two moving-average scans under `cema: auto`.
        mtp_heads: heads to train beside the model; without them its parameters are the same, drawn and named alike.

    Raises:
        ConfigError: `vocab_size` is not known or widths do not fit together.
    """
    if config.vocab_size is None:
        raise ConfigError("model.vocab_size is not known: set it, or build the model after its tokenizer is loaded.")
    makers = {"dummy": _build_dummy, "llama": _build_llama, "megalodon": _build_megalodon}
    model_def = makers[config.backend](config, deterministic, backend)
    return _with_heads(model_def, mtp_heads) if mtp_heads else model_def


# Far from the small numbers by which the models' own keys are split off the same one.
_HEADS = 2**31 - 1


def _with_heads(model_def: ModelDef, heads: int) -> ModelDef:
    config = model_def.config

    def make_params(key: PRNGKeyArray) -> PyTree:
        root = jax.random.fold_in(key, _HEADS)
        keys = (jax.random.fold_in(root, number) for number in range(heads))
        drawn = tuple(PredictionHead(config.model_dim, config.param_dtype, key=one) for one in keys)
        return WithHeads(model_def.make_params(key), drawn)

    return dataclasses.replace(
        model_def,
        embedding_path=f"trunk.{model_def.embedding_path}",
        make_params=make_params,
        combine=lambda params: model_def.combine(trunk_of(params)),
        mtp_heads=heads,
    )


def _build_dummy(config: ModelConfig, deterministic: bool, backend: str) -> ModelDef:
    def make_params(key: PRNGKeyArray) -> PyTree:
        return DummyModel(config, key=key)

    return ModelDef(config, deterministic, DummyModel.embedding_path, make_params, _identity)


def _build_llama(config: ModelConfig, deterministic: bool, backend: str) -> ModelDef:
    def make_params(key: PRNGKeyArray) -> PyTree:
        return LlamaModel(config, backend=backend, key=key)

    return ModelDef(config, deterministic, LlamaModel.embedding_path, make_params, _identity, layer=Block)


def _identity(params: Any) -> LanguageModel:
    return params


def _build_megalodon(config: ModelConfig, deterministic: bool, backend: str) -> ModelDef:
    network_config = megalodon_config(config, backend)

    def make_params(key: PRNGKeyArray) -> PyTree:
        # With `scale_emb` the library's constructor reads the value of a constant, which tracing would hide.
        with jax.ensure_compile_time_eval():
            return MegalodonForCausalLM(network_config, key=key)

    def combine(params: PyTree) -> LanguageModel:
        # Parameters keep the library's own modules, so that checkpoints and exports do not depend on the path.
        own = own_cema(config.cema, backend)
        policy = policy_of(config)
        network = params if own is None else computed_by_documents(params, own, backend, policy)
        network = with_remat(network, policy)
        return MegalodonModel(network=network, loss_chunk_size=config.loss_chunk_size)

    return ModelDef(config, deterministic, MegalodonModel.embedding_path, make_params, combine, layer=MegalodonBlock)
