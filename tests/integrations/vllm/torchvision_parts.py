"""torchvision beside vLLM's CPU build: its compiled part wants another torch, and importing it fails without.

Two operators that this part would bring are declared instead: nothing here calls them, but imports look for them.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

declared: list[Any] = []
"""Libraries of operators, which go with the object."""


def import_torchvision() -> None:
    """Before transformers looks for it; nothing where it is not installed, or imports as it is."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        declared.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in ("nms", "qnms"):
            declared[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
