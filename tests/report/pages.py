"""A page taken apart, for tests."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from tests.fakeruns import HOSTILE, FakeRun, make_checkpoint, write_run

# What may be in a report; anything else came from a run.
TAGS = frozenset(
    {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "dl", "dt", "dd", "small", "span",
        "figure", "figcaption", "svg", "path", "ul", "li", "b", "pre", "details", "summary", "table", "thead", "tr",
        "th", "td", "footer", "wbr",
    }
)  # fmt: skip
ATTRIBUTES = frozenset(
    {
        "lang", "charset", "http-equiv", "content", "name", "class", "id", "style", "viewbox", "preserveaspectratio",
        "role", "aria-label", "aria-hidden", "d", "scope", "dir", "title", "stroke-dasharray",
    }
)  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "path", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def check(self) -> None:
        """Only what a report writes itself, nothing that is fetched, and every tag closed."""
        assert set(self.tags) <= TAGS
        assert {name for name, _ in self.attributes} <= ATTRIBUTES
        assert self.open == []
        assert not any(re.search(r"url\(|://|javascript:", value) for _, value in self.attributes)
        harmless = "\n" + "".join(self.text.split("\n"))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", harmless)


EVIL = "</pre></style><script>owned=1</script><img src=//evil.example/x onerror=owned=1>\"'" + HOSTILE[:80]


def hostile_run(folder: Path) -> Path:
    """A run whose every text attacks the page: names, note, settings, samples, warnings, versions, checkpoints."""
    path = folder / "<b onmouseover=owned=1>x"
    run = write_run(path, FakeRun(steps=600, hostile=True, ending="stopped", reason=EVIL, nonfinite_at=(20, 21)))
    run.notes.write_text(f"name: {EVIL[:60]!r}\nnote: {EVIL[:70]!r}\ntags: [a/b]\n")
    values = run.config_resolved.read_text().replace('"bin"', '"<script>owned=1</script>"')
    run.config_resolved.write_text(values)
    lines = run.events.read_text()
    lines = lines.replace('"python":"3.11.13"', '"<script>":"<script>owned=1</script>"')
    run.events.write_text(lines.replace("NVIDIA GeForce RTX 5090", "<script>owned=1</script>"))
    make_checkpoint(run, 50, tags=("<script>",))
    return path
