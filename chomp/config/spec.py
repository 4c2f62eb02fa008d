"""Every setting as flat data, read from the declarations in the schema.

Error wording, typed overrides, the reference, the JSON Schema and the console's form are
made from these, so that a field is described in one place.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from chomp.config.fields import SET, Section
from chomp.config.schema import Config

Kind = Literal["int", "float", "bool", "text", "list", "choice"]

_KINDS: Mapping[Any, Kind] = {int: "int", float: "float", bool: "bool", str: "text"}
_NOUNS: Mapping[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "text",
    "list": "a list of texts",
}


@dataclass(frozen=True)
class Setting:
    """One field: what it is, what it may be, what it means.

    `minimum` and `maximum` are included unless `above` or `below` says otherwise.

    Attributes:
        unset: the word for null.
        when: alternatives of (path, allowed values), all of which must hold for the run to read the setting; no
            alternatives: it always does.
    """

    path: str
    kind: Kind
    default: Any
    optional: bool
    help: str
    choices: tuple[str, ...] = ()
    minimum: int | float | None = None
    above: int | float | None = None
    maximum: int | float | None = None
    below: int | float | None = None
    min_length: int | None = None
    unit: str | None = None
    group: str | None = None
    unset: str = "not set"
    when: tuple[tuple[tuple[str, tuple[Any, ...]], ...], ...] = ()

    def is_read(self, values: Mapping[str, Any]) -> bool:
        """Whether a run with these values, by dotted path, reads the setting."""
        return not self.when or any(all(_holds(values, *part) for part in one) for one in self.when)

    @property
    def needs(self) -> str:
        """What `is_read` needs in words: `data.backend: files or hf`; empty without conditions."""
        return "; or ".join(" and ".join(_told(*part) for part in one) for one in self.when)

    @property
    def range(self) -> str:
        """The allowed numbers in words: `at least 0 and below 1`; empty without limits."""
        bounds = (("above", self.above), ("at least", self.minimum), ("below", self.below), ("at most", self.maximum))
        return " and ".join(f"{word} {_limit(limit)}" for word, limit in bounds if limit is not None)

    @property
    def type_name(self) -> str:
        """Type for a table: `whole number or null`, `adamw | muon`."""
        name = " | ".join(self.choices) if self.kind == "choice" else _NOUNS[self.kind].removeprefix("a ")
        return f"{name} or null" if self.optional else name

    @property
    def noun(self) -> str:
        """The allowed type as an error says it: `a whole number, or null`, `one of adamw, muon`."""
        if self.kind == "choice":
            noun = self.choices[0] if len(self.choices) == 1 else f"one of {', '.join(self.choices)}"
        else:
            noun = _NOUNS[self.kind]
        return f"{noun}, or null" if self.optional else noun

    @property
    def expected(self) -> str:
        """The allowed values as an error says them: `a whole number above 0, or null`."""
        noun, *null = self.noun.split(", or null")
        if self.range:
            noun = f"{noun} {'of ' if self.range.startswith('at ') else ''}{self.range}"
        if self.min_length:
            noun = f"{noun} that is not empty"
        return f"{noun}, or null" if null else noun


@dataclass(frozen=True)
class SectionSpec:
    """A group of keys: dotted path (empty for the top level) and help."""

    path: str
    kind: type[Section]
    help: str


@dataclass(frozen=True)
class TableSpec:
    """Entries under names that the user chooses.

    Attributes:
        entry: the section that each of them is; None for numbers.
    """

    path: str
    entry: type[Section] | None
    help: str


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Split `X | None` into (X, True)."""
    if get_origin(annotation) in (Union, types.UnionType):
        others = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(others) == 1:
            return others[0], True
    return annotation, False


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _holds(values: Mapping[str, Any], path: str, allowed: tuple[Any, ...]) -> bool:
    if path in tables():
        return any(name.startswith(f"{path}.") for name in values)
    return bool(values.get(path)) if allowed == (SET,) else values.get(path) in allowed


def _told(path: str, allowed: tuple[Any, ...]) -> str:
    if allowed == (SET,):
        return f"{path} above 0" if path in settings() and settings()[path].kind in ("int", "float") else path
    return f"{path}: {' or '.join(str(one).lower() for one in allowed)}"


def _when(path: str, field: FieldInfo) -> tuple[tuple[tuple[str, tuple[Any, ...]], ...], ...]:
    """The conditions of a field and of the sections around it, as alternatives."""
    own = _extra(field).get("when", ())
    section = path.rpartition(".")[0]
    around = _when(section, found) if section and (found := _field_at(section)) is not None else ()
    alternatives = tuple(
        tuple((f"{section}{name}" if name.startswith(".") else name, tuple(allowed)) for name, allowed in one.items())
        for one in own
        if all(not name.startswith(".") or _field_at(f"{section}{name}") is not None for name in one)
    )
    return (
        tuple((*outer, *inner) for outer in around or ((),) for inner in alternatives or ((),)) if own or around else ()
    )


def _setting(path: str, field: FieldInfo) -> Setting:
    kind, optional = _unwrap(field.annotation)
    extra = _extra(field)
    limits = {}
    for mark in field.metadata:
        for limit in ("ge", "gt", "le", "lt", "min_length"):
            if getattr(mark, limit, None) is not None:
                limits[limit] = getattr(mark, limit)
    choices: tuple[str, ...] = get_args(kind) if get_origin(kind) is Literal else ()
    if choices:
        name: Kind = "choice"
    else:
        name = "list" if get_origin(kind) is list else _KINDS[kind]
    return Setting(
        path=path,
        kind=name,
        default=None if field.default is PydanticUndefined else field.default,
        optional=optional,
        help=field.description or "",
        choices=choices,
        minimum=limits.get("ge"),
        above=limits.get("gt"),
        maximum=limits.get("le"),
        below=limits.get("lt"),
        min_length=limits.get("min_length"),
        unit=_text(extra.get("unit")),
        group=_text(extra.get("group")),
        unset=_text(extra.get("unset")) or "not set",
        when=_when(path, field),
    )


def _limit(limit: int | float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _walk(kind: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        path = f"{prefix}{name}"
        yield path, field
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, f"{path}.")


@functools.cache
def _fields() -> Mapping[str, FieldInfo]:
    return dict(_walk(Config, ""))


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _is_table(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _entry(table: FieldInfo) -> FieldInfo:
    """What each entry of a table is."""
    return FieldInfo.from_annotation(get_args(table.annotation)[1])


# Names of entries are the user's: there is no end to the paths.
@functools.lru_cache(maxsize=4096)
def _field_at(path: str) -> FieldInfo | None:
    """The declaration of a dotted path, entries of tables included."""
    if path in _fields():
        return _fields()[path]
    outer, _, name = path.rpartition(".")
    around = _field_at(outer) if outer else None
    if around is None:
        return None
    if _is_table(around):
        return _entry(around)
    return around.annotation.model_fields.get(name) if _is_section(around) else None  # type: ignore[union-attr]


@functools.cache
def settings() -> Mapping[str, Setting]:
    """All settings by dotted path, in the order of the schema, but for those in entries of tables."""
    return {
        path: _setting(path, field)
        for path, field in _fields().items()
        if not _is_section(field) and not _is_table(field)
    }


@functools.cache
def tables() -> Mapping[str, TableSpec]:
    """All tables by dotted path, but for those in entries of other tables."""
    return {path: table for path in _fields() if (table := table_at(path)) is not None}


def setting_at(path: str) -> Setting | None:
    """The setting of a dotted path, those in entries of tables included; None where there is none."""
    field = _field_at(path)
    if field is None or _is_section(field) or _is_table(field):
        return None
    return settings().get(path) or _setting(path, field)


def section_at(path: str) -> SectionSpec | None:
    """The section of a dotted path, entries of tables included; None where there is none."""
    if path in sections():
        return sections()[path]
    field = _field_at(path)
    if field is None or not _is_section(field):
        return None
    assert isinstance(field.annotation, type)
    return SectionSpec(path, field.annotation, field.description or (field.annotation.__doc__ or "").strip())


def table_at(path: str) -> TableSpec | None:
    """The table of a dotted path; None where there is none."""
    field = _field_at(path)
    if field is None or not _is_table(field):
        return None
    kind = _entry(field).annotation
    section = kind if isinstance(kind, type) and issubclass(kind, Section) else None
    return TableSpec(path, section, field.description or "")


@functools.cache
def sections() -> Mapping[str, SectionSpec]:
    """All sections by dotted path, the top level (`""`) first."""
    found = {"": SectionSpec("", Config, (Config.__doc__ or "").strip())}
    for path, field in _fields().items():
        if _is_section(field):
            assert isinstance(field.annotation, type)
            found[path] = SectionSpec(path, field.annotation, field.description or "")
    return found


def children(section: str) -> tuple[str, ...]:
    """Names directly inside a section, which may be an entry of a table."""
    found = section_at(section)
    assert found is not None
    return tuple(found.kind.model_fields)


def flatten(table: Section | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a configuration, or of any nested table, by dotted path; lists are values, and a tuple is a list."""
    flat: dict[str, Any] = {}
    for key, value in (table.model_dump() if isinstance(table, Section) else table).items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
