"""The installed CUDA packages of JAX: their versions, and whether they fit jaxlib, the driver and the GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from chomp.device.environment import uses_gpu, visible_gpus
from chomp.device.probe import Gpu, Probe
from chomp.device.rules import RULES
from chomp.device.wheels import WHEELS, Card, Choice, choose, obstacle_to
from chomp.errors import DeviceError

# JAX's own names for the package that lets it use a GPU, newest first, and their CUDA releases.
PLUGINS = {"jax-cuda13-plugin": 13, "jax-cuda12-plugin": 12}
_NAME = re.compile(r"[\w.-]+")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True)
class PackageRule:
    """Versions of a package that are wrong for GPUs of a range of compute capabilities; no upper end is included."""

    package: str
    at_least: tuple[int, ...]
    below: tuple[int, ...]
    capability_at_least: tuple[int, int]
    capability_below: tuple[int, int]
    why: str
    source: str

    def applies(self, packages: Mapping[str, str], gpus: Iterable[Gpu]) -> bool:
        """Whether such a version is installed and such a GPU is there."""
        installed = packages.get(self.package)
        if installed is None or not self.at_least <= _numbers(installed) < self.below:
            return False
        capabilities = [gpu.compute_capability for gpu in gpus if gpu.compute_capability is not None]
        return any(self.capability_at_least <= capability < self.capability_below for capability in capabilities)


PACKAGE_RULES = (
    PackageRule(
        package="nvidia-cuda-nvrtc",
        at_least=(13, 1),
        below=(13, 4),
        capability_at_least=(10, 0),
        capability_below=(13, 0),
        why="NVRTC 13.1 to 13.3 fails on some kernels for Blackwell GPUs, and cuDNN uses it; install "
        "'nvidia-cuda-nvrtc>=13.4'",
        source="https://github.com/NVIDIA/warp/issues/1118",
    ),
    PackageRule(
        package="nvidia-cudnn-cu12",
        at_least=(9, 11),
        below=(10,),
        capability_at_least=(0, 0),
        capability_below=(7, 5),
        why="cuDNN 9.11 and newer has no kernels for GPUs before Turing; install 'nvidia-cudnn-cu12>=9.10.1,<9.11'",
        source="https://docs.nvidia.com/deeplearning/cudnn/backend/v9.11.0/reference/support-matrix.html",
    ),
)


@dataclass(frozen=True)
class Problem:
    """Something that does not fit.

    Attributes:
        message: one sentence.
        fatal: whether JAX cannot start with it.
    """

    message: str
    fatal: bool = False


def cuda_packages() -> dict[str, str]:
    """Versions of JAX's CUDA plugins and of the installed packages that they require; empty without a plugin."""
    found: dict[str, str] = {}
    for plugin in PLUGINS:
        required = filter(None, map(_NAME.match, _required_by(plugin)))
        for name in (plugin, _pjrt(plugin), *(match[0] for match in required)):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue  # CUDA may be installed another way
    return found


def _required_by(plugin: str) -> list[str]:
    try:
        return requires(plugin) or []
    except PackageNotFoundError:
        return []


def _pjrt(plugin: str) -> str:
    """The package that JAX finds and loads; the plugin holds the kernels beside it."""
    return plugin.replace("-plugin", "-pjrt")


def fitting_wheels(probe: Probe) -> Choice | None:
    """The wheels for the GPUs of this machine, as `make` chooses them; None without a GPU."""
    return choose(probe.driver, _cards(probe.gpus)) if probe.gpus else None


def problems(
    probe: Probe, environ: Mapping[str, str], packages: Mapping[str, str], jaxlib: str | None = None
) -> list[Problem]:
    """What does not fit where a run would use a GPU; nothing where it would not, or CUDA is not installed.

    Args:
        packages: of `cuda_packages`.
        jaxlib: version; that of the installed one if None.
    """
    if not packages or not uses_gpu(probe, environ):
        return []
    gpus = visible_gpus(probe, environ)
    return [
        *_refused_variables(environ),
        *_other_versions(packages, jaxlib or version("jaxlib")),
        *_two_plugins(packages),
        *_unfit_wheels(probe, gpus, packages),
        *(
            Problem(f"{rule.package} {packages[rule.package]}: {rule.why} ({rule.source})")
            for rule in PACKAGE_RULES
            if rule.applies(packages, gpus)
        ),
    ]


def require_compatible(probe: Probe, environ: Mapping[str, str]) -> None:
    """Raise `DeviceError` for what JAX cannot start with."""
    for problem in problems(probe, environ, cuda_packages()):
        if problem.fatal:
            raise DeviceError(problem.message)


def _refused_variables(environ: Mapping[str, str]) -> Iterator[Problem]:
    for rule in RULES:
        if rule.old_name and environ.get(rule.old_name) and environ.get(rule.variable):
            yield Problem(
                f"{rule.old_name} and {rule.variable} are both set, and JAX refuses that; "
                f"unset {rule.old_name}, the old name",
                fatal=True,
            )


def _other_versions(packages: Mapping[str, str], jaxlib: str) -> Iterator[Problem]:
    for plugin in PLUGINS:
        for name in (plugin, _pjrt(plugin)):
            if name in packages and _numbers(packages[name]) != _numbers(jaxlib):
                yield Problem(
                    f"{name} {packages[name]} does not fit jaxlib {jaxlib}, since JAX needs the same version of both; "
                    f"install it: pip install '{plugin}[with-cuda]=={jaxlib}'",
                    fatal=True,
                )


def _two_plugins(packages: Mapping[str, str]) -> Iterator[Problem]:
    loaded = [_pjrt(plugin) for plugin in PLUGINS if _pjrt(plugin) in packages]
    if len(loaded) > 1:
        plugins = ", ".join(f"{pjrt} with {pjrt.replace('-pjrt', '-plugin')}" for pjrt in loaded)
        yield Problem(f"JAX can use one of {' and '.join(loaded)}, and both are installed; uninstall one of: {plugins}")


def _unfit_wheels(probe: Probe, gpus: tuple[Gpu, ...], packages: Mapping[str, str]) -> Iterator[Problem]:
    if probe.driver is None:
        return
    for plugin, cuda in PLUGINS.items():
        loosest = [wheels for wheels in WHEELS if wheels.cuda == cuda][-1]
        obstacle = obstacle_to(loosest, probe.driver, _cards(gpus)) if plugin in packages else None
        if obstacle:
            extra = choose(probe.driver, _cards(gpus)).extra
            advice = f"install 'chomp[{extra}]' instead" if extra else "use the CPU, since no CUDA wheels fit"
            yield Problem(f"{plugin} is installed, but {obstacle}; uninstall it with {_pjrt(plugin)}, and {advice}")


def _cards(gpus: Iterable[Gpu]) -> list[Card]:
    return [Card(gpu.name or f"GPU {gpu.index}", gpu.compute_capability) for gpu in gpus]


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, which is what JAX compares."""
    match = _NUMBERS.match(text)
    return tuple(map(int, match[0].split("."))) if match else ()
