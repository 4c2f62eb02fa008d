"""The `model` section."""

from __future__ import annotations

from typing import Literal

from chomp.config.fields import SET, Section, setting

ModelPreset = Literal[
    "mega200m", "mega1_3b", "mega1_3b_pg19", "mega7_1b", "mega7_3b", "paper_7b",
    "d20", "nano-125m", "nano-1b", "medium-3b", "large-7b", "d20-e3-full", "tiny-cpu",
    "micro", "small-50m", "base-120m", "llama-270m",
]  # fmt: skip
ROPE_BASE = 10_000.0
"""What `rope_base: null` means."""
LOW_FREQUENCY, HIGH_FREQUENCY = 1.0, 4.0
"""`rope_scaling` slows wavelengths between `rope_original_seq_len` over the first and over the second in part."""
FROM_TOKENIZER = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
"""Settings that a tokenizer decides when a run starts, where a configuration leaves them open."""

StoredDtype = Literal["float32", "bfloat16"]


class ModelConfig(Section):
    """The network and its dimensions."""

    backend: Literal["megalodon", "llama", "dummy"] = setting(
        "megalodon",
        "Architecture: `megalodon`; `llama`, a decoder with RMSNorm, rotary positions, grouped queries and SwiGLU; or "
        "`dummy`, an embedding and one linear layer that runs in seconds.",
        group="architecture",
    )
    preset: ModelPreset | None = setting(
        None,
        "A known model by name: its shape, and its optimizer and objective where they were published with it; explicit "
        "fields override the preset's. `chomp presets` lists all.",
        group="architecture",
        unset="none",
    )

    vocab_size: int | None = setting(
        None,
        "Rows of the embedding; null: the tokenizer's size rounded up to `data.tokenizer.vocab_size_multiple`.",
        unit="tokens",
        group="architecture",
        gt=0,
        unset="auto",
    )
    model_dim: int = setting(256, "Width of the residual stream.", group="architecture", gt=0)
    num_layers: int = setting(
        4, "Blocks in the stack.", group="architecture", ge=1, when={"model.backend": ["megalodon", "llama"]}
    )
    num_heads: int = setting(
        2,
        "Attention heads; must divide `z_dim` and `value_dim` (Megalodon) or `model_dim` (Llama).",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon", "llama"]},
    )
    num_kv_heads: int | None = setting(
        None,
        "Key and value heads of a Llama, each shared by several query heads; must divide `num_heads`; null: one per "
        "query head.",
        group="architecture",
        gt=0,
        unset="auto",
        when={"model.backend": ["llama"]},
    )
    residual_streams: int = setting(
        1,
        "Residual streams of a Llama: 1 is the plain residual, more are manifold-constrained hyper-connections (mHC).",
        group="architecture",
        ge=1,
        le=4,
        when={"model.backend": ["llama"]},
    )
    z_dim: int = setting(
        128,
        "Width of the shared query and key projection.",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon"]},
    )
    value_dim: int = setting(
        512, "Width of the value projection.", group="architecture", gt=0, when={"model.backend": ["megalodon"]}
    )
    ffn_hidden_dim: int = setting(
        512,
        "Hidden width of the feed-forward layer.",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon", "llama"]},
    )
    cema_ndim: int = setting(
        16,
        "Complex moving-average components per channel.",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon"]},
    )
    chunk_size: int = setting(256, "Attention span in chunk mode.", unit="tokens", group="architecture", gt=0)
    attention_window: int | None = setting(
        None,
        "Sliding attention of this width instead of chunks.",
        unit="tokens",
        group="architecture",
        gt=0,
        unset="off",
        when={"model.backend": ["megalodon", "llama"]},
    )
    norm_num_groups: int = setting(
        32,
        "Groups of the timestep norm; must divide `model_dim`.",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon"]},
    )
    norm_eps: float = setting(
        1e-5,
        "Added to variances before the square root.",
        group="architecture",
        gt=0,
        when={"model.backend": ["megalodon", "llama"]},
    )
    norm_affine: bool = setting(
        True,
        "Learned scale in RMSNorm and scale and shift in the feed-forward norm.",
        group="architecture",
        when={"model.backend": ["megalodon"]},
    )
    rope_base: float | None = setting(
        None,
        "Rotary base; null means 10000.",
        group="architecture",
        gt=0,
        unset="auto",
        when={"model.backend": ["megalodon", "llama"]},
    )
    rope_scaling: float | None = setting(
        None,
        "Turn channels of long wavelengths slower by this factor, as Llama 3.1 (8) and 3.2 (32) do; null: off.",
        group="architecture",
        ge=1,
        unset="off",
        when={"model.backend": ["llama"]},
    )
    rope_original_seq_len: int = setting(
        8192,
        "Length of rows before `rope_scaling`: longer wavelengths are slowed, those below a quarter of it are not.",
        unit="tokens",
        group="architecture",
        gt=0,
        when={"model.backend": ["llama"], "model.rope_scaling": SET},
    )
    swiglu: bool = setting(
        False, "Gated feed-forward layer.", group="architecture", when={"model.backend": ["megalodon"]}
    )
    rescale_nffn: bool = setting(
        False,
        "Learned rescaling of the feed-forward output.",
        group="architecture",
        when={"model.backend": ["megalodon"]},
    )
    scale_emb: bool = setting(
        False,
        "Multiply embeddings by the square root of `model_dim`.",
        group="architecture",
        when={"model.backend": ["megalodon"]},
    )
    share_emb: bool = setting(
        False,
        "Tie the output head to the embedding.",
        group="architecture",
        when={"model.backend": ["megalodon", "llama"]},
    )
    output_size: int = setting(
        -1,
        "Width of the output head; -1 means `vocab_size`.",
        group="architecture",
        ge=-1,
        when={"model.backend": ["megalodon"]},
    )
    init_mode: Literal["gaussian", "xavier", "he", "bert"] = setting(
        "he", "Initialiser of the projections.", group="architecture", when={"model.backend": ["megalodon"]}
    )

    dropout: float = setting(0.0, "Dropout on block outputs.", group="regularisation", ge=0, lt=1)
    attention_dropout: float = setting(
        0.0, "Dropout inside attention.", group="regularisation", ge=0, lt=1, when={"model.backend": ["megalodon"]}
    )
    attention_dropout_mode: Literal["post_softmax", "dropkey"] = setting(
        "post_softmax", "Where attention dropout acts.", group="regularisation", when={"model.backend": ["megalodon"]}
    )
    hidden_dropout: float = setting(
        0.0, "Dropout on hidden activations.", group="regularisation", ge=0, lt=1, when={"model.backend": ["megalodon"]}
    )

    pad_token_id: int | None = setting(
        None, "Padding id; taken from the tokenizer when null.", group="token ids", ge=0, unset="auto"
    )
    bos_token_id: int | None = setting(
        None, "Begin-of-text id; taken from the tokenizer when null.", group="token ids", ge=0, unset="auto"
    )
    eos_token_id: int | None = setting(
        None, "End-of-text id; taken from the tokenizer when null.", group="token ids", ge=0, unset="auto"
    )

    param_dtype: StoredDtype = setting("float32", "Dtype of the parameters.", group="numerics")
    compute_dtype: StoredDtype = setting("bfloat16", "Dtype of matrix products.", group="numerics")
    accum_dtype: Literal["float32"] = setting(
        "float32", "Dtype in which matrix products accumulate.", group="numerics", when={"model.backend": ["megalodon"]}
    )
    attention_softmax_dtype: StoredDtype = setting(
        "float32", "Dtype of the attention softmax.", group="numerics", when={"model.backend": ["megalodon"]}
    )
    remat: Literal["none", "full", "dots", "attention"] = setting(
        "none",
        "What the backward pass computes again to save memory: `full`: whole layers, `dots`: all of a layer but its "
        "projections, `attention`: attention alone.",
        group="memory",
        when={"model.backend": ["megalodon", "llama"]},
    )
    use_checkpoint: bool = setting(
        False, "An older name of `remat: full`.", group="memory", when={"model.backend": ["megalodon", "llama"]}
    )
    loss_chunk_size: int | None = setting(
        None,
        "Tokens projected to the vocabulary at once; bounds the logits' memory.",
        unit="tokens",
        group="memory",
        gt=0,
        unset="off",
        when={"model.backend": ["megalodon", "llama"]},
    )
    cema: Literal["auto", "blockwise", "parallel", "kernel", "fft", "associative", "sequential"] = setting(
        "auto",
        "How the moving average is computed; `auto` is `blockwise` on CPUs and `parallel` on GPUs. These two and "
        "`kernel` (Pallas, for GPUs) are chomp's own. The others are the library's: `fft` for continuous rows, "
        "`associative` and `sequential` for isolated documents.",
        group="numerics",
        when={"model.backend": ["megalodon"]},
    )
    attention: Literal["auto", "blockwise", "flash", "xla"] = setting(
        "auto",
        "How a Llama computes attention; `auto` is cuDNN on GPUs for what it takes, `blockwise` in fp32 on CPUs, else "
        "`xla`. `blockwise` computes a block of queries at a time, with the keys up to it. `flash` is a Pallas kernel "
        "for GPUs without arrays of the length squared.",
        group="numerics",
        when={"model.backend": ["llama"]},
    )

    init_from: str | None = setting(
        None,
        "Weights to start from: a Hugging Face folder of a Llama, a run or checkpoint of chomp, or a checkpoint of "
        "`megalodon_jax`. The shape and the tokenizer are taken from it where they are not written.",
        group="weights to start from",
        unset="none",
        min_length=1,
    )
    init_vocab: Literal["exact", "extend"] = setting(
        "exact",
        "What a tokenizer with more ids than the weights have rows means: `exact` refuses it, `extend` adds rows, each "
        "the mean of those that are there.",
        group="weights to start from",
        when={"model.init_from": [SET]},
    )

    @property
    def extends_vocabulary(self) -> bool:
        """Whether `vocab_size` grows to what the tokenizer needs."""
        return self.init_from is not None and self.init_vocab == "extend"
