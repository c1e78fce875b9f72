"""A device without hardware: tensors say they are on "meta", hold data on the CPU, and reads of them are written down.

A whole model runs on it, so that what a GPU would be asked for can be counted: on the CPU itself a read is no event.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from seats_ops.testing.device_work import host_waits

ROOT = f"{Path(__file__).parents[2]}/"
SOURCES = (f"{ROOT}seats_ops/", f"{ROOT}integrations/")
# Tools of tests, what calls the whole of a model's `generate`, and what calls every hook.
_ADAPTERS = (f"{ROOT}integrations/", f"{ROOT}seats_ops/integrations/")
_CALLERS = ("huggingface/guards/guards.py", "huggingface/hooks.py")
AROUND = (f"{ROOT}seats_ops/testing/", *(f"{folder}{name}" for folder in _ADAPTERS for name in _CALLERS))
DEVICE, HOST = torch.device("meta"), torch.device("cpu")


class OnDevice(Tensor):
    """A tensor of the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise AssertionError(f"{func}: expected to be called while a Device is at work")


def our_frames() -> list[str]:
    """ "file:line function" of this package's code that is running, innermost first; empty in a model's own code."""
    found = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(SOURCES) and not name.startswith(AROUND):
            found.append(f"{name.removeprefix(ROOT)}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return found


class Device(TorchDispatchMode):
    """At work inside a `with` block.

    Args:
        insides: look into our operators too, for `made`; without it a long prompt takes seconds instead of minutes.

    Attributes:
        reads: `our_frames` at every read that code of this package asked for.
        all_reads: number of reads that any code asked for.
        made: (torch operator, innermost of our frames, entries) of every tensor that code of this package made, on the
            device or the host, insides of our operators included.
    """

    def __init__(self, *, insides: bool = True) -> None:
        super().__init__()
        self.insides = insides
        self.reads: list[list[str]] = []
        self.all_reads = 0
        self.made: list[tuple[str, str, int]] = []
        self._calls = _ReadableCalls(self._read)

    def __enter__(self) -> Device:
        self._calls.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._calls.__exit__(*raised)

    def put(self, value: Any) -> Any:
        """The same tensors, modules or containers on the device; modules are changed in place."""
        if isinstance(value, torch.nn.Module):
            for module in value.modules():
                held: list[dict[str, Any]] = [module._parameters, module._buffers]
                for tensors in held:
                    tensors.update({n: OnDevice(t.detach()) for n, t in tensors.items() if t is not None})
            return value
        return tree_map_only(Tensor, OnDevice, value)

    def _read(self) -> None:
        self.all_reads += 1
        frames = our_frames()
        if frames:
            self.reads.append(frames)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, OnDevice)]
        wanted = kwargs.get("device")
        on_device = bool(inputs) if wanted is None else torch.device(wanted) == DEVICE
        if not inputs and not on_device:
            return self._run(func, args, kwargs)
        name = func.overloadpacket.__name__
        if name == "copy_" and not isinstance(args[0], OnDevice):
            on_device = False
        if host_waits(name, args, kwargs) or not on_device:
            self._read()
        if wanted is not None:
            kwargs["device"] = HOST
        owners = {id(leaf.held): leaf for leaf in inputs}
        plain = tree_map(lambda x: x.held if isinstance(x, OnDevice) else x, (args, kwargs))
        result = self._run(func, *plain)
        if not on_device:
            return result
        return tree_map_only(Tensor, lambda x: owners[id(x)] if id(x) in owners else OnDevice(x), result)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """On the CPU; what our code makes is written down."""
        frames = our_frames()
        if func.namespace == "seats_ops":
            # The reference stands for the kernel. Its body, not the operator, so that its insides are seen.
            args, kwargs = tree_map(lambda x: "reference" if x == "triton" else x, (args, kwargs))
            with self if self.insides else contextlib.nullcontext():
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
        result = func(*args, **kwargs)
        if frames and not func.is_view:
            name = func.overloadpacket.__name__
            self.made += [(name, frames[0], x.numel()) for x in tree_leaves(result) if isinstance(x, Tensor)]
        return result


class _ReadableCalls(TorchFunctionMode):
    """Calls that torch answers for such tensors without asking the device."""

    def __init__(self, on_read: Callable[[], None]) -> None:
        super().__init__()
        self.on_read = on_read

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], OnDevice):
            self.on_read()
            return func(args[0].held, *args[1:], **kwargs)
        if func is Tensor.new_tensor and isinstance(args[0], OnDevice) and kwargs.get("device") is None:
            # Its data would be lost: torch makes a tensor of the meta device itself.
            return args[0].held.new_tensor(*args[1:], **kwargs).to(DEVICE)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)
