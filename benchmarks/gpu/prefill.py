"""Whole prefills at the 7B's width, or at what memory allows: the rows of `python -m benchmarks prefill`."""

from __future__ import annotations

import functools

import torch

from benchmarks.gpu.steps import Rows, Setting, Step

GIB = 2**30
# Free memory for the weights in bfloat16, the widest activations and the cache, by width of the decoder.
NEEDED = {3584: 28 * GIB, 2048: 14 * GIB, 1024: 8 * GIB}


# The first one compiles the kernels for all of them.
FIRST, ANOTHER = 70, 40


def steps(setting: Setting) -> list[Step]:
    return [
        Step(f"prefill/{percent}", FIRST if number == 0 else ANOTHER, functools.partial(_rows, percent, setting))
        for number, percent in enumerate(setting.retentions)
    ]


def _rows(percent: int, setting: Setting) -> Rows:
    from benchmarks.whole_prefill import compare  # Loads transformers.

    free, _ = torch.cuda.mem_get_info(setting.device)
    width = min(setting.width, widest(free))
    size = (width, setting.seconds, setting.text)
    return compare(*size, setting.device, setting.prefill_repeats, [percent])


def widest(free: int) -> int:
    """The widest decoder that so many bytes hold.

    Raises:
        RuntimeError: not even the narrowest.
    """
    fitting = [width for width, needed in NEEDED.items() if needed <= free]
    if not fitting:
        least = min(NEEDED.values()) / GIB
        raise RuntimeError(f"memory: found {free / GIB:.1f} GiB free, expected {least:.0f} for the narrowest model")
    return max(fitting)
