"""The stand-in for a device, where tensors of it and of the CPU cannot be mixed, as on a real one."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from seats_ops.testing.stand_in_device import DEVICE, Device, OnDevice

# What CUDA does with tensors of both: copies, and picking by indices of the CPU.
MIXING = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}


class OneDevice(Device):
    """`Device` that refuses what a GPU refuses."""

    place = DEVICE

    def fetch(self, value: Tensor) -> Tensor:
        """The values of a tensor on the device."""
        assert isinstance(value, OnDevice)
        return value.held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        here = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.ndim]
        if there and here and func.overloadpacket.__name__ not in MIXING:
            raise RuntimeError(f"{func}: expected tensors of one device, got some of the layout's and some of the CPU")
        return super().__torch_dispatch__(func, types, args, kwargs)
