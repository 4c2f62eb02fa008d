"""Machines made of a driver and cards, as `nvidia-smi` prints them and as NVML answers."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

# Driver -> newest CUDA version it supports, as NVML gives it.
DRIVERS = {"535.261.03": 12020, "550.163.01": 12040, "570.172.08": 12080, "580.95.05": 13000}


class Model(NamedTuple):
    """A card on the market, and the first driver branch that knows it."""

    name: str
    capability: tuple[int, int]
    since: int
    memory_gib: int


MODELS = (
    Model("NVIDIA GeForce RTX 2080 Ti", (7, 5), 410, 11),
    Model("Tesla T4", (7, 5), 410, 15),
    Model("NVIDIA A100-SXM4-40GB", (8, 0), 450, 40),
    Model("NVIDIA GeForce RTX 3090", (8, 6), 455, 24),
    Model("NVIDIA GeForce RTX 4090", (8, 9), 520, 24),
    Model("NVIDIA H100 80GB HBM3", (9, 0), 520, 80),
    Model("NVIDIA B200", (10, 0), 570, 180),
    Model("NVIDIA GeForce RTX 5090", (12, 0), 570, 32),
    Model("NVIDIA RTX PRO 6000 Blackwell Server Edition", (12, 0), 570, 96),
)
V100 = Model("Tesla V100-SXM2-16GB", (7, 0), 384, 16)
GTX_1080 = Model("NVIDIA GeForce GTX 1080", (6, 1), 367, 8)
GTX_750 = Model("NVIDIA GeForce GTX 750 Ti", (5, 0), 334, 2)


def branch(driver: str) -> int:
    return int(driver.partition(".")[0])


# Every driver with every card from Turing to Blackwell that it knows.
MACHINES = [(driver, model) for driver, model in product(DRIVERS, MODELS) if branch(driver) >= model.since]


def smi(driver: str, models: Sequence[Model]) -> str:
    """The answer to driver_version, compute_cap and name."""
    return "".join(f"{driver}, {'.'.join(map(str, model.capability))}, {model.name}\n" for model in models)


def readings(driver: str, models: Sequence[Model], *, desktop: bool = False) -> dict[str, Any]:
    """Readings of an idle machine for `FakeNvml`."""
    screen = [{"pid": 2114, "memory": 402_653_184, "name": "/usr/lib/xorg/Xorg"}] if desktop else []
    return {
        "driver": driver,
        "cuda": DRIVERS[driver],
        "gpus": [
            {
                "uuid": f"GPU-{number:08d}-0000-4000-8000-000000000000",
                "name": model.name,
                "compute_capability": list(model.capability),
                "memory": {"total": model.memory_gib << 30, "used": 500 << 20},
                "utilisation": 0,
                "temperature": 35,
                "power_milliwatts": 25_000,
                "power_limit_milliwatts": 300_000,
                "mig": {"error": 3},
                "processes": [],
                "graphics": screen,
                "display_active": int(desktop),
            }
            for number, model in enumerate(models)
        ],
    }
