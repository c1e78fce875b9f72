"""Inside a primitive float32 is multiplied in float32; around it everything stays as the program set it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.primitive import full_precision
from seats_ops.ops.query_relevance import reference
from tests.ambient.modes import matmul_precision

SETTINGS: dict[str, Any] = {"cpu": torch.backends.mkldnn.matmul, "cuda": torch.backends.cuda.matmul}


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_the_body_of_a_primitive_sees_full_precision(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def body(query: Tensor, key: Tensor, *_: Any) -> Tensor:
        seen.append((SETTINGS["cpu"].fp32_precision, torch.is_autocast_enabled("cpu")))
        return key.new_zeros(key.shape[0], dtype=torch.float32)

    monkeypatch.setattr(reference, "query_relevance", body)
    with matmul_precision(precision), torch.autocast("cpu", torch.bfloat16):
        before = SETTINGS["cpu"].fp32_precision
        F.query_relevance(torch.ones(1, 1, 2), torch.ones(3, 1, 2))
        assert SETTINGS["cpu"].fp32_precision == before
        assert torch.get_float32_matmul_precision() == precision
        assert torch.is_autocast_enabled("cpu")
    assert seen == [("ieee", False)]


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("inherited", [True, False])
def test_the_setting_comes_back(kind: str, inherited: bool) -> None:
    """One that was inherited follows its origin again; an error inside does not keep it away."""
    before = torch.backends.fp32_precision, SETTINGS[kind].fp32_precision
    try:
        SETTINGS[kind].fp32_precision = "none" if inherited else "tf32"
        torch.backends.fp32_precision = "tf32" if inherited else "ieee"
        with pytest.raises(KeyError), full_precision(torch.device(kind)):
            assert SETTINGS[kind].fp32_precision == "ieee"
            raise KeyError
        assert SETTINGS[kind].fp32_precision == "tf32"
        torch.backends.fp32_precision = "ieee"
        assert SETTINGS[kind].fp32_precision == ("ieee" if inherited else "tf32")
    finally:
        torch.backends.fp32_precision, SETTINGS[kind].fp32_precision = before


def test_calls_of_several_threads_overlap() -> None:
    """The first to leave does not take full precision away from the others, nor restores what it never saw."""
    inside, leave = threading.Barrier(2), threading.Event()

    def longer() -> None:
        with full_precision(torch.device("cpu")):
            inside.wait()
            leave.wait()

    with matmul_precision("medium"):
        set_by_user = SETTINGS["cpu"].fp32_precision
        thread = threading.Thread(target=longer)
        thread.start()
        inside.wait()
        try:
            with full_precision(torch.device("cpu")):
                assert SETTINGS["cpu"].fp32_precision == "ieee"
            assert SETTINGS["cpu"].fp32_precision == "ieee"
        finally:
            leave.set()
            thread.join()
        assert SETTINGS["cpu"].fp32_precision == set_by_user == "bf16"
