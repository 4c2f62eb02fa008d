"""How often a text has been read, from the saved state of a packer."""

from typing import Any


def passes_of_documents(state: dict[str, Any], in_pass: int) -> float:
    """Passes over a text that is read in any order.

    Args:
        state: of a packer.
        in_pass: documents of a pass.
    """
    return float((state["documents"] + _read_inside(state)) / in_pass)


def passes_of_stream(state: dict[str, Any], in_pass: int | None) -> float:
    """Passes over a stream; 0 as long as its length is not known.

    Args:
        state: of a packer.
        in_pass: documents of a pass; None until one has been read to its end by this process.
    """
    parent = state["parent"]
    # A shuffle keeps the cursor from before its window.
    cursor = parent.get("parent_window_start_state", parent)
    since = cursor["documents"] + parent.get("pos_in_window", 0)
    if in_pass is None and cursor["epoch"]:
        # After a resume: of all documents that were read, those of whole passes.
        in_pass = (state["documents"] - since) // cursor["epoch"]
    return float(cursor["epoch"] + (since + _read_inside(state)) / in_pass) if in_pass else 0.0


def _read_inside(state: dict[str, Any]) -> float:
    """Documents of the current group, or of the current document, that have been handed out: by its rows, or tokens."""
    if state.get("rows"):
        return float(state["group"] * state["rows_used"] / state["rows"])
    return float(state["offset"] / state["length"]) if state.get("length") else 0.0
