"""What the training step would make a GPU do, compiled for cards that are not in this machine.

For each preset and card: kernel launches, turns of loops, waits for the host, matrix products by dtype, bytes of
operands and results, memory, and the time that each of these alone would take at the card's published rates. The wheels
of the extra `gpu-aot` are needed; a driver and a GPU are not. Twelve layers take one to two minutes of one core.

    python -m benchmarks.gpu_structure [--preset NAME]... [--card NAME]... [--count N] [--layers N] [-o KEY=VALUE]...
        [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "off")
# XLA compiles for a description; the CUDA plugin would otherwise look for a driver.
os.environ["JAX_PLATFORMS"] = "cpu"

from chomp.analysis.aot import CardProgram, compile_for
from chomp.config import Config, load_config
from chomp.device.cards import CARDS
from chomp.errors import DeviceError
from chomp.record.formatting import size
from chomp.train.blueprint import build_blueprint

_VOCABULARY = "model.vocab_size=50304"
_LLAMA = (
    _VOCABULARY, "model.compute_dtype=bfloat16", "train.seq_len=2048", "train.batch_size=2", "train.grad_accum=8",
    "model.loss_chunk_size=2048",
)  # fmt: skip
PRESETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "megalodon-100m": ("configs/megalodon_100m_zyda2.yaml", (_VOCABULARY,)),
    "megalodon-200m": ("configs/megalodon_200m_zyda2.yaml", (_VOCABULARY,)),
    "nano-125m": ("configs/quickstart_llama.yaml", (*_LLAMA, "preset nano-125m")),
    "llama-270m": ("configs/quickstart_llama.yaml", (*_LLAMA, "preset llama-270m")),
}


def configuration(preset: str, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration of a preset, with 2 x 8 rows of 2,048 tokens."""
    from chomp.config.presets import MODEL_PRESETS

    path, values = PRESETS[preset]
    plain = [value for value in values if not value.startswith("preset ")]
    for value in values:
        if value.startswith("preset "):
            shape = MODEL_PRESETS[value.removeprefix("preset ")]
            plain += [f"model.{name}={json.dumps(field)}" for name, field in shape.items() if name != "backend"]
    return load_config(Path(path), (*plain, *overrides)).config


def figures(program: CardProgram) -> dict[str, Any]:
    """One line of the table, as JSON."""
    structure, card = program.structure, program.card
    return {
        "card": card.name,
        "mesh": program.blueprint.placement.shape,
        "launches": structure.launches,
        "loop_turns": structure.loop_turns,
        "host_syncs": structure.host_syncs,
        "products": dict(structure.products),
        "outside_optimizer": {kind: structure.share_outside_optimizer(kind) for kind in ("bf16", "tf32", "fp32")},
        "attention_calls": structure.attention_calls,
        "bytes": structure.bytes,
        "memory": program.memory,
        "seconds": structure.bounds(card),
        "collectives": {kind: asdict(traffic) for kind, traffic in structure.collectives.items()},
        "mfu_bound": program.mfu_bound,
        "compile_seconds": round(program.seconds, 1),
        "flags": program.flags,
        "loops": [asdict(loop) for loop in structure.loops],
    }


HEAD = (
    f"{'preset':<15} {'card':<11} {'launches':>9} {'turns':>7} {'syncs':>6} {'not bf16':>8} {'TFLOP':>7} {'bytes':>8} "
    f"{'memory':>8} {'products':>9} {'traffic':>8} {'launch':>7} {'MFU at most':>11} {'compiled':>8}"
)


def line(preset: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    seconds, outside = found["seconds"], found["outside_optimizer"]
    return (
        f"{preset:<15} {found['card']:<11} {found['launches']:>9,} {found['loop_turns']:>7,} {found['host_syncs']:>6,} "
        f"{outside['tf32'] + outside['fp32']:>8.1%} {sum(found['products'].values()) / 1e12:>7.2f} "
        f"{size(found['bytes']):>8} {size(found['memory']['total']):>8} {1e3 * seconds['products']:>6.0f} ms "
        f"{1e3 * seconds['bytes']:>5.0f} ms {1e3 * seconds['launches']:>4.0f} ms {found['mfu_bound']:>11.1%} "
        f"{found['compile_seconds']:>6.0f} s{' without Triton' if found['flags'] else ''}"
    )


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", choices=PRESETS, help="default: all")
    parser.add_argument("--card", action="append", choices=CARDS, help="default: h200, rtx5090 and rtx4090")
    parser.add_argument("--count", type=int, default=1, help="cards in one machine, with the mesh of -o parallel.…")
    parser.add_argument("--layers", type=int, help="of each model, for a quick look")
    parser.add_argument("--loops", action="store_true", help="also list the loops")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    asked = parser.parse_args()
    overrides = (*asked.overrides, *([f"model.num_layers={asked.layers}"] if asked.layers else []))
    print(HEAD)
    results = []
    for preset in asked.preset or PRESETS:
        config = configuration(preset, overrides)
        blueprint = build_blueprint(config, "gpu")
        for card in asked.card or ("h200", "rtx5090", "rtx4090"):
            try:
                program = compile_for(CARDS[card], blueprint, asked.count)
            except DeviceError as error:
                print(f"error: {error}", file=sys.stderr)
                return 4
            found = figures(program)
            results.append({"preset": preset, "overrides": list(overrides), **found})
            print(line(preset, found), flush=True)
            for kind, traffic in found["collectives"].items():
                print(f"    {kind}: {traffic['calls']:,} calls, {size(traffic['bytes'])} sent by each card")
            if asked.loops:
                for loop in sorted(found["loops"], key=lambda one: -(one["turns"] or 3) * one["executions"])[:12]:
                    print(f"    {loop['turns'] or 'unknown'} turns x {loop['executions']}: {loop['name'][-90:]}")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
