"""CUDA graphs of a call: recorded once, replayed without the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

failures: list[str] = []
"""Captures that broke off in this process: afterwards torch may take its random numbers for being captured still."""


class NotCapturable(RuntimeError):
    """The call reads the device, copies from the host, or refuses; the message says which."""


def captured(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """The graph of a call that has run before, and the result that every replay writes.

    Raises:
        NotCapturable: with the first line of the reason.
    """
    current = torch.cuda.current_stream()
    graph = torch.cuda.CUDAGraph()
    try:
        # Libraries set themselves up per stream, which cannot be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            run()
        current.wait_stream(side)
        with torch.cuda.graph(graph):
            result = run()
    except Exception as error:
        # A capture that breaks off leaves its own stream in place.
        torch.cuda.set_stream(current)
        failures.append(str(error).strip().partition("\n")[0] or type(error).__name__)
        raise NotCapturable(failures[-1]) from error
    graph.replay()
    torch.cuda.synchronize()
    return graph, result
