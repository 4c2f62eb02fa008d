"""Reports in a real browser: `make browser-check`, which needs Chromium or Chrome.

`measure.html` shows each report in frames as wide as a phone and as a desktop, and measures it there. The server of the
test notes every request: a report asks for nothing.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chomp.record.run_record import load_record
from chomp.report.write import write_report
from tests.fakeruns import FakeRun, write_run
from tests.report.pages import hostile_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (360, 390, 500, 1280)
REPORTS = ("one", "many", "five", "crowd", "hostile")
DARK = "--blink-settings=preferredColorScheme=0"
MEASURE = Path(__file__).parent / "measure.html"


def browser() -> str:
    """The browser to use; a missing one is a failure: nothing would be checked."""
    found = os.environ.get("BROWSER_FOR_CHECK") or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"no browser found; install one of {', '.join(BROWSERS)} (Debian: apt-get install chromium)"
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, list[str]]]:
    """The address of a folder of reports, the folder, and the requests so far."""
    folder = tmp_path_factory.mktemp("site")
    runs = tmp_path_factory.mktemp("runs")
    one = load_record(write_run(runs / "one", FakeRun(steps=5_000, total=5_000, ending="completed")).path)
    others = [load_record(write_run(runs / f"run-{seed}", FakeRun(steps=2_000, seed=seed)).path) for seed in range(9)]
    crowd = []
    for number in range(34):
        run = write_run(runs / f"sweep-lr-{number / 7:.4f}-of-a_long_name", FakeRun(steps=300, seed=number))
        run.notes.write_text(f"name: try {number}\ntags: [rates]\n")
        settings = json.loads(run.config_resolved.read_text())
        settings["optim"]["lr"] = 1.5e-05 * (number + 1)
        settings.setdefault("data", {})["tokenizer"] = {"vocab_size_multiple": 64 + number}
        run.config_resolved.write_text(json.dumps(settings))
        crowd.append(load_record(run.path))
    write_report(crowd, folder / "crowd.html")
    write_report(crowd[:5], folder / "five.html")
    write_report([one], folder / "one.html")
    write_report(others, folder / "many.html", axis="time")
    write_report([load_record(hostile_run(runs)), one], folder / "hostile.html")
    page = MEASURE.read_text().replace("NAMES", json.dumps(REPORTS), 1)
    page = page.replace("WIDTHS", json.dumps(WIDTHS), 1)
    (folder / "index.html").write_text(page)
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", folder, requests
    server.shutdown()
    server.server_close()


def measured(address: str, profile: Path, *options: str) -> dict[str, Any]:
    """What the browser measures, by report and width."""
    command = [
        browser(), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *options,
        "--virtual-time-budget=20000", "--dump-dom", address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r"<pre>(\{.*?\})</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout[-2_000:] + done.stderr[-2_000:]
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


def test_reports_fit_a_phone_and_a_desktop_and_ask_for_nothing(
    site: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, _, requests = site
    found = measured(address, tmp_path)
    assert len(found) == len(REPORTS) * len(WIDTHS)
    for name, page in found.items():
        assert page["mode"] == "CSS1Compat", name
        assert page["scroll"] <= 0, f"{name} scrolls sideways: {page['wide'][:5]}"
        assert page["wide"] == page["left"] == [], name
        assert page["broken"] == [], f"{name}: words and numbers of tables are broken"
        assert page["lost"] <= 1, f"{name}: the names of rows leave the screen by {page['lost']} px"
        assert page["titleLines"] <= (1 if name.startswith("crowd") else 4), name
        assert page["overlaps"] == 0, f"{name}: labels of an axis overlap"
        assert page["smallest"] >= 11, f"{name}: text of {page['smallest']} px"
        assert len(page["drawn"]) >= 4, name
        assert all(width > 200 and height > 100 for width, height in page["drawn"]), name
        assert page["strokes"], f"{name}: a line has no colour of its own"
        assert (page["owned"], page["scripts"], page["links"]) == ("undefined", 0, 0), name
    wanted = {"/", *(f"/{name}.html?{width}" for name in REPORTS for width in WIDTHS)}
    assert set(requests) == {f"GET {path} HTTP/1.1" for path in wanted} or set(requests) == wanted


def test_reports_follow_a_dark_system(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    page = measured(site[0], tmp_path, DARK)["one 360"]
    assert page["background"] == "rgb(22, 22, 30)"
    assert page["text"] == "rgb(213, 220, 245)"
