"""Settings whose name or help has some words."""

from __future__ import annotations

from collections.abc import Iterable

from chomp.config import Setting


def found_settings(pool: Iterable[Setting], words: list[str]) -> list[Setting]:
    """Those that have all words; first those whose name is or has them."""
    ranked = sorted(filter(None, (_rank(one, words) for one in pool)), key=lambda ranked: ranked[0])
    return [setting for _, setting in ranked]


def _rank(setting: Setting, words: list[str]) -> tuple[int, Setting] | None:
    path, last = setting.path.lower(), setting.path.lower().rpartition(".")[2]
    if not all(word in f"{path} {setting.help.lower()}" for word in words):
        return None
    if words[-1] in (last, path):
        return 0, setting
    return (1 if last.startswith(words[-1]) else 2 if all(word in path for word in words) else 3), setting
