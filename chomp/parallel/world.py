"""The processes of one run: which of them this is, and how they tell each other what only one of them knows.

Process 0 is the leader: it alone writes the run directory, but for the arrays of checkpoints and the other processes'
logs. What leads to a collective computation is never decided from a clock, a signal or the file system by one process
alone: the leader decides and shares, or all meet and see the wishes of all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import jax
from jax._src import distributed

from chomp.errors import ChompError, DeviceError, ProcessLostError
from chomp.parallel.abort import Aborts
from chomp.parallel.key_values import KeyValues, StoreLostError
from chomp.parallel.launch import Launch
from chomp.parallel.members import Member

T = TypeVar("T")
log = logging.getLogger("chomp.world")

# How errors of XLA begin that the other side of a collective may cause; from an earlier program they are a ValueError.
_OF_COLLECTIVES = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION):")

JOIN_SECONDS = 300
LEAVE_SECONDS = 10
POLL_SECONDS = 0.5
# How long a failing process waits for the others to fail with it: what all meet alike, they may end alike, and save.
TOGETHER_SECONDS = 3.0
LAST_WORDS_SECONDS = 2.0
# Names under which processes say why they stop, why they fail, and what was lost.
STOP, FAILED, LOST = "news/stop", "news/failed", "news/lost"


class World:
    """A run of one process: it decides alone and waits for none.

    Attributes:
        index: number of this process.
        count: processes of the run.
        members: all of them.
        is_parted: this process ends alone, so that it waits for the others no more.
    """

    index = 0
    count = 1
    _number = 0
    is_parted = False

    def __init__(self) -> None:
        self.members: tuple[Member, ...] = (Member(0, socket.gethostname(), os.getpid()),)

    @property
    def is_leader(self) -> bool:
        """Whether this process writes the run directory."""
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def share(self, value: T) -> T:
        """The leader's value, a JSON value, in every process; all call it in the same order.

        Raises:
            ProcessLostError: a process was lost meanwhile.
        """
        return value

    def decide(self, make: Callable[[], T]) -> T:
        """What `make` returns in the leader, a JSON value; the other processes do not call it.

        Raises:
            ProcessLostError: a process was lost meanwhile.
        """
        return self.share(make())

    def meet(self, wish: Any = None) -> list[Any]:
        """Wait until every process is here, and return the wishes of all, JSON values, by process.

        Raises:
            ProcessLostError: a process was lost meanwhile.
        """
        return [wish]

    def say(self, name: str, value: Any) -> None:
        """Tell all processes a JSON value under a name, or replace what this one said under it.

        Raises:
            ProcessLostError: a process was lost meanwhile.
        """

    def heard(self, name: str) -> dict[int, Any]:
        """What processes have said under a name so far, by process; does not wait for any.

        Raises:
            ProcessLostError: a process was lost meanwhile.
        """
        return {}

    def new_number(self) -> int:
        """A number that no earlier call has returned; all processes ask for theirs in the same order."""
        self._number += 1
        return self._number

    def fails_with_all(self, failure: dict[str, Any]) -> bool:
        """Tell why this process fails; whether all processes fail at the same place, so that they may save together.

        Args:
            failure: with `sentence`, `exit_code`, `step`, and whether the process is `settled` there.
        """
        return bool(failure["settled"])

    def check(self) -> None:
        """Raise `ProcessLostError` if the watchdog has found a process lost."""

    def loss_behind(self, error: Exception) -> ProcessLostError | None:
        """The loss of a process if that is what `error` comes from."""
        return None

    def leave(self) -> None:
        """The run is over, well or not."""


class Processes(World):
    """One of several processes of a run, connected by JAX's coordination service.

    Attributes:
        lost: why the run cannot go on, once the watchdog knows.
        is_ending: this process ends for a reason of its own, whatever becomes of the others.
        verdict_seconds: how long after a failed computation the watchdog may take to know.
    """

    def __init__(self, store: KeyValues, index: int, count: int, within: int = JOIN_SECONDS):
        self.store = store
        self.index, self.count = index, count
        self.lost: ProcessLostError | None = None
        self.is_ending = False
        self.verdict_seconds = 0.0
        self._is_lost = threading.Event()
        self._shared = self._met = 0
        self._deadline: float | None = time.monotonic() + within
        here = socket.gethostname(), os.getpid()
        self.members = tuple(Member(number, *each) for number, each in enumerate(self.meet(here)))
        self._deadline = None

    def share(self, value: T) -> T:
        self._shared += 1
        return self._share(f"shares/{self._shared}", value)

    def _share(self, key: str, value: Any) -> Any:
        if self.is_leader:
            self._set(key, json.dumps(value))
            return value
        return json.loads(self._await(key))

    def decide(self, make: Callable[[], T]) -> T:
        value: Any = make() if self.is_leader else None
        return cast(T, self.share(value))

    def meet(self, wish: Any = None) -> list[Any]:
        self._met += 1
        folder = f"meetings/{self._met}"
        if not self.is_leader:
            self._set(f"{folder}/{self.index}", json.dumps(wish))
            return list(self._share(f"{folder}/all", None))
        others = [json.loads(self._await(f"{folder}/{index}")) for index in range(1, self.count)]
        # Who is here has read all that was shared before.
        for read in ("shares", f"meetings/{self._met - 1}"):
            self._guarded(partial(self.store.delete, read))
        return list(self._share(f"{folder}/all", [wish, *others]))

    def say(self, name: str, value: Any) -> None:
        self._set(f"said/{name}/{self.index}", json.dumps(value))

    def heard(self, name: str) -> dict[int, Any]:
        self.check()
        return self._guarded(lambda: self.read(name))

    def read(self, name: str) -> dict[int, Any]:
        """The same, also after a process was lost.

        Raises:
            StoreLostError: the store does not answer.
        """
        return {int(index): json.loads(text) for index, text in self.store.under(f"said/{name}").items()}

    def news(self) -> dict[str, dict[int, Any]]:
        """What processes have said so far that concerns the others at once, by name and process.

        Raises:
            StoreLostError: the store does not answer.
        """
        found: dict[str, dict[int, Any]] = {}
        for key, text in self.store.under("said/news").items():
            name, _, index = key.rpartition("/")
            found.setdefault(f"news/{name}", {})[int(index)] = json.loads(text)
        return found

    def fails_with_all(self, failure: dict[str, Any]) -> bool:
        self.is_ending = True
        # In a thread: the store may never answer.
        is_together: list[bool] = []
        _within(TOGETHER_SECONDS + 1, lambda: is_together.append(self._all_fail(failure)))
        self.is_ending = self.is_parted = is_together != [True]
        return not self.is_parted

    def _all_fail(self, failure: dict[str, Any]) -> bool:
        deadline = time.monotonic() + TOGETHER_SECONDS
        try:
            self.say(FAILED, failure)
            while time.monotonic() < deadline and self.lost is None:
                told = self.read(FAILED)
                if len(told) == self.count:
                    steps = {each["step"] for each in told.values() if each["settled"]}
                    return len(steps) == 1 and all(each["settled"] for each in told.values())
                time.sleep(0.1)
        except (StoreLostError, ProcessLostError) as error:
            log.warning("the other processes could not be told of the failure: %s", error)
        return False

    def check(self) -> None:
        if self.lost is not None:
            raise self.lost

    def end(self, sentence: str, exit_code: int = ProcessLostError.exit_code) -> None:
        """The run cannot go on; ends every wait of this process, and tells the others."""
        if self.lost is None:
            self.is_parted = True
            self.lost = ProcessLostError(sentence)
            self.lost.exit_code = exit_code
            self._is_lost.set()

    def loss_behind(self, error: Exception) -> ProcessLostError | None:
        # What a collective raises whose other side is gone: which process that is, the watchdog knows a little later.
        if not isinstance(error, ChompError) and may_come_from_others(error):
            self._is_lost.wait(self.verdict_seconds)
        return self.lost

    def leave(self) -> None:
        if not self.is_parted:
            _within(LEAVE_SECONDS, self._disconnect)
        elif self.is_leader:
            # The others read why; then the store goes with this process.
            time.sleep(LAST_WORDS_SECONDS)

    def _disconnect(self) -> None:
        try:
            jax.distributed.shutdown()
        except jax.errors.JaxRuntimeError as error:
            log.warning("the processes did not leave together: %s", first_line(error))

    def _set(self, key: str, text: str) -> None:
        self.check()
        self._guarded(lambda: self.store.set(key, text))

    def _await(self, key: str) -> str:
        while True:
            self.check()
            text = self._guarded(lambda: self.store.get(key, POLL_SECONDS))
            if text is not None:
                return text
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise ProcessLostError(f"not all of {self.count} processes have come in time")

    def _guarded(self, use_store: Callable[[], T]) -> T:
        try:
            return use_store()
        except StoreLostError as error:
            self._is_lost.wait(self.verdict_seconds)
            raise self.lost or ProcessLostError(f"process 0 does not answer: {first_line(error)}") from error


def _within(seconds: float, work: Callable[[], object]) -> None:
    """Do `work` in a thread, and leave it behind if it takes longer."""
    thread = threading.Thread(target=work, daemon=True, name="world")
    thread.start()
    thread.join(seconds)


def first_line(error: BaseException) -> str:
    """What a library says, without what it adds on further lines."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def may_come_from_others(error: Exception) -> bool:
    """Whether an error may be that of a collective whose other side is gone."""
    return isinstance(error, jax.errors.JaxRuntimeError | ValueError) and bool(_OF_COLLECTIVES.match(str(error)))


def _require_port(launch: Launch) -> None:
    """Refuse a port that another program uses, with which JAX would crash.

    Raises:
        DeviceError: names the port.
    """
    assert launch.coordinator is not None
    port = int(launch.coordinator.rpartition(":")[2])
    if launch.index > 0:
        return
    try:
        with contextlib.closing(socket.create_server(("", port))):
            pass
    except OSError as error:
        raise DeviceError(
            f"process 0 cannot listen at {launch.coordinator}: {os.strerror(error.errno or 0)}; choose another port "
            "with --coordinator or JAX_COORDINATOR_PORT"
        ) from error


def join(launch: Launch, lost_after_seconds: float, within: int = JOIN_SECONDS) -> World:
    """Connect this process with the others of the run; before JAX starts its backend.

    Args:
        within: seconds that it waits for the others.

    Raises:
        ProcessLostError: not all of them have come in time.
    """
    if launch.count == 1:
        return World()
    assert launch.coordinator is not None
    # Its handler would take SIGTERM from ours.
    jax.config.update("jax_enable_preemption_service", False)
    failure: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                launch.coordinator,
                launch.count,
                launch.index,
                list(launch.local_devices) if launch.local_devices is not None else None,
                cluster_detection_method="deactivate",
                initialization_timeout=within,
                # The watchdog names what is lost; JAX would end the process before it.
                heartbeat_timeout_seconds=int(2 * lost_after_seconds) + 100,
                shutdown_timeout_seconds=LEAVE_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - raised by the main thread
            failure.append(error)

    _require_port(launch)
    # JAX aborts where it is refused. In a thread: the main thread has signals to handle.
    aborts = Aborts(lambda: True)
    aborts.catch()
    thread = threading.Thread(target=connect, daemon=True, name="join")
    thread.start()
    while thread.is_alive() and not aborts.is_lost:
        thread.join(0.1)
    if failure or aborts.is_lost:
        why = first_line(failure[0]) if failure else "it was refused, or did not find them in time"
        raise ProcessLostError(
            f"process {launch.index} of {launch.count} ({launch.by}) cannot join the others at {launch.coordinator}: "
            f"{why}"
        )
    return Processes(KeyValues(distributed.global_state.client), launch.index, launch.count, within)
