"""The environment a run needs on the GPUs of this machine, and the variables that the user has set.

What the user set is never overridden and never written twice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from chomp.device.probe import Gpu, Probe
from chomp.device.rules import RULES, FlagRule

Action = Literal["apply", "recommend", "already set", "kept"]

_REPORTED = re.compile(
    r"(XLA_|JAX_|NCCL_|TF_GPU_|EQX_)\w+|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|CACHE_PATH|HOME)|NVIDIA_VISIBLE_DEVICES"
    r"|NVIDIA_TF32_OVERRIDE|TF_CPP_MIN_LOG_LEVEL|OMP_NUM_THREADS|LD_LIBRARY_PATH"
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|_KEY\b|AUTH", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
# Of the number of a GPU; Python refuses to read thousands.
MOST_DIGITS = 9


@dataclass(frozen=True)
class Decision:
    """What is done about one variable.

    Attributes:
        rule: name of the rule that needs it.
        variable: the rule's, or its older name where the user set that one.
        value: the flag to append, or the value to set.
        action: `apply`: done for every run; `recommend`: the user's choice; `already set`: the
            user has it; `kept`: the user wants something else.
        why: one sentence.
        current: the variable's present value; None when unset.
        appends: whether `value` is added to a list of flags.
    """

    rule: str
    variable: str
    value: str
    action: Action
    why: str
    source: str
    current: str | None = None
    appends: bool = False


def visible_gpus(probe: Probe, environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA may use under `CUDA_VISIBLE_DEVICES`.

    CUDA numbers cards fastest first unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`, NVML by bus. Where
    cards differ and the order is CUDA's, a number may mean any of them: all are returned.
    """
    choice = environ.get("CUDA_VISIBLE_DEVICES")
    if choice is None:
        return probe.gpus
    names = [name.strip() for name in choice.split(",") if name.strip()]
    by_bus = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in probe.gpus}) <= 1
    chosen: list[Gpu] = []
    for name in names:
        if name.startswith(("GPU-", "MIG-")):
            # A MIG instance's identifier does not name its card.
            chosen += [gpu for gpu in probe.gpus if name.startswith("MIG-") or (gpu.uuid or "").startswith(name)]
        elif not name.isdecimal() or len(name) > MOST_DIGITS or int(name) >= len(probe.gpus):
            break  # CUDA ignores an invalid entry and all after it
        elif by_bus:
            chosen.append(probe.gpus[int(name)])
        else:
            return probe.gpus
    return tuple(gpu for gpu in probe.gpus if gpu in chosen)


def uses_gpu(probe: Probe, environ: Mapping[str, str]) -> bool:
    """Whether JAX may compute on a GPU: CUDA may use one, and the user's choice of platforms does not leave it out."""
    chosen = environ.get("JAX_PLATFORMS") or environ.get("JAX_PLATFORM_NAME") or "cuda"
    platforms = {name.strip().lower() for name in chosen.split(",")}
    return bool(visible_gpus(probe, environ)) and not platforms.isdisjoint({"cuda", "gpu"})


def recommended_environment(
    probe: Probe,
    environ: Mapping[str, str],
    rules: Iterable[FlagRule] = RULES,
    jax_version: tuple[int, int] | None = None,
) -> list[Decision]:
    """One decision for each rule that the visible GPUs meet; empty for GPUs that need nothing.

    Args:
        jax_version: major and minor; those of the installed one if None.
    """
    gpus = visible_gpus(probe, environ)
    jax_version = jax_version or _installed_jax()
    return [_decide(rule, environ, rule.is_automatic(jax_version)) for rule in rules if rule.applies(gpus)]


def _installed_jax() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version("jax"))
    assert found is not None, "a version begins with two numbers"
    return int(found[1]), int(found[2])


def _decide(rule: FlagRule, environ: Mapping[str, str], automatic: bool) -> Decision:
    # The libraries read an empty variable as an unset one.
    old = rule.old_name if rule.old_name and environ.get(rule.old_name) else None
    variable = old or rule.variable
    current = environ.get(variable) or None
    action: Action = "apply" if automatic else "recommend"
    why = f"{rule.why}; JAX refuses the new name, {rule.variable}, beside this old one" if old else rule.why
    if rule.how == "append flag":
        if current and not current.lstrip().startswith("-"):
            action, why = "kept", f"{variable} names a file of flags, {current.strip()}; add the flag there: {why}"
        else:
            written = [flag for flag in _flags(current) if _flag_name(flag) == _flag_name(rule.value)]
            action = ("already set" if written[-1] == rule.value else "kept") if written else action
    elif current is not None:
        action = "already set" if _same(current, rule.value) else "kept"
    return Decision(rule.name, variable, rule.value, action, why, rule.source, current, rule.how == "append flag")


def _same(one: str, other: str) -> bool:
    """Whether two values are the same word, or the same number."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.lower() == other.lower()


def xla_flags(environ: Mapping[str, str]) -> dict[str, str]:
    """The flags in `XLA_FLAGS`, or in the file that it names, by name; of two with one name XLA takes the last."""
    text = environ.get("XLA_FLAGS", "").strip()
    if text and not text.startswith("-"):
        try:
            text = Path(text).read_text()
        except (OSError, UnicodeDecodeError):
            # `require_xla_flags` reports it: XLA would end the process.
            text = ""
    pairs = (flag.partition("=") for flag in text.split() if flag.startswith("-"))
    return {f"--{name.lstrip('-')}": value if given else "true" for name, given, value in pairs}


def _flags(value: str | None) -> list[str]:
    return (value or "").split()


def _flag_name(flag: str) -> str:
    return flag.partition("=")[0].lstrip("-")


def apply(environ: Mapping[str, str], decisions: Iterable[Decision], *, recommended: bool = False) -> dict[str, str]:
    """A copy of the environment with the decisions in it.

    Args:
        recommended: also set what is only recommended.
    """
    changed = dict(environ)
    for decision in decisions:
        if decision.action == "apply" or (recommended and decision.action == "recommend"):
            before = changed.get(decision.variable, "").strip() if decision.appends else ""
            changed[decision.variable] = f"{before} {decision.value}".strip()
    return changed


def changes(environ: Mapping[str, str], decisions: Iterable[Decision], *, recommended: bool = False) -> dict[str, str]:
    """Only the variables that `apply` adds or changes, with their new values."""
    after = apply(environ, decisions, recommended=recommended)
    return {name: value for name, value in after.items() if environ.get(name) != value}


def shell_line(environ: Mapping[str, str], decisions: Iterable[Decision], command: str) -> str:
    """`env NAME=VALUE … COMMAND` to copy, with everything applied and recommended."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in changes(environ, decisions, recommended=True).items()]
    return " ".join(["env", *settings, command]) if settings else command


def environment_report(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables in force that steer XLA, JAX and CUDA; nothing that looks like a secret."""
    report = {name: value for name, value in environ.items() if _REPORTED.fullmatch(name) and not _SECRET.search(name)}
    return {name: _USERINFO.sub("***@", report[name]) for name in sorted(report)}


def unset_memory_variables(probe: Probe, environ: Mapping[str, str]) -> list[str]:
    """A sentence for a run that will leave a desktop without memory, because the user has not decided about it."""
    if not uses_gpu(probe, environ):
        return []
    return [
        f"{decision.variable} is not set, and {decision.value} is recommended: {decision.why}"
        for decision in recommended_environment(probe, environ)
        if decision.variable == "XLA_PYTHON_CLIENT_PREALLOCATE" and decision.action == "recommend"
    ]
