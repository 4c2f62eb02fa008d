"""A text editor that shows control characters of its text as signs."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from chomp.record.formatting import sanitize


class LiteralTextArea(TextArea):
    """Textual's editor; hostile text stays inert."""

    def get_line(self, line_index: int) -> Text:
        # Control characters are replaced one for one, so that columns stay.
        return Text(sanitize(self.document.get_line(line_index)), end="", no_wrap=True)
