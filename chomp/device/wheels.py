"""Which CUDA wheels of JAX fit the NVIDIA driver and the GPUs of this machine.

`make` runs this file before anything is installed, so it needs only the standard library and `nvidia-smi`:
`python3 chomp/device/wheels.py` prints the extra of chomp to install, nothing for the CPU wheels, and on standard error
the reason.

The table is that of jax 0.10.2. Drivers and capabilities: https://docs.jax.dev/en/latest/installation.html; the
compiled kernels in the wheels agree (CUDA 13: 7.5 and newer; CUDA 12: 5.0 and newer). The CUDA 12 wheels accept cuDNN
from 9.8 on, but cuDNN from 9.11 on has no kernels below 7.5, and JAX refuses 9.10.0:
https://docs.nvidia.com/deeplearning/cudnn/backend/v9.11.0/reference/support-matrix.html.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TIMEOUT_SECONDS = 60
_VERSION = re.compile(r"\d+(\.\d+)+")
_CAPABILITY = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Card:
    """One GPU: its name and compute capability; the latter is None where the driver does not report it."""

    name: str
    capability: tuple[int, int] | None


@dataclass(frozen=True)
class WheelSet:
    """One choice of wheels.

    Attributes:
        extra: the extra of chomp that installs it.
        label: the first words of the reason.
        cuda: the CUDA release, for sentences.
        driver: the oldest driver branch.
        at_least: the oldest compute capability.
        needs_it: what needs that capability.
    """

    extra: str
    label: str
    cuda: int
    driver: int
    at_least: tuple[int, int]
    needs_it: str


# The first that fits is the choice.
WHEELS = (
    WheelSet("cuda13", "CUDA 13 wheels", 13, 580, (7, 5), "the CUDA 13 wheels"),
    WheelSet("cuda12", "CUDA 12 wheels", 12, 525, (7, 5), "cuDNN 9.11 and newer"),
    WheelSet("cuda12-pre-turing", "CUDA 12 wheels with cuDNN 9.10", 12, 525, (5, 2), "JAX's CUDA wheels"),
)
_OLDEST = WHEELS[-1]


@dataclass(frozen=True)
class Choice:
    """The wheels to install.

    Attributes:
        extra: None for the CPU wheels.
        why: one sentence that begins with the wheels.
    """

    extra: str | None
    why: str


def choose(driver: str | None, cards: Sequence[Card]) -> Choice:
    """The newest wheels that the driver and every card support; cards too old for all wheels do not count."""
    usable = [card for card in cards if not _is_too_old(card, _OLDEST)]
    unused = "".join(f"; {_with_capability(card)} is too old and stays unused" for card in cards if card not in usable)
    if not usable:
        return Choice(None, f"CPU wheels: {_card_too_old(_OLDEST, cards)}.")
    obstacle = ""
    for wheels in WHEELS:
        found = obstacle_to(wheels, driver, usable)
        if found is None:
            because = obstacle or f"NVIDIA driver {driver} and {_named(usable)} support them"
            return Choice(wheels.extra, f"{wheels.label}: {because}{unused}.")
        obstacle = found
    return Choice(None, f"CPU wheels: {obstacle}; install driver {WHEELS[0].driver} to use the GPU.")


def obstacle_to(wheels: WheelSet, driver: str | None, cards: Iterable[Card]) -> str | None:
    """Why the driver or a card cannot run the wheels, or None."""
    if driver is None or not _VERSION.match(driver):
        return f"NVIDIA's driver does not report its version, and the CUDA {wheels.cuda} wheels need {wheels.driver}"
    if int(driver.partition(".")[0]) < wheels.driver:
        return f"NVIDIA driver {driver} is older than {wheels.driver}, which the CUDA {wheels.cuda} wheels need"
    return _card_too_old(wheels, cards)


def _card_too_old(wheels: WheelSet, cards: Iterable[Card]) -> str | None:
    for card in cards:
        if _is_too_old(card, wheels):
            return f"{_with_capability(card)} is older than {_dotted(wheels.at_least)}, which {wheels.needs_it} need"
    return None


def _is_too_old(card: Card, wheels: WheelSet) -> bool:
    return card.capability is not None and card.capability < wheels.at_least


def _named(cards: Sequence[Card]) -> str:
    return ", ".join(dict.fromkeys(_with_capability(card) for card in cards))


def _with_capability(card: Card) -> str:
    known = _dotted(card.capability) if card.capability else "unknown"
    return f"{card.name} (compute capability {known})"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def choose_for_this_machine() -> Choice:
    """The choice by what `nvidia-smi` prints; never raises."""
    try:
        printed = _query("driver_version", "compute_cap", "name")
        rows = _rows(printed, 3)
        if not rows and "compute_cap" in printed:
            # An nvidia-smi that does not know the field, so of a driver below 510.
            printed = _query("driver_version", "name")
            rows = [(driver, "", name) for driver, name in _rows(printed, 2)]
    except FileNotFoundError:
        return Choice(None, "CPU wheels: there is no nvidia-smi, so no NVIDIA driver.")
    except subprocess.TimeoutExpired:
        return Choice(None, f"CPU wheels: nvidia-smi did not answer within {TIMEOUT_SECONDS} s.")
    except OSError as error:
        return Choice(None, f"CPU wheels: nvidia-smi cannot be run: {error.strerror}.")
    if not rows:
        said = next((line.strip() for line in printed.splitlines() if line.strip()), "it printed nothing")
        return Choice(None, f"CPU wheels: nvidia-smi lists no GPU: {said.rstrip('.')}.")
    return choose(rows[0][0], [Card(name, _capability(text)) for _, text, name in rows])


def _query(*fields: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    # It prints its errors on standard output, beside the rows of the other GPUs.
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
        check=False,
    ).stdout.decode("utf-8", "replace")


def _rows(printed: str, fields: int) -> list[tuple[str, ...]]:
    """The lines that are rows, which begin with the driver's version."""
    split = (tuple(line.strip().split(", ", fields - 1)) for line in printed.splitlines())
    return [row for row in split if len(row) == fields and _VERSION.fullmatch(row[0])]


def _capability(text: str) -> tuple[int, int] | None:
    found = _CAPABILITY.fullmatch(text.strip())
    return (int(found[1]), int(found[2])) if found else None


def main() -> None:
    """Print the extra and, on standard error, the reason."""
    choice = choose_for_this_machine()
    print(choice.why, file=sys.stderr)
    print(choice.extra or "")


if __name__ == "__main__":
    main()
