"""Whole prefills at the 7B's width, or at what memory allows: the rows of `python -m benchmarks prefill`."""

from __future__ import annotations

import torch

from benchmarks.gpu.steps import Rows, Setting, Step

GIB = 2**30
# Free memory for the weights in bfloat16, the widest activations and the cache, by width of the decoder.
NEEDED = {3584: 28 * GIB, 2048: 14 * GIB, 1024: 8 * GIB, 512: 5 * GIB}


def steps(setting: Setting) -> list[Step]:
    return [Step("prefill", 130, lambda: _rows(setting))]


def _rows(setting: Setting) -> Rows:
    from benchmarks.whole_prefill import compare  # Loads transformers.

    free, _ = torch.cuda.mem_get_info(setting.device)
    width = min(setting.width, widest(free))
    size = (width, setting.seconds, setting.text)
    return compare(*size, setting.device, setting.prefill_repeats, setting.retentions)


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
