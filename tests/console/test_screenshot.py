"""Screenshots that do not depend on a font, and their conversion."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from chomp_tui.platform.screenshot import aligned, to_png


def svg_of(text: str) -> str:
    """A screen with one line, as Textual writes it."""
    console = Console(width=20, file=io.StringIO(), force_terminal=True, record=True)
    console.print(text, markup=False, highlight=False)
    return console.export_svg()


def test_dots_and_blocks_are_shapes_and_other_signs_are_in_their_cells() -> None:
    svg = aligned(svg_of("ab ⡇█▄ ◆<x 漢 z"))
    [shapes] = re.findall(r'<path [^>]*d="([^"]*)"', svg)
    sizes = re.findall(r"h([\d.]+)v([\d.]+)", shapes)
    assert len(sizes) == 4 + 1 + 1
    assert sizes[-2:] == [("12.20", "24.40"), ("12.20", "12.20")]
    found = re.findall(r'<text [^>]*x="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    places = {sign: float(x) / 12.2 for x, sign in found if sign.strip() and sign != "Rich"}
    assert places == pytest.approx({"ab": 0, "◆": 7, "&lt;x": 8, "漢": 11, "z": 14}, abs=0.01)


def test_the_dots_of_a_braille_sign_are_where_it_has_them() -> None:
    path = re.findall(r'<path [^>]*d="([^"]*)"', aligned(svg_of("⡀")))[0]
    x, y = map(float, re.findall(r"M([\d.]+) ([\d.]+)", path)[0])
    assert 0 < x < 6.1, "the left column"
    full = re.findall(r'<path [^>]*d="([^"]*)"', aligned(svg_of("⣿")))[0]
    rows = sorted({float(place) for _, place in re.findall(r"M([\d.]+) ([\d.]+)", full)})
    assert len(rows) == 4
    assert y == rows[-1], "the lowest row"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = tmp_path / "rsvg-convert"
    found.write_text(
        '#!/bin/sh\nfor one in "$@"; do case $one in --output=*) echo made > "${one#--output=}";; esac; done\n'
    )
    found.chmod(0o755)
    return found


def test_the_first_converter_on_the_path_makes_the_png(program: Path, tmp_path: Path) -> None:
    (tmp_path / "a b.svg").write_text("<svg/>")
    assert to_png(tmp_path / "a b.svg") == tmp_path / "a b.png"
    assert (tmp_path / "a b.png").read_text() == "made\n"


def test_a_converter_that_fails_is_quoted_and_none_is_no_error(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    with pytest.raises(OSError, match="rsvg-convert: no fonts"):
        to_png(tmp_path / "a.svg")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert to_png(tmp_path / "a.svg") is None
