"""The `parallel` section: how a run is spread over devices and processes."""

from __future__ import annotations

from chomp.config.fields import Section, setting


class ParallelConfig(Section):
    """The mesh of devices, and how long a run waits for its processes.

    The mesh has two axes. Each device computes its own rows of a batch; along `fsdp` the devices also share one copy of
    the parameters and of the optimizer's state (Rajbhandari et al. 2020, ZeRO stage 3, arXiv 1910.02054).
    """

    data: int = setting(
        -1, "Copies of the parameters, each with its own rows; -1: as many as the devices allow.", group="mesh", ge=-1
    )
    fsdp: int = setting(
        1,
        "Devices that share one copy of parameters and optimizer state; -1: all that `data` leaves.",
        group="mesh",
        ge=-1,
    )
    lost_after_seconds: float = setting(
        60.0,
        "Several processes: end the run if nothing was heard of a process for this long.",
        unit="seconds",
        group="processes",
        ge=5,
    )
    stall_after_seconds: float = setting(
        600.0,
        "Several processes: end the run if a process is alive and completes no step for this long.",
        unit="seconds",
        group="processes",
        ge=30,
    )
