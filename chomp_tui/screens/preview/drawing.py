"""A preview of a batch as text in colours; without colours the same marks are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content

from chomp.record.formatting import count, one_line, plural, sanitize

# One after another, so that neighbours differ.
TONES = ("$primary", "$accent", "$success", "$secondary", "$warning")


def summary_text(summary: Mapping[str, Any]) -> Content:
    """The figures of the batch and of the text."""
    accum, batch, seq = summary["shape"]
    per_byte, tokens, epochs = summary["tokens_per_byte"], summary["epoch_tokens"], summary["epochs"]
    documents, last_step = summary["text_documents"], summary.get("last_step")
    is_beyond = last_step is not None and summary["step"] > last_step
    rows = [
        _row(
            f"step {summary['step']:,}",
            f"beyond the end of the run, step {last_step:,}" if is_beyond else "",
            f"{accum} × {batch} sequences of {seq:,} tokens",
            f"packing efficiency {summary['packing_efficiency']:.1%}",
        ),
        _row(
            "documents",
            f"{summary['documents']:,}{_lengths(summary['lengths'])}",
            f"masked labels {summary['masked']:.1%}",
            "" if summary["isolated"] else "not isolated",
        ),
        _row(
            "text", f"{plural(documents, 'document')}{_lengths(summary['text_lengths'])}" if documents else "a stream"
        ),
        _row(
            "epochs",
            f"about {epochs:.3g} of {count(tokens)} tokens" if epochs else "the length of the text is not known",
            f"{per_byte:.3f} tokens per byte" if per_byte else "",
        ),
    ]
    for source in summary.get("sources") or ():
        rows.append(
            _row(
                sanitize(source["name"])[:11],
                f"{source['wanted']:.1%} by weight",
                f"{source['in_batch']:.1%} of the batch",
                f"{source['so_far']:.1%} so far",
            )
        )
    return Content("\n").join(rows)


def _row(name: str, *parts: str) -> Content:
    return Content.assemble((f"{name:<11} ", "$muted"), " · ".join(part for part in parts if part))


def _lengths(lengths: Mapping[str, Any] | None) -> str:
    if not lengths:
        return ""
    return f" ({lengths['min']:,} to {lengths['max']:,} tokens, median {lengths['median']:,.0f})"


def rows_text(rows: Sequence[Mapping[str, Any]], *, by_token: bool) -> Content:
    """The sequences, each under a heading."""
    parts: list[Content] = []
    for row in rows:
        said = (
            f"micro-batch {row['micro_batch'] + 1}, sequence {row['row'] + 1}: {plural(row['documents'], 'document')}"
        )
        said += f" of {one_line(row['source'])}" if row.get("source") else ""
        padding = f", {plural(row['padding'], 'position')} of padding" if row["padding"] else ""
        parts += [Content.styled(said + padding, "$muted"), row_text(row["runs"], by_token=by_token), Content("")]
    return Content("\n").join(parts[:-1])


def row_text(runs: Sequence[Mapping[str, Any]], *, by_token: bool) -> Content:
    """One sequence: ⟦3⟧ begins document 3, ‹…› does not count in the loss, │ separates tokens."""
    parts: list[Content | tuple[str, str]] = []
    for run in runs:
        number = int(run["document"])
        if number < 0:
            parts.append((f"░ padding × {len(run['ids'])}", "$muted"))
            continue
        tone = TONES[number % len(TONES)]
        if run["begins"]:
            parts.append((f"⟦{number}⟧", f"bold {tone}"))
        text = inert(("│" if by_token else "").join(map(str, run["pieces"])))
        parts.append((text, tone) if run["counted"] else (f"‹{text}›", f"underline {tone}"))
        if by_token:
            parts.append(("│", "$muted"))
    return Content.assemble(*parts)


def inert(text: str) -> str:
    """Text on one line in which nothing steers a terminal; ends of lines and tabs are visible."""
    return sanitize(text).replace("\n", "↵").replace("\t", "→")


def source_line(summary: Mapping[str, Any]) -> str:
    """The text, for the title."""
    return one_line(str(summary["source"]))
