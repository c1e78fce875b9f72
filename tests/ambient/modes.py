"""Settings a program may have around a call, none of which is an argument of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch

Mode = Callable[[], AbstractContextManager[object]]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


AUTOCAST: dict[str, Mode] = {
    "autocast_bfloat16": partial(torch.autocast, "cpu", torch.bfloat16),
    "autocast_float16": partial(torch.autocast, "cpu", torch.float16),
}
# Under these an unpruned model answers what it answers without them.
NEUTRAL: dict[str, Mode] = {
    "default_bfloat16": partial(default_dtype, torch.bfloat16),
    "default_float16": partial(default_dtype, torch.float16),
    "default_float64": partial(default_dtype, torch.float64),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic": deterministic,
    "matmul_medium": partial(matmul_precision, "medium"),
    "matmul_high": partial(matmul_precision, "high"),
    "anomaly": partial(torch.autograd.set_detect_anomaly, True),
}
# A tensor made without a device would hold nothing.
ELSEWHERE: dict[str, Mode] = {"default_device": partial(default_device, "meta")}
MODES = AUTOCAST | NEUTRAL | ELSEWHERE
