"""What a stage asks of a device, counted without one: kernels, copies, and reads that make the host wait.

Tensors on the meta device stand for tensors on a GPU, those on the CPU for the host's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from seats_ops.testing.launches import record_launches

_ALLOCATIONS = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "detach",
    "detach_",
    "lift_fresh",
)
_SCALARS = ("_local_scalar_dense", "item")
# The size of their result is data: the host waits for it.
SIZED_BY_DATA = ("nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "unique_consecutive")
READS = (*_SCALARS, "equal", "is_nonzero", *SIZED_BY_DATA)


@dataclass
class Work:
    """What was asked for.

    Attributes:
        triton: names of Triton kernels.
        torch: names of torch operators that launch at least one kernel.
        copies: to the device.
        reads: how often the host would wait for a number inside an operator of seats_ops.
    """

    triton: list[str] = field(default_factory=list)
    torch: list[str] = field(default_factory=list)
    copies: int = 0
    reads: int = 0

    @property
    def launches(self) -> int:
        return len(self.triton) + len(self.torch)

    def __str__(self) -> str:
        named = ", ".join(f"{name} x{n}" if n > 1 else name for name, n in Counter(self.triton + self.torch).items())
        return f"{self.launches} launches, {self.copies} copies to the device ({named})"


class CountDeviceWork(TorchDispatchMode):
    """Counts inside a `with` block into `work`; reading a tensor of the device raises.

    A view or an allocation launches nothing. Any other torch operator counts once, though some launch several kernels:
    the count is a floor. An operator of seats_ops counts as the Triton kernels of its launcher and what surrounds them,
    also under "auto".
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()
        self._kernels_run = mock.patch("seats_ops.backend.why_not_triton", lambda primitive, tensor: None)

    def __enter__(self) -> CountDeviceWork:
        self._kernels_run.start()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._kernels_run.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not any(tensor.is_meta for tensor in inputs + outputs):
            return result
        name = func.overloadpacket.__name__
        if func.namespace == "seats_ops":
            self._open(func, args, kwargs)
        elif func.is_view or name in _ALLOCATIONS:
            pass
        elif name in ("_to_copy", "copy_") and any(tensor.device.type == "cpu" for tensor in inputs):
            self.work.copies += 1
        else:
            self.work.torch.append(name)
        return result

    def _open(self, func: Any, args: Any, kwargs: Any) -> None:
        """Run the launcher on zeros: it looks at shapes and strides only, or it would have to wait for the device."""

        def zeros(tensor: Tensor) -> Tensor:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu").zero_()

        stand_ins = tree_map_only(Tensor, zeros, (args, kwargs))
        with CountOnHost() as inside:
            launches = _launches_of(func, *stand_ins)
        self.work.triton += launches
        self.work.torch += inside.operators
        self.work.reads += inside.reads


def _launches_of(func: Any, args: Any, kwargs: Any) -> list[str]:
    """Names of the kernels that an operator of seats_ops would launch on a GPU; none is run."""
    args, kwargs = tree_map(lambda x: "triton" if x == "auto" else x, (args, kwargs))
    with record_launches() as launches:
        # Its body, not the operator: a mode does not see what happens inside an operator.
        OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
    return [launch.name for launch in launches]


def host_waits(name: str, args: Any, kwargs: Any) -> bool:
    """Whether the host waits for a device to carry out the torch operator `name`: its result, or its size, is data."""
    if name in ("index", "index_put", "index_put_"):
        return any(i is not None and i.dtype == torch.bool for i in args[1])
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in READS


class CountOnHost(TorchDispatchMode):
    """Counts for code on the CPU what it would do on a device, with real data. A `tolist` is not seen.

    Attributes:
        operators: names of torch operators that would launch a kernel.
        reads: how often the host would wait for a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        self.reads += host_waits(name, args, kwargs)
        if func.namespace == "aten" and not func.is_view and name not in (*_ALLOCATIONS, *_SCALARS):
            self.operators.append(name)
        return func(*args, **kwargs)
