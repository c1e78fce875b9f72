"""The time of the kernels of a call alone, and whether a CUDA graph can hold the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from benchmarks.graphs import NotCapturable
from benchmarks.timing import Clock, OtherKernels, measure, same_work, spread

CAPTURED = "captured, same result"
# "auto" takes the reference where a kernel cannot be recorded.
BY_THE_REFERENCE = "captured, by the reference"
# A profile of a loop has tens of thousands of kernels, and its numbers hardly vary.
PROFILES = 2


def kernel_time(
    runs: Sequence[Callable[[], Any]], device: torch.device, repeats: int, *, cold: bool, waits: int
) -> dict[str, Any]:
    """ "kernel": seconds by graph, or by profiler where there can be none; "kernel_clock" says which; "capture".

    Args:
        runs: the same call on several inputs.
        waits: of the host, in one call; one that waits is not captured, for the attempt may leave a broken stream.
    """
    capture = capture_of(runs[0], waits)
    graph = capture == CAPTURED
    clock = Clock(device, "graph" if graph else "profiler", cold=cold)
    seconds = measure([{"": run} for run in runs], device, repeats if graph else PROFILES, clock)[""]
    return {"kernel": spread(seconds), "kernel_clock": clock.name, "capture": capture}


def capture_of(run: Callable[[], Any], waits: int) -> str:
    """CAPTURED, or what stands in the way."""
    if waits:
        return f"not captured: the host waits {waits} times"
    expected = run()
    try:
        _, result = same_work(run)
    except OtherKernels:
        return BY_THE_REFERENCE
    except NotCapturable as error:
        return f"not captured: {error}"
    pairs = zip(tree_leaves(expected), tree_leaves(result), strict=True)
    same = all(torch.equal(a, b) for a, b in pairs if isinstance(a, torch.Tensor))
    return CAPTURED if same else "captured, another result"
