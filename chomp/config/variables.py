"""The `variables` section and its use in values.

`$variables.x` as a whole value keeps the variable's type, `{$variables.x}` puts it into a
longer text, `$$variables` is the literal text `$variables`. Variables may use variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from chomp.config.suggest import nearest
from chomp.config.yaml_reader import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WHOLE = re.compile(r"\$variables\.([A-Za-z_][A-Za-z0-9_]*)\Z")
_PART = re.compile(
    r"(?P<literal>\$\$variables)|\{\$variables\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>\$variables)"
)

Report = Callable[[Path, str], None]


class _Unusable(Exception):
    """A reference that cannot be replaced; the text says why."""


def is_reference(text: str) -> bool:
    """Whether the text is `$variables.NAME` and nothing else."""
    return bool(_WHOLE.match(text))


class Variables:
    """Looks variables up, each expanded once."""

    def __init__(self, raw: Mapping[str, Any]):
        self._raw = raw
        self._done: dict[str, Any] = {}
        self._open: list[str] = []

    def value(self, name: str) -> Any:
        if name in self._done:
            return self._done[name]
        if name not in self._raw:
            similar = nearest(name, list(self._raw))
            known = ", ".join(f"variables.{other}" for other in self._raw) or "none"
            hint = f"did you mean variables.{similar}?" if similar else f"the file defines {known}"
            raise _Unusable(f"there is no variables.{name}; {hint}")
        if name in self._open:
            circle = " -> ".join(f"variables.{step}" for step in (*self._open[self._open.index(name) :], name))
            raise _Unusable(f"variables refer to each other in a cycle: {circle}")
        self._open.append(name)
        try:
            self._done[name] = self._expand(self._raw[name])
        finally:
            self._open.pop()
        return self._done[name]

    def _expand(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._expand(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> Any:
        """Replace what the text refers to; a whole reference gives the variable's own type."""
        whole = _WHOLE.match(text)
        return self.value(whole[1]) if whole else _PART.sub(self._part, text)

    def _part(self, match: re.Match[str]) -> str:
        if match["literal"]:
            return "$variables"
        if match["bare"]:
            raise _Unusable("inside a longer text write {$variables.NAME}; $$variables is the literal text")
        value = self.value(match["name"])
        if isinstance(value, list):
            raise _Unusable(f"variables.{match['name']} is a list and cannot become part of a text")
        if isinstance(value, bool) or value is None:
            return {True: "true", False: "false", None: "null"}[value]
        return str(value)


def expand(tree: dict[str, Any], raw: Any, report: Report) -> dict[str, Any]:
    """Replace every reference in `tree`.

    Args:
        tree: the sections, without `variables`.
        raw: the content of `variables:`; None when absent.
        report: called with path and message for each problem; the value is then left out.
    """
    variables = Variables(_checked(raw, report))
    for name in variables._raw:
        try:
            variables.value(name)
        except _Unusable as error:
            report(("variables", name), str(error))
    expanded = _tree(tree, (), variables, report)
    assert isinstance(expanded, dict)
    return expanded


def _checked(raw: Any, report: Report) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        report(("variables",), "expected names with values below it, such as `seq_len: 2048`")
        return {}
    good = {}
    for name, value in raw.items():
        if not _NAME.match(name):
            report(("variables", name), "a variable's name has only letters, digits and _, and no digit first")
        elif isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value)):
            report(("variables", name), "a variable is a plain value or a list of plain values, got a section")
        else:
            good[name] = value
    return good


_DROP = object()


def _tree(value: Any, path: Path, variables: Variables, report: Report) -> Any:
    if isinstance(value, dict):
        inner = {name: _tree(item, (*path, name), variables, report) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not _DROP}
    if isinstance(value, list):
        items = [_tree(item, (*path, index), variables, report) for index, item in enumerate(value)]
        return [item for item in items if item is not _DROP]
    if not isinstance(value, str):
        return value
    try:
        return variables.text(value)
    except _Unusable as error:
        report(path, str(error))
        return _DROP
