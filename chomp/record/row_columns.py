"""The columns of a run's rows, by name; apart, so that a process that only reads rows begins soon."""

from __future__ import annotations

import numpy as np

# Terms of the objective beside the loss (`chomp.step.objective`): most runs have none; of many heads the first count.
MOST_HEADS = 8
TERM_COLUMNS = ("smoothed_loss", "filtered_loss", "z_loss", *(f"mtp_loss_{head}" for head in range(1, MOST_HEADS + 1)))
# Columns of a run's rows, in floats; NaN where a row has no such value. `t` is Unix time in seconds.
ROW_COLUMNS = (
    "step", "t", "tokens_seen", "loss", "grad_norm", "lr", "lr_muon", "tokens_per_sec", "step_time_s", "mfu",
    "packing_utilization", "device_memory_gb", "peak_memory_gb", "device_memory_limit_gb", "host_memory_gb",
    *TERM_COLUMNS,
)  # fmt: skip

# Some rows: a column for each of their values, of equal length.
Block = dict[str, np.ndarray]
