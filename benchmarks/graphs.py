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
    refused: Exception | None = None
    try:
        # Libraries set themselves up per stream, which cannot be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            run()
        current.wait_stream(side)
    except Exception as error:
        # On that stream nothing was captured yet.
        raise NotCapturable(_first_line(error)) from error
    try:
        with torch.cuda.graph(graph):
            try:
                result = run()
            except Exception as error:
                # What torch itself refuses leaves the capture intact; then it ends as any other, and nothing is broken.
                refused = error
    except Exception as error:
        # A capture that breaks off leaves its own stream in place.
        torch.cuda.set_stream(current)
        failures.append(_first_line(refused or error))
        raise NotCapturable(failures[-1]) from (refused or error)
    if refused is not None:
        raise NotCapturable(_first_line(refused)) from refused
    graph.replay()
    torch.cuda.synchronize()
    return graph, result


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
