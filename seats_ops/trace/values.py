"""Tensors of a trace as JSON: ids as runs, since neighbours are alike; scores as their own bits."""

from __future__ import annotations

import base64
from typing import Any

import torch
from torch import Tensor


def runs(values: Tensor | None) -> list[list[int]] | None:
    """[[value, how often], ...] of an integer [T] on the CPU."""
    if values is None:
        return None
    found, counts = torch.unique_consecutive(values.long(), return_counts=True)
    return [list(pair) for pair in zip(found.tolist(), counts.tolist(), strict=True)]


def from_runs(pairs: list[list[int]] | None) -> Tensor | None:
    """Inverse of `runs`: int64."""
    if pairs is None:
        return None
    table = torch.tensor(pairs, dtype=torch.int64, device="cpu").reshape(-1, 2)
    return table[:, 0].repeat_interleave(table[:, 1])


def floats(values: Tensor | None) -> str | None:
    """float32 [T], little endian, in base 64."""
    if values is None:
        return None
    return base64.b64encode(values.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes()).decode("ascii")


def from_floats(text: Any) -> Tensor | None:
    """Inverse of `floats`."""
    if text is None:
        return None
    content = bytearray(base64.b64decode(text, validate=True))
    if not content:
        return torch.zeros(0, dtype=torch.float32, device="cpu")
    return torch.frombuffer(content, dtype=torch.float32).clone()
