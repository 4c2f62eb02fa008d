"""One flat file of 32-bit token ids from a prepared folder, for programs that read nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from chomp.data.tokenfiles import DTYPES, IdFile, find_token_files
from chomp.errors import DataError
from chomp.record.rundir import fsync_folder

FLAT = "tokens.bin"
IDS_AT_ONCE = 1 << 22


def write_flat(folder: Path) -> None:
    """Write the ids of `train.bin`, then those of `val.bin`, as little-endian uint32 into `folder/tokens.bin`.

    Raises:
        DataError: `folder` is not complete, or the disk fails.
    """
    files = find_token_files(folder, "auto")
    unfinished = folder / f".{FLAT}.{os.getpid()}.tmp"
    try:
        with unfinished.open("wb") as out:
            for file in (files.train, files.val):
                if file is None:
                    continue
                ids = IdFile(file)
                for start in range(0, len(ids), IDS_AT_ONCE):
                    out.write(ids.read(start, start + IDS_AT_ONCE).astype(DTYPES["uint32"]).tobytes())
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(folder / FLAT)
        fsync_folder(folder)
    except OSError as error:
        raise DataError(f"{folder / FLAT} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
