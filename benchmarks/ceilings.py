"""What this machine can do at best, measured: bytes per second of a copy, FLOPs per second of a matrix product."""

from __future__ import annotations

import torch

from benchmarks.entry import randn
from benchmarks.timing import measure
from seats_ops.ops.products import packed, packs, products

COPY_BYTES = 2**28
MATRIX = {"cpu": 1024, "cuda": 8192}


def ceilings(device: torch.device) -> dict[str, float]:
    """ "bytes_per_s" (a copy reads and writes) and "flops_per_s" in the dtype that benchmarks use on this device."""
    source = torch.zeros(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    n = MATRIX[device.type]
    a, b = randn(n, n, device=device), randn(n, n, device=device)
    multiply = {"product": lambda: a @ b}
    if packs(n, n, n, a):
        ready = packed(a)
        multiply["packed product"] = lambda: products(ready, ready)
    seconds = measure([{"copy": lambda: target.copy_(source), **multiply}], device, repeats=7)
    fastest = min(min(seconds[name]) for name in multiply)
    return {"bytes_per_s": 2 * COPY_BYTES / min(seconds["copy"]), "flops_per_s": 2 * n**3 / fastest}
