"""The self-check tells the same function from another one."""

from typing import Any

import pytest

from chomp.model import selfcheck
from chomp.model.cema import BlockwiseEMA
from chomp.model.selfcheck import check_path
from tests.model.tiny import model_config


@pytest.mark.parametrize("isolate", [False, True])
def test_chomp_s_path_is_close_to_the_library_s(isolate: bool) -> None:
    found = check_path(model_config(), 100, isolate=isolate)
    assert found is not None
    assert found.is_good
    assert 0 < found.outputs < 1e-5
    assert 0 < found.gradients < 1e-4
    assert found.tokens == 100
    assert "differ from the library's by" in found.sentence


@pytest.mark.parametrize("changes", [{"cema": "fft"}, {"cema": "sequential"}, {"cema": "associative"}])
def test_the_library_s_own_paths_need_no_check(changes: dict[str, Any]) -> None:
    assert check_path(model_config(**changes), 100, isolate=True) is None


def test_a_dummy_has_nothing_to_check() -> None:
    assert check_path(model_config("dummy"), 100, isolate=True) is None


def test_another_function_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is one in a hundred too large."""
    right = BlockwiseEMA.coefficients

    def wrong(self: BlockwiseEMA) -> Any:
        made = right(self)
        return made._replace(kernel=made.kernel * 1.01)

    monkeypatch.setattr(BlockwiseEMA, "coefficients", wrong)
    # Compiled functions are kept: of a shape that no other test has, so that neither the right one serves here, nor the
    # wrong one later.
    found = check_path(model_config(cema_ndim=3), 97, isolate=False)
    assert found is not None
    assert not found.is_good
    assert "too much: set model.cema to fft" in found.sentence
    assert selfcheck.ALARM < found.outputs < 0.1
