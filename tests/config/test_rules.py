"""Values that are each allowed and do not fit together, in the exact words."""

import pytest

from chomp.config import check, config_from_dict, notes, parse_config
from tests.config.wrong import refusal

VIOLATIONS = [
    (
        "model:\n  model_dim: 1073741824\n",
        "c.yaml:2: model.model_dim: expected a whole number of at most 536870912, got 1073741824",
    ),
    (
        "train:\n  log_every: 99999999999999999999\n",
        "c.yaml:2: train.log_every: expected a whole number of at most 2147483647, got 99999999999999999999",
    ),
    (
        "model:\n  num_layers: 1001\n",
        "c.yaml:2: model.num_layers: expected a whole number of at most 1000, got 1001",
    ),
    (
        "train:\n  batch_tokens: 10000\n",
        "c.yaml:2: train.batch_tokens: 10000 is not a multiple of train.batch_size x train.seq_len = 8 x 512 = 4096; "
        "8192 (grad_accum 2) and 12288 (grad_accum 3) are",
    ),
    (
        "train:\n  batch_tokens: 1000\n",
        "c.yaml:2: train.batch_tokens: 1000 is not a multiple of train.batch_size x train.seq_len = 8 x 512 = 4096; "
        "the smallest is 4096 (grad_accum 1), or lower train.batch_size",
    ),
    (
        "train:\n  batch_tokens: 8192\n  grad_accum: 2\n",
        "c.yaml:2: train.batch_tokens: is set and so is train.grad_accum, but each determines the other; remove one",
    ),
    (
        "train:\n  steps: 60\n",
        "c.yaml:2: optim.warmup_steps: 100 steps of warm-up leave none of the 60 train.steps for the decay; "
        "set it below 60, or set optim.decay_steps",
    ),
    (
        "train:\n  steps: 100\noptim:\n  schedule: wsd\n  warmup_steps: 90\n",
        "c.yaml:5: optim.warmup_steps: 90 of warm-up and 20 of decay (optim.decay_steps, a fifth of the run) are more "
        "than the 100 of train.steps; they must fit in it",
    ),
    (
        "optim:\n  schedule: wsd\n  decay_steps: 950\n",
        "c.yaml:3: optim.warmup_steps: 100 of warm-up and 950 of decay (optim.decay_steps) are more "
        "than the 1000 of train.steps; they must fit in it",
    ),
    (
        "train:\n  seq_len: 8\nobjective:\n  mtp_heads: 7\n",
        "c.yaml:4: objective.mtp_heads: head 7 predicts 8 tokens ahead, and rows have 8 (train.seq_len); use at most 6",
    ),
    (
        "optim:\n  decay_steps: 0\n",
        "c.yaml:2: optim.decay_steps: 0 is only for optim.schedule: wsd; write null to decay in all steps "
        "after the warm-up",
    ),
    (
        "model:\n  num_heads: 3\n  z_dim: 128\n  value_dim: 513\n",
        "c.yaml:3: model.z_dim: 128 is not divisible by model.num_heads = 3; 126 and 129 are",
    ),
    (
        "model:\n  value_dim: 513\n",
        "c.yaml:2: model.value_dim: 513 is not divisible by model.num_heads = 2; 512 and 514 are",
    ),
    (
        "model:\n  z_dim: 130\n",
        "c.yaml:2: model.z_dim: each of the 2 heads gets 65 of its 130 channels, and rotary positions need an even "
        "number; 128 and 132 are",
    ),
    (
        "model:\n  model_dim: 32\n",
        "c.yaml:2: model.norm_num_groups: 32 groups of model.model_dim = 32 channels have one channel each, and "
        "TimestepNorm needs at least two; use 16 or a smaller divisor",
    ),
    (
        "model:\n  model_dim: 100\n",
        "c.yaml:2: model.model_dim: 100 is not divisible by model.norm_num_groups = 32; 96 and 128 are",
    ),
    (
        "model:\n  model_dim: 8\n",
        "c.yaml:2: model.model_dim: 8 is not divisible by model.norm_num_groups = 32; 32 is",
    ),
    (
        "model:\n  backend: dummy\n  preset: mega200m\n",
        "c.yaml:3: model.preset: mega200m is a Megalodon shape and model.backend is dummy; remove it or set "
        "model.backend: megalodon",
    ),
    (
        "model:\n  backend: llama\n  preset: mega200m\n",
        "c.yaml:3: model.preset: mega200m is a Megalodon shape and model.backend is llama; remove it or set "
        "model.backend: megalodon",
    ),
    (
        "model:\n  backend: megalodon\n  preset: d20\n",
        "c.yaml:3: model.preset: d20 is a Llama shape and model.backend is megalodon; remove it or set "
        "model.backend: llama",
    ),
    (
        "model:\n  backend: llama\n  model_dim: 66\n  num_heads: 6\n",
        "c.yaml:3: model.model_dim: 66 does not give each of model.num_heads = 6 heads an even number of channels, "
        "which rotary positions need; 60 and 72 are",
    ),
    (
        "model:\n  backend: llama\n  num_heads: 8\n  num_kv_heads: 3\n",
        "c.yaml:4: model.num_kv_heads: 3 does not divide model.num_heads = 8; 1, 2, 4, 8 do",
    ),
    (
        "model:\n  backend: llama\n  hidden_dropout: 0.1\n",
        "c.yaml:3: model.hidden_dropout: a Llama has dropout only on block outputs (model.dropout); set this to 0",
    ),
    (
        "model:\n  backend: llama\n  output_size: 500\n",
        "c.yaml:3: model.output_size: a Llama's output head has the vocabulary's size; set -1",
    ),
    (
        "model:\n  residual_streams: 2\n",
        "c.yaml:2: model.residual_streams: needs model.backend: llama, but it is megalodon; set 1, or "
        "change model.backend",
    ),
    (
        "model:\n  attention: flash\n",
        "c.yaml:2: model.attention: needs model.backend: llama, but it is megalodon; set auto, or change model.backend",
    ),
    (
        "model:\n  backend: llama\n  attention_window: 64\n  attention: flash\n",
        "c.yaml:4: model.attention: the flash kernel has no sliding window; set auto or xla, or remove "
        "model.attention_window",
    ),
    (
        "model:\n  backend: llama\n  num_heads: 1\n  attention: flash\n",
        "c.yaml:4: model.attention: the flash kernel takes heads of 16 to 128 channels, and model.model_dim / "
        "model.num_heads is 256; set auto or xla, or change model.num_heads",
    ),
    (
        "model:\n  vocab_size: 256\n",
        "c.yaml:2: model.vocab_size: 256 rows cannot hold the byte tokenizer's 259 ids (3 special and 256 bytes); "
        "remove it, or set at least 259",
    ),
    (
        "model:\n  eos_token_id: 384\n",
        "c.yaml:2: model.eos_token_id: 384 is outside the vocabulary of 384; use 0 to 383, or null to take the "
        "tokenizer's",
    ),
    (
        "model:\n  output_size: 0\n",
        "c.yaml:2: model.output_size: the output head needs at least one row; set -1 for the vocabulary's size",
    ),
    (
        "model:\n  share_emb: true\n  output_size: 512\n",
        "c.yaml:3: model.output_size: a head tied to the embedding (model.share_emb) has its size, 384, and this is "
        "512; set -1",
    ),
    (
        "model:\n  output_size: 100\n",
        "c.yaml:2: model.output_size: 100 outputs cannot predict the 384 ids of the vocabulary; set -1",
    ),
    (
        "data:\n  backend: files\n",
        "c.yaml:2: data.files: data.backend is files and this is empty; write a list of paths or globs, such as "
        "[texts/*.txt]",
    ),
    (
        "data:\n  backend: hf\n  hf_dataset: ''\n",
        "c.yaml:3: data.hf_dataset: data.backend is hf and this is empty; write a dataset's name on the hub, such as "
        "Zyphra/Zyda-2",
    ),
    (
        "data:\n  backend: tokens\n",
        "c.yaml:2: data.tokens_path: data.backend is tokens and this is empty; write the path of a token file",
    ),
    (
        "data:\n  backend: local_text\n  local_text: '  '\n",
        "c.yaml:3: data.local_text: data.backend is local_text and this is empty; write the text itself",
    ),
    (
        "data:\n  files: [a.txt]\n",
        "c.yaml:2: data.files: is set, but data.backend is not and its default, stdlib, does not read it; write "
        "data.backend: files",
    ),
    (
        "data:\n  tokenizer:\n    kind: hf\n",
        "c.yaml:3: data.tokenizer.hf_name_or_path: data.tokenizer.kind is hf and this is empty; write a hub name or a "
        "local folder",
    ),
    (
        "data:\n  tokenizer:\n    kind: file\n",
        "c.yaml:3: data.tokenizer.path: data.tokenizer.kind is file and this is empty; write the path of a "
        "tokenizer.json",
    ),
    (
        "data:\n  tokenizer:\n    path: t.json\n",
        "c.yaml:3: data.tokenizer.path: is set, but data.tokenizer.kind is not and its default, byte, does not "
        "read it; write data.tokenizer.kind: file",
    ),
    (
        "model:\n  cema: fft\n",
        "c.yaml:2: model.cema: fft convolves a whole row and cannot keep documents apart; set auto, blockwise, "
        "associative or sequential, or data.isolate_documents: false",
    ),
    (
        "model:\n  cema: sequential\ndata:\n  isolate_documents: false\n",
        "c.yaml:2: model.cema: sequential is a path for isolated documents, and data.isolate_documents is false; set "
        "auto, blockwise or fft",
    ),
    (
        "data:\n  mask_boundary_loss: false\n",
        "c.yaml:2: data.mask_boundary_loss: false needs data.isolate_documents: false; an isolated document's first "
        "token has nothing before it to be predicted from",
    ),
    (
        "checkpoint:\n  keep_best: 2\n",
        "c.yaml:2: checkpoint.keep_best: needs train.eval_every above 0; without evaluation no checkpoint is better "
        "than another",
    ),
    (
        "checkpoint:\n  keep_best: 2\n  enabled: false\ntrain:\n  eval_every: 10\n",
        "c.yaml:2: checkpoint.keep_best: needs checkpoint.enabled: true; or set it to 0",
    ),
    (
        "evaluation:\n  sets: [wiki=texts/*.jsonl]\n",
        "c.yaml:2: evaluation.sets: expected names with a value each below it, got a list; write sets: {wiki: {files: "
        "[texts/*.jsonl]}}",
    ),
    (
        "evaluation:\n  tasks: arc=texts/arc\n",
        "c.yaml:2: evaluation.tasks: expected names with a value each below it, got the text 'arc=texts/arc'; write "
        "tasks: {arc: {path: texts/arc}}",
    ),
    (
        "evaluation:\n  every: [arc=250]\n",
        "c.yaml:2: evaluation.every: unknown key; did you mean evaluation.sets.NAME.every or "
        "evaluation.tasks.NAME.every?",
    ),
    (
        "evaluation:\n  sets: {a: {fiels: [x]}}\n",
        "c.yaml:2: evaluation.sets.a.fiels: unknown key; did you mean evaluation.sets.a.files?",
    ),
    (
        "evaluation:\n  sets: {a: {files: [x]}, a: {files: [y]}}\n",
        "c.yaml:2: evaluation.sets.a: the key is written twice, first on line 2; keep one",
    ),
    (
        "evaluation:\n  sets: {a: }\n",
        "c.yaml:2: evaluation.sets.a.files: names no file, or an empty path; write a list of paths or globs, such as "
        "[texts/*.txt]",
    ),
    (
        "evaluation:\n  tasks: {a: {path: ' '}}\n",
        "c.yaml:2: evaluation.tasks.a.path: names no file; write the path of a file of JSON lines, or of a folder of "
        "tasks",
    ),
    (
        "evaluation:\n  tasks: {a: {path: x}}\n  sets: {a: {files: [x]}}\n",
        "c.yaml:2: evaluation.tasks.a: there is a set of this name, too; give them different names",
    ),
    (
        "evaluation:\n  sets: {a: {files: [x], every: 5_000}}\n  best: a\n",
        "c.yaml:3: evaluation.best: needs checkpoint.keep_best above 0; without it no checkpoint is kept for its "
        "evaluation",
    ),
    (
        "evaluation:\n  sets: {arc: {files: [x]}}\n  best: ark\ncheckpoint: {keep_best: 1}\ntrain: {eval_every: 1}\n",
        "c.yaml:3: evaluation.best: 'ark' is neither in evaluation.sets nor in evaluation.tasks; did you mean arc?",
    ),
    (
        "evaluation:\n  sets: {a: {files: [x]}}\n  best: a\ncheckpoint: {keep_best: 1}\n",
        "c.yaml:3: evaluation.best: a is never scored: train.eval_every is 0; write evaluation.sets.a.every above 0",
    ),
    (
        "evaluation:\n  tasks: {a: {path: x, every: 0}}\n  best: a\ncheckpoint: {keep_best: 1}\ntrain: {eval_every: 1}"
        "\n",
        "c.yaml:3: evaluation.best: a is never scored: its `every` is 0; write evaluation.tasks.a.every above 0",
    ),
    (
        "train:\n  generate_top_k: 500\n",
        "c.yaml:2: train.generate_top_k: 500 is more than the 384 ids of the vocabulary; use at most 384, or null for "
        "all",
    ),
    (
        "train:\n  generate_prompts: ['']\n",
        "c.yaml:2: train.generate_prompts: holds an empty prompt; write at least one character, or remove it",
    ),
    (
        "logging:\n  metrics_file: ../m.jsonl\n",
        "c.yaml:2: logging.metrics_file: expected a file name inside the run directory, got '../m.jsonl'; write "
        "'m.jsonl'",
    ),
    *(
        (
            f"logging:\n  log_file: {name}\n",
            f"c.yaml:2: logging.log_file: the run directory reserves {name!r}; choose another name",
        )
        for name in ("events.jsonl", "origin.json", "program", "wandb_id")
    ),
    (
        "logging:\n  log_file: metrics.jsonl\n",
        "c.yaml:2: logging.metrics_file: 'metrics.jsonl' is also logging.log_file; give them different names",
    ),
]

NOTES = [
    ("{}", ()),
    (
        "{model: {dropout: 0.1}, train: {deterministic: true}}",
        ("train.deterministic is true: the dropout rates in model are not used",),
    ),
    (
        "{objective: {mtp_weight: 0.1}}",
        ("objective.mtp_weight is not used: objective.mtp_heads is 0",),
    ),
    ("{objective: {mtp_heads: 2, mtp_weight: 0.1}}", ()),
    (
        "{train: {seq_len: 300}}",
        (
            "train.seq_len 300 is not a multiple of model.chunk_size 256: attention pads each row to 512, which wastes "
            "the difference",
        ),
    ),
    (
        "{data: {packing_mode: sequential, max_doc_tokens: 100, packing_max_docs_per_bin: 4}}",
        (
            "data.packing_max_docs_per_bin is not used: data.packing_mode is sequential",
            "data.max_doc_tokens truncates every document after 100 tokens",
        ),
    ),
    (
        "{data: {isolate_documents: false, tokenizer: {add_eos: false}}}",
        (
            "no token separates documents: data.tokenizer.add_eos and add_bos are both false",
        ),
    ),
    (
        "{optim: {decay_steps: 2000}}",
        ("the run stops at step 1000, before the decay of the learning rate ends at step 2100",),
    ),
    (
        "{optim: {decay_steps: 400}}",
        ("the learning rate stays at 0.0001 from step 500 to the end at step 1000",),
    ),
    (
        "{checkpoint: {enabled: false}}",
        ("checkpoint.enabled is false: nothing is saved and the run cannot be resumed",),
    ),
    (
        "{train: {generate_temperature: 0, generate_top_k: 5}}",
        ("train.generate_temperature is 0: the most likely token is picked, top_k and top_p are not used",),
    ),
    ("{optim: {lr: 1.5}}", ("optim.lr is 1.5: above 1 training diverges; 1e-4 to 1e-2 are usual",)),
    (
        "{optim: {name: muon, lr: 0.05}}",
        (
            "Muon's learning rate is 1.5 (optim.lr 0.05 x optim.muon.lr_scale 30): above 1 training diverges; 0.02 is "
            "usual",
        ),
    ),
    (
        "{optim: {name: lion}}",
        ("optim.lr is 0.001, much for Lion: a third to a tenth of Adam's rate is usual, e.g. 1e-4",),
    ),
    ("{optim: {name: lion, lr: 3e-4}}", ()),
    (
        "{optim: {schedule: wsd, warmup_steps: 300}}",
        ("the decay of the learning rate (200 steps) is shorter than its warm-up (300 steps)",),
    ),
    ("{optim: {schedule: wsd, warmup_steps: 300, decay_steps: 0}}", ()),
    (
        "{optim: {schedule: wsd, warmup_steps: 600, decay_steps: 0}}",
        ("optim.warmup_steps is 600 of 1,000 steps: most of the run is warm-up",),
    ),
    ("{optim: {min_lr_ratio: 1}}", ("optim.min_lr_ratio is 1: the learning rate never falls",)),
    (
        "{optim: {weight_decay: 10}}",
        ("optim.weight_decay is 10; 0.1 is usual, and more than 1 removes what is learnt",),
    ),
    (
        "{optim: {adam: {b1: 0.99, b2: 0.9}}}",
        ("optim.adam.b2 (0.9) is below optim.adam.b1 (0.99); they may be exchanged",),
    ),
    ("{optim: {name: lion, lr: 1e-4, adam: {b1: 0.99, b2: 0.9}}}", ()),
    ("{train: {eval_every: 5000}}", ("train.eval_every is 5,000, more than train.steps: it happens only at the end",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), VIOLATIONS)
def test_violation(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(("text", "expected"), NOTES)
def test_notes(text, expected):
    assert notes(parse_config(text, source="c.yaml").config) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{model: {use_checkpoint: true}}",
        "{model: {remat: dots, dropout: 0.1}}",
        "{model: {backend: dummy, num_heads: 3, z_dim: 7, model_dim: 10}}",
        "{data: {mask_boundary_loss: false, isolate_documents: false}}",
        "{data: {backend: stdlib, files: [a.txt], tokenizer: {kind: byte, path: t.json}}}",
        "{model: {vocab_size: 259, output_size: 300}}",
        "{model: {share_emb: true, output_size: 384}}",
        "{optim: {warmup_steps: 0}, train: {steps: 1}}",
        "{optim: {schedule: wsd, warmup_steps: 800, decay_steps: 200}}",
        "{optim: {warmup_steps: 2000, decay_steps: 2000}}",
        "{train: {batch_tokens: 8192}}",
        "{checkpoint: {save_every: 0, save_every_seconds: 0, enabled: false}}",
    ],
)
def test_accepted(text):
    config = parse_config(text, source="c.yaml").config
    check(config_from_dict(config.model_dump()))


def test_a_violation_by_override_names_the_override():
    assert refusal("{}", "train.batch_tokens=10000") == [
        "-o train.batch_tokens=10000: train.batch_tokens: 10000 is not a multiple of train.batch_size x train.seq_len "
        "= 8 x 512 = 4096; 8192 (grad_accum 2) and 12288 (grad_accum 3) are"
    ]


def test_every_violation_is_reported():
    assert len(refusal("model: {z_dim: 129, value_dim: 513}\ntrain: {steps: 60, batch_tokens: 7}\n")) == 4
