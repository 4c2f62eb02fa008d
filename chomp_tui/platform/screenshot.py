"""Screenshots that look the same in every program: charts as shapes, each sign in its cell; and as PNG."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from rich.cells import cell_len

_SVG = "http://www.w3.org/2000/svg"
_TEXT, _PATH = f"{{{_SVG}}}text", f"{{{_SVG}}}path"
# Rich places the baseline so far below the top of a line, whose height is this multiple of a cell's width.
_BASELINE, _HEIGHT = 18.5, 2.0
_DOT = 0.3
_BRAILLE, _BRAILLE_END = 0x2800, 0x2900
# Places of the bits of a braille character: column, row.
_BITS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
_CONVERTERS = (("rsvg-convert", "--zoom=2", "--output={png}", "{svg}"), ("resvg", "--zoom=2", "{svg}", "{png}"))
_PATIENCE_SECONDS = 60.0


def aligned(svg: str) -> str:
    """A screenshot of Textual in which braille dots and blocks are shapes, and every other sign is in its own cell.

    Fonts rarely have these signs, and a font that replaces one has other widths.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        if any(child.tag == _TEXT and child.get("textLength") for child in parent):
            children = [piece for child in parent for piece in _pieces(child)]
            parent[:] = children
    return ElementTree.tostring(root, encoding="unicode")


def to_png(svg: Path) -> Path | None:
    """The picture as PNG beside it; None without a converter (rsvg-convert or resvg).

    Raises:
        OSError: the converter failed.
    """
    for name, *arguments in _CONVERTERS:
        program = shutil.which(name)
        if program is None:
            continue
        png = svg.with_suffix(".png")
        command = [program, *(one.format(svg=svg, png=png) for one in arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise OSError(f"{name} took longer than {_PATIENCE_SECONDS:.0f} s") from None
        if done.returncode:
            raise OSError(f"{name}: {done.stderr.strip()[:200] or f'exit code {done.returncode}'}")
        return png
    return None


def _pieces(text: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """A text as parts that do not depend on the widths of a font's signs."""
    content = text.text or ""
    if text.tag != _TEXT or not text.get("textLength") or not content:
        yield text
        return
    x, y = float(text.get("x", 0)), float(text.get("y", 0))
    # Rich counts characters here, and cells for the places of texts.
    width = float(text.get("textLength", 0)) / len(content)
    shared = {name: value for name, value in text.attrib.items() if name in ("class", "clip-path")}
    cell = 0
    for kind, group in groupby(enumerate(content), _kind):
        part = "".join(sign for _, sign in group)
        left = x + cell * width
        cell += cell_len(part)
        if kind[0] == "shape":
            path = "".join(_shape(sign, left + place * width, y - _BASELINE, width) for place, sign in enumerate(part))
            yield ElementTree.Element(_PATH, {**shared, "d": path})
        elif kind[0] != "space":
            place = {"x": f"{left:.5g}", "y": f"{y:.5g}", "textLength": f"{cell_len(part) * width:.5g}"}
            element = ElementTree.Element(_TEXT, {**shared, **place})
            element.text = part
            yield element


def _kind(numbered: tuple[int, str]) -> tuple[str, int]:
    number, sign = numbered
    code = ord(sign)
    if _BRAILLE < code < _BRAILLE_END or 0x2580 <= code <= 0x258F:
        return "shape", 0
    if sign in " \xa0":
        return "space", 0
    return ("text", 0) if sign.isascii() else ("sign", number)


def _shape(sign: str, left: float, top: float, width: float) -> str:
    """The path of a braille character or a block in the cell at `left` and `top`."""
    code, height = ord(sign), _HEIGHT * width
    if code > _BRAILLE:
        size = _DOT * width
        dots = [place for bit, place in enumerate(_BITS) if (code - _BRAILLE) >> bit & 1]
        return "".join(
            _rectangle(
                left + (column + 0.5) * width / 2 - size / 2, top + (row + 0.5) * height / 4 - size / 2, size, size
            )
            for column, row in dots
        )
    if code == 0x2580:
        return _rectangle(left, top, width, height / 2)
    if code <= 0x2588:
        part = (code - 0x2580) / 8 * height
        return _rectangle(left, top + height - part, width, part)
    return _rectangle(left, top, width * (0x2590 - code) / 8, height)


def _rectangle(left: float, top: float, width: float, height: float) -> str:
    return f"M{left:.2f} {top:.2f}h{width:.2f}v{height:.2f}h-{width:.2f}z"
