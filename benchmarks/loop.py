"""What the loop costs: its rate over the rate of the bare compiled step on a fixed batch, in turns.

python -m benchmarks.loop [--rounds N] [--steps N]
"""

import argparse
import statistics
import time

import jax

from benchmarks.sessions import line, open_trainer
from chomp.train.hooks.runner import Hooks
from chomp.train.loop import training_steps
from chomp.train.steering import CommandExecutor
from chomp.train.trainer import Trainer


def loop_seconds(trainer: Trainer, executor: CommandExecutor, hooks: Hooks, steps: int) -> float:
    """Seconds per step of the real loop: data, dispatch, metrics, rows, commands, hooks."""
    started = time.perf_counter()
    for _, _ in zip(training_steps(trainer, executor), range(steps - 1), strict=False):
        hooks.run_due()
    trainer.catch_up()
    return (time.perf_counter() - started) / steps


def bare_seconds(trainer: Trainer, batch: object, steps: int) -> float:
    """Seconds per step of the compiled program alone, always on the same batch, dispatched ahead as the loop does."""
    assert trainer.program is not None
    started = time.perf_counter()
    for _ in range(steps):
        trainer.state, metrics = trainer.program.step(trainer.state, batch)
    jax.block_until_ready((trainer.state, metrics))
    return (time.perf_counter() - started) / steps


def measure(log_every: int, rounds: int, steps: int) -> None:
    """Print both rates and their ratio at one `log_every`."""
    overrides = (
        f"train.log_every={log_every}",
        "train.steps=1000000",
        "train.eval_every=0",
        "train.generate_every=0",
        "checkpoint.enabled=false",
        "optim.decay_steps=1000000",
    )
    with open_trainer(*overrides) as trainer:
        hooks = Hooks(trainer)
        executor = CommandExecutor(trainer, hooks)
        batch = next(trainer.batches)
        bare_seconds(trainer, batch, 2)
        bare, loop = [], []
        for number in range(rounds):
            # In turns, and in either order: a slow minute of the machine falls on both.
            if number % 2:
                loop.append(loop_seconds(trainer, executor, hooks, steps))
            bare.append(bare_seconds(trainer, batch, steps))
            if not number % 2:
                loop.append(loop_seconds(trainer, executor, hooks, steps))
    print(line(f"log_every {log_every:>2}: bare step", bare))
    print(line(f"log_every {log_every:>2}: loop", loop))
    ratios = [one / other for one, other in zip(bare, loop, strict=True)]
    print(f"log_every {log_every:>2}: loop rate / bare rate, median of pairs {statistics.median(ratios):.3f}")


def main() -> None:
    """Measure at `log_every` 1 and 10."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    for log_every in (1, 10):
        measure(log_every, options.rounds, options.steps)


if __name__ == "__main__":
    main()
