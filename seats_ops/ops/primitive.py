"""What makes a primitive a torch operator whose numbers depend on its arguments alone, not on settings around it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# Where a process says how float32 is multiplied, by kind of device (TF32 on a GPU, bfloat16 on some CPUs).
_backends: Any = torch.backends
PRECISION = {"cpu": _backends.mkldnn.matmul, "cuda": _backends.cuda.matmul}
FULL = ("none", "ieee")


def primitive(name: str, *tags: torch.Tag) -> Callable[[Callable[..., Any]], Any]:
    """Define `seats_ops::name`, opaque to the compiler, from a function whose first tensor says where it runs.

    `tags` say what a compiler must know, e.g. `torch.Tag.cudagraph_unsafe` of what copies from the host.
    """

    def define(body: Callable[..., Any]) -> Any:
        @functools.wraps(body)
        def exactly(*args: Any) -> Any:
            device = next(leaf.device for leaf in tree_leaves(args) if isinstance(leaf, Tensor))
            with full_precision(device):
                return body(*args)

        schema = torch.library.infer_schema(body, mutates_args=())
        return torch.library.custom_op(f"seats_ops::{name}", exactly, mutates_args=(), schema=schema, tags=tags)

    return define


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """float32 products in float32 on `device`, whatever autocast and the process say."""
    kind = device.type
    autocast = kind in PRECISION and torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False) if autocast else nullcontext(), _ieee_products(kind):
        yield


@contextmanager
def _ieee_products(kind: str) -> Iterator[None]:
    if kind not in PRECISION or (PRECISION[kind].fp32_precision in FULL and not _setting.depth[kind]):
        yield
        return
    _setting.enter(kind)
    try:
        yield
    finally:
        _setting.leave(kind)


class _Setting:
    """The process' precision, set aside by the first thread that needs it so and put back by the last one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = dict.fromkeys(PRECISION, 0)
        self.before: dict[str, str] = {}

    def enter(self, kind: str) -> None:
        with self.lock:
            self.depth[kind] += 1
            if self.depth[kind] == 1:
                before = PRECISION[kind].fp32_precision
                PRECISION[kind].fp32_precision = "none"
                # A setting that was only inherited is inherited again.
                self.before[kind] = "none" if PRECISION[kind].fp32_precision == before else before
                PRECISION[kind].fp32_precision = "ieee"

    def leave(self, kind: str) -> None:
        with self.lock:
            self.depth[kind] -= 1
            if not self.depth[kind]:
                PRECISION[kind].fp32_precision = self.before[kind]


_setting = _Setting()
