"""The structure of both packages: no import circle, no long function or file, no unused public name."""

from __future__ import annotations

import pytest

from tests.contracts.structure import (
    PACKAGES,
    ROOT,
    USERS,
    import_circles,
    long_files,
    long_functions,
    module_sources,
    unused_names,
)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    found = module_sources()
    assert {name.split(".")[0] for name in found} == set(PACKAGES)
    return found


def test_no_file_imports_itself_through_others(sources: dict[str, str]) -> None:
    assert import_circles(sources) == []


def test_every_function_fits_a_screen(sources: dict[str, str]) -> None:
    assert long_functions(sources) == []


def test_every_file_is_read_in_one_go(sources: dict[str, str]) -> None:
    assert long_files(sources) == []


def test_every_public_name_is_used(sources: dict[str, str]) -> None:
    users = [ROOT / user for user in USERS if user not in PACKAGES]
    files = [file for user in users for file in ([user] if user.is_file() else user.rglob("*")) if file.is_file()]
    texts = [file.read_text() for file in files if file.suffix in (".py", ".md", ".toml", "")]
    assert len(texts) > 20
    assert unused_names(sources, texts) == []


def test_a_circle_is_found_through_three_files_and_an_import_in_a_function() -> None:
    broken = {
        "a": "from b import x",
        "b": "def f():\n    from c import y",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a",
        "d": "import a",
    }
    assert import_circles(broken) == ["a ↔ b ↔ c"]
    assert import_circles({**broken, "c": ""}) == []


def test_an_import_of_a_module_from_its_package_is_an_import_of_the_module() -> None:
    assert import_circles({"p": "", "p.a": "from p import b", "p.b": "import p.a"}) == ["p.a ↔ p.b"]


def test_a_long_function_and_a_long_file_are_found() -> None:
    body = "\n".join("    x = 1" for _ in range(59))
    assert long_functions({"m": f"def f():\n{body}"}) == []
    assert long_functions({"m": f"class C:\n  async def f(self):\n{body}\n    x = 2"}) == ["m:2 f has 61 lines"]
    assert long_files({"m": "x\n" * 400}) == []
    assert long_files({"m": "x\n" * 401}) == ["m has 401 lines"]


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("def f(): pass", ["m:1 f"]),
        ("def f(): pass\nf()", []),
        ("def _f(): pass", []),
        ("LIMIT = 3", ["m:1 LIMIT"]),
        ("LIMIT: int = 3\nprint(LIMIT)", []),
        ("class A:\n    pass\n'A'", []),
        ("class A:\n    '''A is no use of A.'''", ["m:1 A"]),
    ],
)
def test_an_unused_name_is_found(text: str, unused: list[str]) -> None:
    assert unused_names({"m": text}) == unused


def test_an_import_is_no_use_and_a_use_elsewhere_is() -> None:
    assert unused_names({"m": "def f(): pass", "n": "from m import f"}) == ["m:1 f"]
    assert unused_names({"m": "def f(): pass"}, ["a page that names f"]) == []
