"""What the interpreter cannot do with some versions is said before it fails."""

from __future__ import annotations

import pytest

from seats_ops.testing import interpreter


@pytest.mark.parametrize(
    ("triton", "numpy", "works"),
    [("3.6.0", "2.3.5", True), ("3.6.0", "2.4.0", False), ("3.6.0", "2.10.1", False), ("3.10.0", "2.5.2", True)],
)
def test_versions(triton: str, numpy: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.__version__", triton)
    monkeypatch.setattr("numpy.__version__", numpy)
    reason = interpreter.why_not_interpreted()
    assert (reason is None) == works
    if reason is not None:
        assert reason == f"the interpreter of Triton 3.6.0 needs numpy < 2.4, got {numpy}"
        with pytest.raises(RuntimeError, match=f"got {numpy}"):
            interpreter.repair_interpreter()
