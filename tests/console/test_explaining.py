"""The documents of a step in the run view: which step, what is drawn of it, and its batch left out after a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chomp.record.events import NonFinite, RolledBack
from chomp_tui.widgets.dialogs import Choose
from tests.console.fakehelper import fake_helper
from tests.console.hosting import until
from tests.console.test_run_screen import LIVE, host, screen_of, shows
from tests.console.test_steering import sent
from tests.fakeruns import append, write_run

DOCUMENT = {
    "number": 4, "place": "/data/[b]\x1b[2Ja.jsonl:17", "start": 128, "tokens": 60, "counted": 59, "loss": 9.5,
    "raises": 1.25, "beginning": "\x1b[31mfirst\nline", "worst": "[red]x\u202e", "worst_at": 140, "worst_loss": 11.0,
}  # fmt: skip
# In place of the engine: it answers as `chomp explain --json` does, and not before the test has seen what it says.
ENGINE = f"""
import json, pathlib, sys, time
print("computing \\x1b[2Jagain…", file=sys.stderr, flush=True)
step, run = int(sys.argv[-1]), pathlib.Path(sys.argv[-2])
while not (run / "seen").exists():
    time.sleep(0.01)
if step == 300:
    sys.exit("error: no \\x1b[2Jtext")
print(json.dumps({{"step": step, "loss": 3.5, "tokens": 500, "documents": 1, "checkpoint": 200, "exact": False,
    "why_not_exact": ["mesh \\x1b[2Jdata 4 is now data 1: losses may differ"],
    "parameters_of": step - 1, "top": [{DOCUMENT!r}], "arguments": sys.argv[1:]}}))
"""


async def test_a_bad_step_shows_its_documents_and_its_batch_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "live", LIVE)
    bad: dict[str, Any] = {"loss": None, "grad_norm": None, "skipped": 1}
    append(run, NonFinite(step=250, action="skip", **bad))
    app = host(tmp_path, run.path)
    app.state.helper = fake_helper(ENGINE)
    screen = screen_of(app)
    async with app.run_test(size=(100, 30)) as pilot:
        await shows(pilot, "training")
        await pilot.press("d")
        await shows(pilot, "Documents of step 250", "computing �[2Jagain…")
        (run.path / "seen").touch()
        await shows(pilot, "loss 3.5000 over 500 tokens in 1 document · by the parameters with which the step began")
        await shows(pilot, "9.5000  +1.2500  59 tokens  /data/[b]�[2Ja.jsonl:17, from token 128 on")
        await shows(pilot, "begins: �[31mfirst↵line", "worst 11.0000: [red]x�")
        await shows(pilot, "mesh �[2Jdata 4 is now data 1: losses may differ")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await shows(pilot, "Go back and leave out the batch of step 250", "60 steps are computed again")
        await pilot.press("y")
        await until(pilot, lambda: [one["args"] for one in sent(run)] == [{"step": 250}])

        # A step that a rollback has discarded is explained as it was, and cannot be left out any more.
        append(run, NonFinite(step=290, action="rollback", **bad), RolledBack(280, 290, 0.5, 300, 1, 1, "went back"))
        await until(pilot, lambda: bool((shown := screen.snapshot()) and shown.view.rollbacks))
        await pilot.press("d")
        await shows(pilot, "Documents of step 290, which a rollback discarded", "Esc closes")
        await pilot.press("s", "escape")
        await until(pilot, lambda: app.screen is app.held)
        assert len(sent(run)) == 1
