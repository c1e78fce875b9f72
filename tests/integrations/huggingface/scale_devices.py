"""Two devices that are not there, for machines without any.

A `Placed` tensor holds its numbers in a CPU tensor and says that it is on `privateuseone:0` or `privateuseone:1`. Every
operation runs on the CPU, under the rules of a GPU: operands on different devices are an error, only `to` and `copy_`
move, a number on the CPU (no dimensions) may meet any device, and indices on the CPU may pick from any tensor. What a
program computes on such devices is therefore, to the last bit, what it computes on the CPU, unless it forgets a move.

Importing this module registers the devices with torch for the rest of the process, which cannot be undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

KIND = "privateuseone"
DEVICES = (torch.device(KIND, 0), torch.device(KIND, 1))
_aten = torch.ops.aten
_MOVING = (_aten._to_copy.default, _aten.copy_.default)
_INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)
_FROM_DATA = (torch.tensor, torch.as_tensor)


class _Module(backend_registration._DummyBackendModule):
    def device_count(self) -> int:
        return len(DEVICES)


backend_registration._setup_privateuseone_for_python_backend(backend_module=_Module())


class Placed(Tensor):
    """See above."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor, device: torch.device) -> Placed:
        placed = Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=device,
        )
        placed.numbers = numbers
        return placed

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.numbers!r} on {self.device}"


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    asked = kwargs.get("device")
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if (asked is None or torch.device(asked).type != KIND) and not any(isinstance(x, Placed) for x in tensors):
        return func(*args, **kwargs)

    bound = tensors[:1] if func in _INDEXING and tensors[0] is args[0] else []
    bound += [x for x in tensors if isinstance(x, Placed) or (x.dim() > 0 and func not in _INDEXING)]
    places = {x.device for x in bound}
    if len(places) > 1 and func not in _MOVING:
        raise RuntimeError(f"{func}: expected all tensors on the same device, got {sorted(map(str, places))}")
    device = torch.device(asked) if asked is not None else bound[0].device

    wrapped: dict[int, Placed] = {}

    def unwrap(x: Any) -> Any:
        if isinstance(x, Placed):
            wrapped[id(x.numbers)] = x
            return x.numbers
        return torch.device("cpu") if isinstance(x, torch.device) else x

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor) or device.type != KIND:
            return x
        # Operations in place return their argument.
        return wrapped[id(x)] if id(x) in wrapped else Placed(x, device)

    args, kwargs = pytree.tree_map(unwrap, (args, kwargs))
    return pytree.tree_map(wrap, func(*args, **kwargs))


class _Operations(TorchDispatchMode):
    """Operations without a tensor argument: `torch.zeros(3, device=...)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """`torch.tensor([3, x], device=...)` goes past all dispatch."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _FROM_DATA:
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        if isinstance(args[0], list):
            args = pytree.tree_map(lambda x: x.numbers if isinstance(x, Placed) else x, args)
        result = func(*args, **kwargs)
        return result if device is None else result.to(device)


@contextmanager
def two_devices() -> Iterator[None]:
    """`DEVICES` exist."""
    with _Operations(), _Constructors():
        yield
