"""Settings a program may have around a call, none of which is an argument of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch

Mode = Callable[[], AbstractContextManager[object]]


@contextmanager
def held(change: Callable[[Any], None], value: Any, read: Callable[[], Any]) -> Iterator[None]:
    """A setting of the process at `value`, and back at what it was."""
    before = read()
    change(value)
    try:
        yield
    finally:
        change(before)


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return held(torch.set_default_dtype, dtype, torch.get_default_dtype)


def default_device(device: str) -> AbstractContextManager[None]:
    return held(torch.set_default_device, device, lambda: None)


def deterministic() -> AbstractContextManager[None]:
    return held(torch.use_deterministic_algorithms, True, torch.are_deterministic_algorithms_enabled)


def matmul_precision(precision: str) -> AbstractContextManager[None]:
    return held(torch.set_float32_matmul_precision, precision, torch.get_float32_matmul_precision)


# Under these an unpruned model may answer otherwise than without them: some CPUs multiply float32 in bfloat16 if asked.
ROUNDING: dict[str, Mode] = {
    "autocast_bfloat16": partial(torch.autocast, "cpu", torch.bfloat16),
    "autocast_float16": partial(torch.autocast, "cpu", torch.float16),
    "matmul_medium": partial(matmul_precision, "medium"),
    "matmul_high": partial(matmul_precision, "high"),
}
# Under these it does not.
NEUTRAL: dict[str, Mode] = {
    "default_bfloat16": partial(default_dtype, torch.bfloat16),
    "default_float16": partial(default_dtype, torch.float16),
    "default_float64": partial(default_dtype, torch.float64),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic": deterministic,
    "anomaly": partial(torch.autograd.set_detect_anomaly, True),
}
# A tensor made without a device would hold nothing.
ELSEWHERE: dict[str, Mode] = {"default_device": partial(default_device, "meta")}
MODES = ROUNDING | NEUTRAL | ELSEWHERE
