"""The compiled training step in the run directory, so that a resume runs the same kernels as the attempt before it.

On a GPU, XLA measures several kernels for an operation and takes the fastest: two compilations of one step may give two
programs, whose numbers differ in their last digits.

A program is machine code, and `jax.experimental.serialize_executable` wraps it in a pickle: its author can do
anything that the user can. The engine therefore seals each program (HMAC-SHA-256) with a secret of this user on this
machine, outside of the run directory, and verifies the seal before it unpickles a byte. A run directory from elsewhere
has no valid seal; the engine refuses its program unless the user accepts it by name.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import json
import os
import pickle
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
from jax.experimental.compilation_cache import compilation_cache
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from pydantic import BaseModel, ConfigDict, ValidationError

from chomp.device.environment import xla_flags
from chomp.device.packages import cuda_packages
from chomp.device.probe import probe_gpus
from chomp.parallel.mesh import ONE_DEVICE, Placement
from chomp.record.rundir import write_whole
from chomp.record.user_files import state_file
from chomp.step.train_step import compile_lowered

ACCEPT = "train.keep_program"
PROGRAM = "train_step"
STEP = "the training step"
MESH = "the mesh"
# Beside XLA_FLAGS: what JAX 0.10.2 passes on to the compiler (`get_compile_options`), and what CUDA's libraries read.
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_ENABLE_REMAT_OPT_PASS",
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_MEMORY_FITTING_EFFORT",
    "JAX_MEMORY_FITTING_LEVEL",
    "JAX_OPTIMIZATION_LEVEL",
    "JAX_XLA_PROFILE_VERSION",
    "NVIDIA_TF32_OVERRIDE",
)
HEADER_BYTES = 2**16
SECRET_BYTES = 32
NAMED, SHOWN = 3, 60


@dataclass(frozen=True)
class Obtained:
    """A program for a lowered step.

    Attributes:
        in_run: it was `loaded` from the run directory, or is `kept` there now.
        digest: SHA-256 of the bytes in the run directory.
        notes: sentences for the user.
    """

    program: jax.stages.Compiled
    in_run: Literal["kept", "loaded"] | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()


Obtain = Callable[[jax.stages.Lowered], Obtained]


def compile_only(lowered: jax.stages.Lowered) -> Obtained:
    """Compile, or take the program from JAX's persistent cache; keep nothing."""
    program, options = compile_lowered(lowered)
    return Obtained(program, notes=_needed(options))


def compile_in_each(resumed_from: int) -> Obtain:
    """What makes the program of one of several processes, which keep none.

    What XLA serializes in one process is not known to run in another (jax 0.10.2): each compiles its own.

    Args:
        resumed_from: as in `RunProgram`.
    """

    def obtain(lowered: jax.stages.Lowered) -> Obtained:
        found = compile_only(lowered)
        if not resumed_from:
            return found
        note = (
            "a run of several processes keeps no compiled step: each compiled it anew, its kernels may differ, "
            f"and this run's numbers after step {resumed_from} may not be bit for bit those of an uninterrupted run"
        )
        return replace(found, notes=(*found.notes, note))

    return obtain


def _needed(options: Mapping[str, bool]) -> tuple[str, ...]:
    if not options:
        return ()
    flags = " ".join(f"--{name}={str(on).lower()}" for name, on in options.items())
    return (f"XLA cannot compile {STEP} with its Triton kernels for this GPU: it is compiled with {flags}",)


def keeps_program(setting: Literal["auto", "always", "never"], platform: str) -> bool:
    """Whether `train.keep_program` asks for a kept program on this platform."""
    return setting == "always" or (setting == "auto" and platform == "gpu")


class UnusableError(Exception):
    """The kept program is not used; the text says why, as the first half of a sentence."""


class Header(BaseModel):
    """The first line of the file, before the bytes of the program."""

    model_config = ConfigDict(strict=True, frozen=True)

    format: Literal[1] = 1
    facts: dict[str, str]
    sha256: str
    seal: str = ""

    def sealed_with(self, secret: bytes) -> Header:
        """The same header with its seal."""
        said = json.dumps(self.model_dump(exclude={"seal"}), sort_keys=True).encode()
        return self.model_copy(update={"seal": hmac.new(secret, said, hashlib.sha256).hexdigest()})


@dataclass(frozen=True)
class RunProgram:
    """The program of one run.

    Attributes:
        path: its file.
        resumed_from: the step from which this attempt continues; 0 if no step has been computed.
        computed_by: the digest of the program that computed this step, if that was kept.
        accepted: whether the user accepts a program with a foreign seal.
        placement: the mesh for which the step is lowered.
    """

    path: Path
    resumed_from: int = 0
    computed_by: str | None = None
    accepted: bool = False
    placement: Placement = ONE_DEVICE

    def obtain(self, lowered: jax.stages.Lowered) -> Obtained:
        """Load the kept program if it is one for `lowered` on this device and software; otherwise compile and keep."""
        facts = facts_of(lowered, self.placement)
        try:
            header, payload = self._read()
            self._require(header, facts)
            program = self._load(payload, lowered)
        except UnusableError as error:
            reason = f"{error}: the engine compiled the step anew, its kernels may differ"
        else:
            other = f"the checkpoint of step {self.resumed_from} was computed by another program than {self.path}"
            notes = self._warning(other) if header.sha256 != self.computed_by else ()
            if self.accepted:
                # With this machine's seal, the user need not accept it again.
                notes += self._keep(lambda: payload, facts)[1]
            return Obtained(program, "loaded", header.sha256, notes)
        with without_cache():
            program, options = compile_lowered(lowered)
        digest, failure = self._keep(lambda: serialize(program)[0], facts)
        return Obtained(program, "kept" if digest else None, digest, self._warning(reason) + failure + _needed(options))

    def load_or_compile(self, lowered: jax.stages.Lowered) -> Obtained:
        """The same without a change in the run directory, and with the reason why a kept program is of no use."""
        try:
            header, payload = self._read()
            self._require(header, facts_of(lowered, self.placement))
            return Obtained(self._load(payload, lowered), "loaded", header.sha256)
        except UnusableError as error:
            return replace(
                compile_only(lowered), notes=(f"{error}: the step was compiled anew, its kernels may differ",)
            )

    def _read(self) -> tuple[Header, bytes]:
        try:
            with self.path.open("rb") as file:
                line, payload = file.readline(HEADER_BYTES), file.read()
        except FileNotFoundError:
            raise UnusableError(f"this run has kept no compiled step ({self.path} does not exist)") from None
        except OSError as error:
            raise UnusableError(f"{self.path} cannot be read ({error.strerror})") from None
        try:
            header = Header.model_validate_json(line)
        except ValidationError:
            raise UnusableError(f"{self.path} is damaged: its first line is not that of a kept program") from None
        if hashlib.sha256(payload).hexdigest() != header.sha256:
            raise UnusableError(f"{self.path} is damaged: its bytes are not those that were written")
        return header, payload

    def _require(self, header: Header, facts: Mapping[str, str]) -> None:
        changes = describe_changes(header.facts, facts)
        if changes:
            raise UnusableError(changes)
        if self.accepted:
            return
        try:
            expected = header.sealed_with(load_secret()).seal
        except OSError as error:
            raise UnusableError(f"the secret that seals programs cannot be read ({_why(error)})") from None
        if not hmac.compare_digest(expected, header.seal):
            raise UnusableError(
                f"{self.path} was sealed by another user or on another machine, and to load it is to run its author's "
                f"code (if you trust it, pass --accept {ACCEPT})"
            )

    def _load(self, payload: bytes, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
        try:
            devices = self.placement.devices()
            return deserialize_and_load(payload, lowered.in_tree, lowered.out_tree, execution_devices=devices)
        except (jax.errors.JaxRuntimeError, ValueError, pickle.PickleError) as error:
            raise UnusableError(f"{self.path} cannot be loaded ({_why(error)})") from None

    def _warning(self, reason: str) -> tuple[str, ...]:
        """A sentence if this attempt continues what another program computed."""
        if not self.resumed_from:
            return ()
        return (
            f"{reason}, and this run's numbers after step {self.resumed_from} may not be bit for bit those of an "
            "uninterrupted run",
        )

    def _keep(self, serialized: Callable[[], bytes], facts: dict[str, str]) -> tuple[str | None, tuple[str, ...]]:
        """Write the program and return its digest, or a sentence: training does not need the file."""
        folder = self.path.parent
        try:
            payload = serialized()
            header = Header(facts=facts, sha256=hashlib.sha256(payload).hexdigest()).sealed_with(load_secret())
            folder.mkdir(exist_ok=True)
            # Of an engine that was killed here; the run's lock keeps others away.
            for half in folder.glob(f".{self.path.name}.*.tmp"):
                half.unlink()
            write_whole(self.path, header.model_dump_json().encode() + b"\n" + payload)
        except (OSError, jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
            return None, (
                f"the compiled step could not be kept in {folder} ({_why(error)}); training continues, and a resume "
                "compiles the step anew",
            )
        return header.sha256, ()


@contextmanager
def without_cache() -> Iterator[None]:
    """Compile without JAX's persistent cache.

    A program that comes from the cache cannot be kept: with jaxlib 0.10.2 on a CPU, what is serialized from it loads,
    and then fails at its first call because kernels are missing.
    """
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    # JAX asks for the setting once, unless it is reset.
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def load_secret() -> bytes:
    """The user's secret for seals; made at first, and readable by the user alone.

    Raises:
        OSError: it cannot be read or made.
    """
    path = _secret_path()
    with suppress(FileNotFoundError):
        return _whole_secret(path)
    try:
        _make_secret(path)
    except OSError as error:
        raise OSError(
            f"the secret that seals it cannot be written to {path.parent}: {error.strerror}; set XDG_STATE_HOME to a "
            "folder that you may write to"
        ) from error
    return _whole_secret(path)


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Another engine may have made it meanwhile: the first one stays.
        with suppress(FileExistsError):
            path.hardlink_to(new)
    finally:
        new.unlink(missing_ok=True)


def _secret_path() -> Path:
    path = state_file("program-secret")
    if path is None:
        raise OSError("this user has no home; set XDG_STATE_HOME to a folder that you may write to")
    return path


def _whole_secret(path: Path) -> bytes:
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} has {len(secret)} bytes and needs {SECRET_BYTES}; delete it")
    return secret


def _why(error: Exception) -> str:
    """An error's first line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def facts_of(lowered: jax.stages.Lowered, placement: Placement = ONE_DEVICE) -> dict[str, str]:
    """All on which the program of a lowered step depends, by a name for a sentence."""
    device = jax.devices()[0]
    # Of one device nothing is said, as in the files of versions that knew no mesh.
    mesh = {MESH: f"{placement.data} x {placement.fsdp} devices"} if placement.mesh is not None else {}
    return {
        **mesh,
        STEP: _digest(lowered),
        "the device": device.device_kind,
        **(_cuda_facts() if device.platform == "gpu" else {"the processor": _processor()}),
        "the backend": " ".join(device.client.platform_version.split()),
        **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib")},
        **{name: os.environ[name] for name in VARIABLES if name in os.environ},
        # Where XLA writes what it does changes no kernel.
        **{name: value for name, value in xla_flags(os.environ).items() if not name.startswith("--xla_dump_")},
    }


def _digest(lowered: jax.stages.Lowered) -> str:
    """The hash of the lowered program, and of its arguments: the program leaves out those that it does not use."""
    arguments = [(info.shape, info.dtype.name, info.donated) for info in jax.tree.leaves(lowered.args_info)]
    return hashlib.sha256(f"{arguments}\n{lowered.as_text()}".encode()).hexdigest()


def _cuda_facts() -> dict[str, str]:
    """The driver and the CUDA packages; libraries from another place have no version here."""
    return {"the driver": probe_gpus().driver or "unknown", **cuda_packages()}


def _processor() -> str:
    """Model and features of the CPU, for which XLA compiles."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines):
        fields.setdefault(name.strip(), value.strip())
    features = fields.get("flags") or fields.get("Features", "")
    return (
        f"{fields.get('model name', platform.machine())}, features {hashlib.sha256(features.encode()).hexdigest()[:8]}"
    )


def describe_changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`NAME is X and was Y` for each fact that differs; empty where all agree."""
    changed = [name for name in {**now, **was} if was.get(name) != now.get(name)]
    if MESH in changed:
        # It makes another step of the same settings.
        changed = [name for name in changed if name != STEP]
    said = [_change(name, was.get(name), now.get(name)) for name in changed[:NAMED]]
    more = len(changed) - NAMED
    return ", ".join(said) + (f", and {more} more differences" if more > 0 else "")


def _change(name: str, was: str | None, now: str | None) -> str:
    if name == MESH:
        was, now = was or "one device", now or "one device"
    if name == STEP:
        return f"{STEP} is another one, by its settings or by the code of chomp"
    return f"{name} is {_short(now)} and was {_short(was)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
