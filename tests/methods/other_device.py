"""A stage on a device that is not the CPU, where tensors of both cannot be mixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seats_ops import TokenLayout
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_result
from seats_ops.testing.mixed_devices import OneDevice


def check_device(stage: Any, layout: TokenLayout, tensors: Mapping[str, Any]) -> None:
    """The same tokens, and the same merge, as on the CPU."""
    expected = _decided(stage, layout, tensors)
    device = OneDevice()
    on_host = {name: value for name, value in tensors.items() if name in ("counts", "generators")}
    given = {name: value for name, value in tensors.items() if name not in on_host}
    with device:
        found = _decided(stage, layout.to(device.place), {**device.put(given), **on_host})
        parts = [found.keep_mask, *(found.merge or ())]
    for one, other in zip((expected.keep_mask, *(expected.merge or ())), parts, strict=True):
        assert torch.equal(one, device.fetch(other))


def _decided(stage: Any, layout: TokenLayout, tensors: Mapping[str, Tensor]) -> Selection:
    return check_result("stage", call_stage(stage, layout, tensors, "auto"), layout)
