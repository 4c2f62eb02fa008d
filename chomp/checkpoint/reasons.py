"""Failed saves and reads in words."""

from __future__ import annotations

SIGNS = (
    ("No space left", "No space left on device"),
    ("RESOURCE_EXHAUSTED", "No space left on device"),
    ("Disk quota exceeded", "Disk quota exceeded"),
    ("Read-only file system", "Read-only file system"),
    ("Permission denied", "Permission denied"),
    ("File too large", "File too large: a size limit was reached"),
)


def reason_in_words(error: BaseException) -> str:
    """One line for an error of the file system or of the libraries that write to it."""
    texts = []
    cause: BaseException | None = error
    while cause is not None and cause not in texts:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror + (f": {cause.filename}" if cause.filename else "")
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    whole = " ".join(texts)
    for sign, words in SIGNS:
        if sign in whole:
            return words
    first = next((line.strip() for line in texts[0].splitlines() if line.strip()), type(error).__name__)
    return first[:300]
