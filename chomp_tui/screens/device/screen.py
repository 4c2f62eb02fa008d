"""The device screen: GPU readings, recommended variables, and which of them runs get."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from chomp.device import Decision, Probe, environment_report, recommended_environment
from chomp.device.choice import choices
from chomp.device.probe import load_nvml
from chomp.errors import command_name
from chomp.record.formatting import duration, sanitize
from chomp_tui import keys
from chomp_tui.engine import flags
from chomp_tui.engine.launch import prove_flags
from chomp_tui.engine.machine import Machine, Remark, read_machine, remarks
from chomp_tui.live.gpu_watch import INTERVAL_SECONDS, GpuWatch, History
from chomp_tui.platform.background import in_thread
from chomp_tui.screens.base import ConsoleScreen
from chomp_tui.screens.device.device_list import DeviceList, toggled
from chomp_tui.screens.device.flag_rules import RuleList, hung
from chomp_tui.screens.device.gpu_card import GpuCard, MachineCard
from chomp_tui.screens.device.measured import MeasuredFlags
from chomp_tui.theme import TONES
from chomp_tui.widgets.update_if_changed import set_text, set_title

COMMAND = f"{command_name()} train CONFIG"
# The driver is read every two seconds; if it has not answered for so long, it probably hangs.
SILENT_SECONDS = 5 * INTERVAL_SECONDS
# Lines of each curve of the last minutes, by how many GPUs share a high and wide screen.
CURVE_LINES = (6, 4, 2)
# What a machine without a GPU shows beside its two curves.
MACHINE_ROWS = 13


class DeviceScreen(ConsoleScreen):
    """GPUs on one side, variables for runs on the other.

    Args:
        load: gives the NVML module.
        environ: the user's own environment.
        machine: reads processors and memory.
    """

    MODE = "device"
    PURPOSE = (
        "The GPUs of this machine as NVIDIA's driver reports them, every two seconds while you look, and the "
        "environment variables they need. Switched-on variables go to runs that you start here; variables that "
        "your own environment sets are never changed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("device")]
    AUTO_FOCUS = "#rules"

    @dataclass
    class Probed(Message):
        """The GPUs have been read."""

        probe: Probe
        machine: Machine

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, DeviceScreen.Probed)

    def __init__(
        self,
        load: Callable[[], Any] = load_nvml,
        environ: Mapping[str, str] = os.environ,
        machine: Callable[[], Machine] = read_machine,
    ) -> None:
        super().__init__()
        self._load = load
        self._environ = environ
        self._read_machine = machine
        self._watch: GpuWatch | None = None
        self.probe: Probe | None = None
        self._machine: Machine | None = None
        self._history = History()
        self._decisions: list[Decision] = []
        self._answered_at = time.monotonic()
        self._testing: str | None = None
        self._tested: dict[str, str | None] = {}

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="device"):
            with VerticalScroll(id="gpus"):
                yield Static("Reading the GPUs…", id="no-gpu", classes="panel")
                yield MachineCard()
            with Vertical(id="advice", classes="panel") as advice:
                advice.border_title = "Runs started here"
                yield Static(id="where", markup=False)
                yield DeviceList()
                yield RuleList()
                yield Static(id="in-force", markup=False)
                yield Static(id="tested", markup=False)
                yield MeasuredFlags()
                yield Static(id="line", markup=False)

    # Reading ---------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.set_interval(INTERVAL_SECONDS, self._say_how_fresh)
        self._show_advice()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_advice)
        self.call_after_refresh(self._show_readings)
        self.call_after_refresh(self._say_how_fresh)

    def on_screen_resume(self) -> None:
        self._answered_at = time.monotonic()
        if self._watch is None:
            self._watch = GpuWatch(self._load, self._deliver)
            self._watch.start()

    def on_screen_suspend(self) -> None:
        self._stop()

    def on_unmount(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _deliver(self, probe: Probe) -> None:
        """In the watching thread."""
        self.post_safely(self.Probed(probe, self._read_machine()))

    def on_device_screen_probed(self, message: Probed) -> None:
        """Show a reading."""
        self._answered_at = time.monotonic()
        changed = message.probe != self.probe
        self.probe, self._machine = message.probe, message.machine
        self._say_how_fresh()
        self._history.add(message.probe, message.machine, self._answered_at)
        self._show_readings()
        if changed:
            self._decisions = recommended_environment(message.probe, self._environ)
            self._show_advice()
            # The curves have what the advice leaves.
            self.call_after_refresh(self._show_readings)

    def _say_how_fresh(self) -> None:
        silent = time.monotonic() - self._answered_at
        if silent > SILENT_SECONDS and self._watch is not None:
            self.set_context(Content.styled(f"the driver has not answered for {duration(silent)}", "$warning"))
        elif self.probe is None or self.probe.driver is None:
            self.set_context("")
        else:
            cuda = f" · CUDA {self.probe.cuda}" if self.probe.cuda and not self.has_class("-narrow") else ""
            self.set_context(f"driver {self.probe.driver}{cuda}")

    # Showing ---------------------------------------------------------------------------

    def _show_readings(self) -> None:
        if self.probe is None or self._machine is None:
            return
        height = self._curve_lines(len(self.probe.gpus))
        self.query_one(MachineCard).show(self._machine, self._history.trail(None), height)
        self._show_gpus(self.probe, height)

    def _curve_lines(self, gpus: int) -> int:
        if not gpus and self.has_class("-tall") and not self.has_class("-narrow"):
            # The machine's own card has the room that GPUs would take.
            below = (
                self.query_one("#advice").outer_size.height if self.has_class("-wide") else self.size.height * 55 // 100
            )
            return max(2, (self.size.height - below - MACHINE_ROWS) // 2)
        if not (self.has_class("-wide") and self.has_class("-tall")):
            return 0
        return CURVE_LINES[gpus] if gpus < len(CURVE_LINES) else 1

    def _show_gpus(self, probe: Probe, height: int) -> None:
        none = self.query_one("#no-gpu", Static)
        none.display = not probe.gpus
        set_title(none, "No GPU")
        set_text(none, Content(_sentence(probe.reason or "")))
        cards = list(self.query(GpuCard))
        if len(cards) == len(probe.gpus):
            for card, gpu in zip(cards, probe.gpus, strict=True):
                card.show(gpu, self._history.trail(gpu.index), height)
        else:
            self.query(GpuCard).remove()
            made = [GpuCard(gpu, self._history.trail(gpu.index), height) for gpu in probe.gpus]
            self.query_one("#gpus").mount_all(made, before=self.query_one(MachineCard))

    def _show_advice(self) -> None:
        # Without a GPU and without rules there is little to say: the curves have the width of the screen above it.
        is_bare = self.probe is not None and not self.probe.gpus and not self._decisions
        self.query_one("#device").set_class(is_bare, "-bare")
        self._show_choice()
        rules = self.query_one(RuleList)
        rules.show(self._decisions, self._on)
        rules.display = bool(self._decisions)
        self._update("#where", _remarks(self._remarks(), self.query_one("#advice").content_size.width or 60))
        self._update("#in-force", self._in_force())
        self._update("#tested", self._test_state())
        self._update("#line", self._line())

    def _show_choice(self) -> None:
        found = choices(self.probe, self.environment) if self.probe is not None else []
        state = self.chomp.state
        if found and not set(state.devices) <= {name for name, _ in found}:
            # A driver that was reloaded, or variables that hide a GPU that was chosen.
            state.devices = ()
        self.query_one(DeviceList).show(found, state.devices)

    def _update(self, selector: str, content: Content) -> None:
        widget = self.query_one(selector, Static)
        widget.display = bool(content.plain)
        set_text(widget, content)

    def _remarks(self) -> list[Remark]:
        if self.probe is None or self._machine is None:
            return []
        found = remarks(self.probe, self._machine, self.environment, self.chomp.state.devices)
        if not self._decisions:
            whose = "These GPUs need" if self.probe.gpus else "Runs on the CPU need"
            found.append(Remark("idle", f"{whose} no environment variables."))
        return found

    def _in_force(self) -> Content:
        """The variables of XLA, JAX and CUDA that the user's environment sets."""
        own = environment_report(self._environ)
        if not own:
            return Content("")
        lines = [Content.styled("Your environment", "bold $primary")]
        lines += [Content(f"{name}={sanitize(value)}") for name, value in own.items()]
        return Content("\n").join(lines)

    def _test_state(self) -> Content:
        text = self._flags
        if not text:
            return Content("")
        if text == self._testing:
            return Content.styled("… testing the flags", "$muted")
        if text not in self._tested:
            return Content.styled("? XLA_FLAGS not tested yet: t tests them with the installed XLA", "$muted")
        problem = self._tested[text]
        if problem is None:
            return Content.styled("✓ ok: the installed XLA accepts these XLA_FLAGS", "$success")
        return Content.styled(f"✗ {sanitize(_sentence(problem))}", "$error")

    def _line(self) -> Content:
        line = self.line_to_copy
        if line == COMMAND:
            return Content("")
        return Content.assemble(
            ("The same in a shell", "bold $primary"), ": " if self._is_short else "\n", sanitize(line)
        )

    @property
    def _is_short(self) -> bool:
        return self.has_class("-short")

    # The choice ------------------------------------------------------------------------

    @property
    def _on(self) -> frozenset[str]:
        return flags.switched_on(self._decisions, self.chomp.state.environment)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of an engine started now."""
        return {**self._environ, **flags.chosen_environment(self._environ, self._decisions, self._on)}

    @property
    def line_to_copy(self) -> str:
        """The choice as a shell command."""
        devices = self.chomp.state.devices
        command = f"{COMMAND} --devices {','.join(devices)}" if devices else COMMAND
        return flags.line_to_copy(self._environ, self._decisions, self._on, command)

    @property
    def _flags(self) -> str:
        return self.environment.get("XLA_FLAGS", "").strip()

    # Keys ------------------------------------------------------------------------------

    def action_switch(self) -> None:
        """Switch the GPU or the rule under the cursor."""
        devices = self.query_one(DeviceList)
        if devices.has_focus:
            self._switch_device(devices)
            return
        decision = self.query_one(RuleList).current
        if decision is None:
            self.chomp.notify("there is nothing to switch")
        elif not flags.is_open(decision):
            self.chomp.notify(f"{decision.variable} is set in your environment, and that stays as it is")
        else:
            on = flags.toggled(self._on, decision.rule)
            chosen = flags.chosen_environment(self._environ, self._decisions, on)
            self.chomp.state.environment.clear()
            self.chomp.state.environment.update(chosen)
            self._show_advice()
            # So that the result is there before a run is launched.
            self._test_flags()

    def _switch_device(self, devices: DeviceList) -> None:
        state, name = self.chomp.state, devices.current
        if name is None:
            return
        after = toggled(devices.names, state.devices, name)
        if after == state.devices:
            self.chomp.notify("a run needs a device: choose another one before you leave this one out")
        state.devices = after
        self._show_advice()

    def on_option_list_option_selected(self) -> None:
        """Enter and a click switch too."""
        self.action_switch()

    def action_test_flags(self) -> None:
        """Test the flags in a thread, again if XLA refused them."""
        if self._tested.get(self._flags) is not None:
            del self._tested[self._flags]
        if not self._flags:
            self.chomp.notify("no XLA_FLAGS are set, so there is nothing to test")
        self._test_flags()

    def _test_flags(self) -> None:
        text = self._flags
        if text and text != self._testing and text not in self._tested:
            self._testing = text
            self.run_worker(self._test(text, self.environment))
            self._show_advice()

    async def _test(self, text: str, environment: Mapping[str, str]) -> None:
        self._tested[text] = await in_thread(lambda: prove_flags(environment))
        if self._testing == text:
            self._testing = None
        self._show_advice()

    def action_measure(self) -> None:
        """Measure the step of the current configuration without and with the variables, or stop that."""
        measured, loaded = self.query_one(MeasuredFlags), self.chomp.state.current_config
        variables = {name: value for name, value in self.environment.items() if self._environ.get(name) != value}
        if measured.is_measuring:
            measured.cancel()
        elif self.chomp.refuse_read_only():
            return
        elif not variables:
            self.chomp.notify("no variable is switched on, so there is nothing to compare")
        elif loaded is None:
            self.chomp.notify("open a valid configuration on the configure screen first: its step is measured")
        else:
            measured.measure(loaded, self._environ, variables)

    def action_refresh(self) -> None:
        """Read the GPUs now."""
        if self._watch is not None:
            self._watch.poke()

    def action_copy_line(self) -> None:
        """Copy the shell line."""
        self.app.copy_to_clipboard(self.line_to_copy)
        self.chomp.notify(f"copied: {self.line_to_copy}")


def _remarks(found: list[Remark], width: int) -> Content:
    marks = {"good": "● ", "warn": "▲ ", "idle": "  "}
    return Content("\n").join(
        Content.styled(marks[one.tone], TONES[one.tone])
        + hung(sanitize(one.text), width, "" if one.tone == "good" else TONES[one.tone], Content("  "))
        for one in found
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '…')) else '.'}"
