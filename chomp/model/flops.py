"""How many operations a token costs, and how many a GPU can do."""

import re
from dataclasses import dataclass

from megalodon_jax import MegalodonConfig


def mean_attention_span(seq_len: int, chunk_size: int, window: int | None = None) -> float:
    """Return how many keys a query sees on average, itself included, in one row without document boundaries.

    Args:
        seq_len: tokens in the row.
        chunk_size: attention is causal inside consecutive chunks of this many tokens.
        window: when given, attention slides over this many tokens instead.
    """
    if window is not None:
        full = min(window, seq_len)
        return (full * (full + 1) / 2 + (seq_len - full) * full) / seq_len
    whole, rest = divmod(seq_len, chunk_size)
    return (whole * chunk_size * (chunk_size + 1) / 2 + rest * (rest + 1) / 2) / seq_len


@dataclass(frozen=True)
class MegalodonFlops:
    """Forward FLOPs per token of a Megalodon, by part, all layers together.

    A multiply-add counts as two. With D `model_dim`, Z `z_dim`, V `value_dim`, F `ffn_hidden_dim`, N `cema_ndim`
    and S keys seen per query, one layer costs

    - `projections` 2 (D Z + 2 D V + D D + V D): wz, wv and wr, wh1, wh2;
    - `attention`   2 S (Z + V): scores and weighted values;
    - `cema`        12 D N + 2 D: the recurrence h = q h + p x (8 per component: one complex product, one real
      product, one addition), y = Re(sum of gamma h) (4 per component) and the skip omega x (2 per channel). It is
      counted as this recurrence whichever way it runs (FFT, scan), as the algorithm needs no more;
    - `ffn`         2 D F x 2, or x 3 with SwiGLU;

    and the head 2 D times its width. Lookups, norms, rotary factors, activations, gates and residuals are left out.
    """

    projections: float
    attention: float
    cema: float
    ffn: float
    head: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return self.projections + self.attention + self.cema + self.ffn + self.head


def megalodon_forward_flops(config: MegalodonConfig, span: float) -> MegalodonFlops:
    """Count one token's forward pass when each query sees `span` keys on average (see `MegalodonFlops`)."""
    d, z, v, f, n = config.model_dim, config.z_dim, config.value_dim, config.ffn_hidden_dim, config.cema_ndim
    layers = config.num_layers
    return MegalodonFlops(
        projections=layers * 2.0 * (d * z + 2 * d * v + d * d + v * d),
        attention=layers * 2.0 * span * (z + v),
        cema=layers * (12.0 * d * n + 2 * d),
        ffn=layers * 2.0 * d * f * (3 if config.swiglu else 2),
        head=2.0 * d * config.effective_output_size,
    )


def prediction_head_flops(dim: int, outputs: int) -> float:
    """Count one token's forward pass through one extra head: its square matrix and the shared output head."""
    return 2.0 * dim * dim + 2.0 * dim * outputs


_TERA = 1e12

_PEAK_BF16: tuple[tuple[str, float], ...] = (
    (r"\bB200\b", 2250 * _TERA),
    (r"\bH200 NVL\b", 835.5 * _TERA),
    (r"\bGH200\b", 989.4 * _TERA),
    (r"\bH200\b", 989.4 * _TERA),
    (r"\bH100 PCIe\b", 756.5 * _TERA),
    (r"\bH100 NVL\b", 835.5 * _TERA),
    (r"\bH100 80GB HBM3\b", 989.4 * _TERA),
    (r"\bA100\b", 312 * _TERA),
    (r"\bA30\b", 165 * _TERA),
    (r"\bA10\b", 125 * _TERA),
    (r"\bL40S\b", 362 * _TERA),
    (r"\bL4\b", 121 * _TERA),
    (r"\bRTX PRO 6000 Blackwell Workstation Edition$", 503.8 * _TERA),
    (r"\bRTX 5090$", 209.5 * _TERA),
    (r"\bRTX 4090$", 165.2 * _TERA),
    (r"\bRTX 3090$", 71 * _TERA),
)
"""Dense bf16 tensor-core rates with fp32 accumulation, from NVIDIA's data sheets and architecture papers.

Data sheets of data-centre parts print rates with sparsity; these are half of those. The GeForce patterns end at the
model number because the laptop, D and Ti parts of the same number are other chips.
"""


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """Return a GPU's peak dense FLOP/s, or None where it is not known.

    Args:
        device_kind: the device's name as JAX reports it (`jax.Device.device_kind`), e.g. "NVIDIA H200".
        dtype: how matrix products are computed, e.g. "bfloat16"; only that has a table.
    """
    if dtype != "bfloat16":
        return None
    return next((rate for pattern, rate in _PEAK_BF16 if re.search(pattern, device_kind)), None)
