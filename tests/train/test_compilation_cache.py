"""Where compiled programs are kept, and what is said where they cannot be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import pytest

from chomp.train.compilation import CACHE_BYTES, use_compilation_cache

pytestmark = pytest.mark.pure

FOLDER, SECONDS, BYTES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_max_size",
)


class Settings:
    """JAX's settings as the function leaves them; those of the test process stay."""

    def __init__(self) -> None:
        self.jax_enable_compilation_cache = True
        self.values: dict[str, Any] = {}

    def update(self, name: str, value: Any) -> None:
        self.values[name] = value


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings()
    monkeypatch.setattr(jax, "config", settings)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return settings


def warnings() -> list[str]:
    said: list[str] = []
    use_compilation_cache(said.append)
    return said


def test_the_user_s_own_cache_is_private_and_bounded(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert warnings() == []
    folder = tmp_path / "chomp" / "jax"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []
    assert settings.values == {FOLDER: str(folder), SECONDS: 0.0, BYTES: CACHE_BYTES}


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_a_cache_that_cannot_be_made_is_named_with_its_variable(
    variable: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    folder = tmp_path / "file" / "chomp" / "jax" if variable == "XDG_CACHE_HOME" else tmp_path / "file"
    why = "Not a directory" if variable == "XDG_CACHE_HOME" else "File exists"
    sentence = (
        f"compiled programs are not kept: the cache folder {folder} cannot be written ({why}); set {variable} to a "
        "folder that you may write to"
    )
    assert warnings() == [sentence]
    assert settings.values[FOLDER] is None
    use_compilation_cache()
    assert capsys.readouterr().err == f"warning: {sentence}\n"


def test_a_cache_that_can_only_be_read_is_read(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert [said.partition("cannot be written ")[2] for said in warnings()] == [
        "(Read-only file system); set JAX_COMPILATION_CACHE_DIR to a folder that you may write to"
    ]
    assert settings.values == {SECONDS: math.inf}, "JAX tries to write nothing, and reads where the user said"


@pytest.mark.parametrize("place", ["", "gs://bucket/cache"])
def test_places_that_are_no_folders_are_jax_s_own(
    place: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", place)
    assert warnings() == []


def test_a_cache_that_is_off_is_not_looked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.jax_enable_compilation_cache = False
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/proc/nowhere")
    assert warnings() == []


def test_a_user_without_a_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert warnings() == [
        "compiled programs are not kept: this user has no home; set XDG_CACHE_HOME to a folder for caches"
    ]
