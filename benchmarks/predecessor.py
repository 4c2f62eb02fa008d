"""chomp and its predecessor, pszemraj/chomp: the held-out loss with one shape and one text, over several seeds.

All runs have the shape, schedule and text of `configs/quickstart.yaml`, with more files held out. `predecessor` trains
with AdamW, packs rows in the order of the text, and does not isolate documents; `same settings` is chomp with these
settings, `quickstart` with those of its file. All are scored on the same files in rows that run on from document to
document: the predecessor by its own evaluation, which leaves out what does not fill a last batch, and chomp by
`chomp eval`.

    python -m benchmarks.predecessor CHECKOUT [--python PATH] [--seeds 0 1 2] [--steps 300]
        [--runs predecessor "same settings" ...] [--same-order]

Each program shuffles the documents by its own rule, and where a batch is one passage much depends on which documents
come. With `--same-order` the predecessor gets the documents in the order of chomp and does not shuffle, so that its
runs read the batches of `same settings`: what remains is the model, its first values, and the step.

CHECKOUT is a clone of the predecessor, and PATH the Python of an environment in which it is installed from there,
with the megalodon-jax of its time (by default CHECKOUT/.venv/bin/python). Its code runs unchanged in processes of its
own, which get a configuration and a folder with the text as JSON lines; nothing of it is imported here.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.choices import CHOICES, CONFIG, in_words, machine, score, train
from chomp.config import Config, derive, load_config
from chomp.data.heldout import Documents
from chomp.data.pipeline import DataPipeline
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document
from chomp.data.sources.build import Text
from chomp.data.sources.files import divided
from chomp.data.sources.stdlib import stdlib_source
from chomp.data.tokenizers import build_tokenizer

ROOT = Path(__file__).parent.parent
HELD_OUT = "data.max_eval_samples=15"
SHAPE = (
    "model_dim", "num_layers", "num_heads", "z_dim", "value_dim", "ffn_hidden_dim", "cema_ndim", "chunk_size",
    "norm_num_groups", "norm_eps", "norm_affine", "rescale_nffn", "swiglu", "init_mode", "compute_dtype",
)  # fmt: skip
# Names and versions of what decides its figures, and where its code lies.
ASK = (
    "import json, chomp; from importlib.metadata import version; "
    "print(json.dumps([chomp.__file__, *map(version, ('jax', 'megalodon-jax', 'optax', 'equinox'))]))"
)
TRAIN = "from chomp.cli.main import cli; cli()"


class Setup(NamedTuple):
    """What all runs of a seed share.

    Attributes:
        python: has the predecessor.
        text: the folder with train.jsonl and validation.jsonl.
        steps: of training.
        in_order: the predecessor reads documents in the order of these files.
    """

    python: Path
    text: Path
    steps: int
    in_order: bool = False


def of_predecessor(setup: Setup, run: Path, seed: int, lr: float | None = None) -> float:
    """Train the predecessor, at the quickstart's rate or another; its held-out loss."""
    config = run.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(configuration(setup, run, seed, lr)))
    ran = _predecessor(setup.python, TRAIN, "train", str(config))
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().splitlines() or ["nothing"]
        raise SystemExit(
            f"the predecessor failed to train, exit code {ran.returncode}; it said last: {said[-1].strip()}"
        )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(rows[-1]["eval_loss"])


def of_chomp(setup: Setup, run: Path, seed: int, settings: tuple[str, ...]) -> float:
    """Train chomp; its held-out loss, in rows as the predecessor's."""
    train(CONFIG, run, setup.steps, seed, (HELD_OUT, *settings))
    return score(run, ("data.isolate_documents=false", "data.packing_mode=sequential"))


AS_PREDECESSOR = (*CHOICES["adamw 3e-3"], *CHOICES["not isolated"], *CHOICES["sequential"])
TIED = "model.share_emb=true"
RUNS: dict[str, Callable[[Setup, Path, int], float]] = {
    "predecessor": of_predecessor,
    "same settings": partial(of_chomp, settings=AS_PREDECESSOR),
    # The predecessor's output head is its embedding, which no setting changes.
    "same, tied": partial(of_chomp, settings=(*AS_PREDECESSOR, TIED)),
    "quickstart": partial(of_chomp, settings=()),
    # Its default rate.
    "predecessor 3e-4": partial(of_predecessor, lr=3e-4),
    # Its library's "he" has a deviation of sqrt(2 / outputs); the newer one's is sqrt(1 / (3 inputs)), less than half.
    "tied, xavier": partial(of_chomp, settings=(*AS_PREDECESSOR, TIED, "model.init_mode=xavier")),
}
BY_DEFAULT = list(RUNS)[:4]


def quickstart() -> Config:
    """The quickstart's configuration, which holds out more files."""
    return load_config(CONFIG, [HELD_OUT]).config


def configuration(setup: Setup, run: Path, seed: int, lr: float | None) -> dict[str, Any]:
    """The quickstart with AdamW, by the names that its settings had then."""
    same = quickstart()
    optim, tokenizer = same.optim, same.data.tokenizer
    return {
        "model": {
            "backend": "megalodon",
            "vocab_size": tokenizer.byte_offset + 256,
            **{name: getattr(same.model, name) for name in SHAPE},
        },
        "data": {
            "backend": "hf", "hf_dataset": str(setup.text), "hf_name": "default", "hf_eval_split": "validation",
            "seed": seed, "shuffle": not setup.in_order, "packing_mode": "sequential",
            "max_eval_samples": same.data.max_eval_samples,
            # Zero: documents are not cut.
            "tokenizer": {"kind": "byte", "byte_offset": tokenizer.byte_offset, "add_eos": True, "max_doc_tokens": 0},
        },
        "train": {
            "steps": setup.steps, "batch_size": same.train.batch_size, "seq_len": same.train.seq_len, "seed": seed,
            "allow_cpu": True, "log_every": same.train.log_every, "eval_every": setup.steps, "generate_every": 0,
        },
        "optim": {
            "name": "adamw", "lr": lr or optim.lr, "warmup_steps": optim.warmup_steps,
            "min_lr_ratio": optim.min_lr_ratio, "weight_decay": optim.weight_decay,
            "grad_clip_norm": optim.grad_clip_norm, "adam": optim.adam.model_dump(),
        },
        "checkpoint": {"enabled": False},
        "logging": {"run_dir": str(run)},
    }  # fmt: skip


def write_text(text: Text, folder: Path, seed: int | None) -> Path:
    """Write the documents as JSON lines, in chomp's order of a pass if there is a seed; returns the new folder."""
    ordered: Iterable[Document] = _all(text.train)
    if seed is not None:
        config = load_config(CONFIG, [HELD_OUT, *AS_PREDECESSOR, f"train.seed={seed}"]).config
        tokenizer, retry = build_tokenizer(config.data.tokenizer), RetryPolicy(0, 1.0)
        pipeline = DataPipeline(
            text, config, derive(config), tokenizer, vocab_size=tokenizer.padded_vocab_size, retry=retry, passes=1
        )
        ordered = pipeline.train_documents()
    folder.mkdir()
    for name, documents in (("train", ordered), ("validation", _all(text.evaluation))):
        lines = "".join(json.dumps({"text": document}) + "\n" for document in documents)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _all(documents: Documents) -> Iterator[Document]:
    return (documents[number] for number in range(len(documents)))


def described(checkout: Path, python: Path) -> str:
    """The commit and the versions of a predecessor that runs; the program ends with a sentence if it does not."""
    if not checkout.is_dir():
        raise SystemExit(f"no checkout of the predecessor at {checkout}: clone pszemraj/chomp there")
    if not os.access(python, os.X_OK) or python.is_dir():
        raise SystemExit(f"no Python at {python}: install the predecessor in an environment and name it with --python")
    asked = _predecessor(python, ASK)
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        raise SystemExit(f"the predecessor is not installed for {python}: {why}")
    place, *versions = json.loads(asked.stdout.splitlines()[-1])
    if checkout.resolve() not in Path(place).resolve().parents:
        raise SystemExit(
            f"{python} runs {place}, which is not in {checkout}: install the checkout with `pip install -e`"
        )
    names = ("jax", "megalodon-jax", "optax", "equinox")
    return f"{commit(checkout)}, " + ", ".join(map(" ".join, zip(names, versions, strict=True)))


def commit(checkout: Path) -> str:
    """The commit of a checkout, marked where files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() or "unknown commit"


def _predecessor(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated, so that it does not find this package under the name that both have.
    command = [str(python), "-I", "-c", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def main() -> None:
    """Print a line for each run, then mean and standard deviation of each kind."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("checkout", type=Path)
    options.add_argument("--python", type=Path, help="which has the predecessor; CHECKOUT/.venv/bin/python by default")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--runs", nargs="+", choices=list(RUNS), default=BY_DEFAULT)
    options.add_argument("--same-order", action="store_true", help="the predecessor reads the same batches")
    args = options.parse_args()
    python = (args.python or args.checkout / ".venv" / "bin" / "python").absolute()
    other = described(args.checkout, python)
    print(machine())
    print(f"predecessor {other}")
    print(f"chomp {commit(ROOT)}, " + ", ".join(f"{one} {version(one)}" for one in ("jax", "megalodon-jax")))
    batch = f"{quickstart().train.batch_size} x {quickstart().train.seq_len} bytes"
    text = divided(stdlib_source(), quickstart().data)
    print(f"{len(text.train)} modules of the standard library, {len(text.evaluation)} others held out", end="; ")
    print(f"{args.steps:,} steps of {batch}{', in the same order' * args.same_order}", flush=True)
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in args.seeds:
            source = write_text(text, folder / f"text-{seed}", seed if args.same_order else None)
            setup = Setup(python, source, args.steps, args.same_order)
            for run in args.runs:
                loss = RUNS[run](setup, folder / f"{run} {seed}", seed)
                losses.setdefault(run, []).append(loss)
                print(f"{run:<16} seed {seed}  loss {loss:.4f}", flush=True)
    base = losses.get("predecessor")
    for run, found in losses.items():
        against = ""
        if base and args.same_order:
            pairs = [one - other for one, other in zip(found, base, strict=True)]
            against = f", against the predecessor {in_words(pairs, '+')}, seed by seed"
        print(f"{run:<16} {in_words(found)} over {len(found)} seed{'s' * (len(found) > 1)}{against}")


if __name__ == "__main__":
    main()
