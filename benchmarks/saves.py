"""How long a save keeps training waiting, asynchronous and synchronous, in turns; and the memory it takes.

python -m benchmarks.saves [--rounds N]
"""

import argparse
import shutil
import statistics

from benchmarks.sessions import line, open_trainer
from chomp.checkpoint.items import to_items
from chomp.record.formatting import size
from chomp.train.machine import host_memory_gb, peak_host_memory_gb


def main() -> None:
    """Measure on a state that has been trained one step: fresh optimizer moments are zeros and compress to nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    overrides = (
        "optim.name=adamw",
        "model.model_dim=512",
        "model.value_dim=1024",
        "model.ffn_hidden_dim=1024",
        "model.z_dim=256",
        "train.batch_size=1",
        "train.seq_len=64",
        "data.isolate_documents=false",
        "checkpoint.max_to_keep=1",
    )
    with open_trainer(*overrides) as trainer:
        session = trainer.session
        before, peak_before = host_memory_gb(), peak_host_memory_gb()
        trainer.advance()
        items = to_items(trainer.state)
        waits: dict[bool, list[float]] = {False: [], True: []}
        for number in range(1, options.rounds + 1):
            for wait in (False, True):
                step = 2 * number + wait
                meta = {"step": step, "eval_loss": None}
                waits[wait].append(session.store.save(step, items, {}, meta, wait=wait))
                session.store.wait()
        total = session.store.infos()[-1].bytes
        shutil.rmtree(session.run.checkpoints)
    print(f"checkpoint of {session.model_def.parameter_count:,} parameters: {size(total)}")
    print(line("asynchronous: training waits", waits[False]))
    print(line("synchronous: training waits", waits[True]))
    print(f"asynchronous / synchronous {statistics.median(waits[False]) / statistics.median(waits[True]):.3f}")
    print(
        f"host memory before {before:.2f} GiB; peak before {peak_before:.2f} GiB, after {peak_host_memory_gb():.2f} GiB"
    )


if __name__ == "__main__":
    main()
