"""Scrolling without waiting for the next layout."""

from textual.scroll_view import ScrollView


def scroll_now(view: ScrollView, y: float) -> None:
    """Scroll to a row at once, also before the layout that brings the scroll bar.

    Textual scrolls only where there is a scroll bar, and that one begins at the top.
    """
    view.scroll_target_y = view.scroll_y = y
    view.vertical_scrollbar.position = view.scroll_y
