"""Whether an engine's answer is the adapter's."""

from __future__ import annotations

from typing import Any

CLOSE = 1e-4
"""Of log probabilities."""


def gap(got: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of log probabilities; infinite where tokens or lengths differ."""
    if len(got["prompt"]) != len(expected["prompt"]) or got["tokens"] != expected["tokens"]:
        return float("inf")
    return max(abs(a - b) for a, b in zip(got["logprobs"], expected["logprobs"], strict=True))


def first_step(got: dict[str, Any], expected: dict[str, Any]) -> float:
    """Of the first new token alone, whatever follows."""
    return abs(got["logprobs"][0] - expected["logprobs"][0])


def check(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert len(got["prompt"]) == len(expected["prompt"])
    assert got["tokens"] == expected["tokens"]
    assert gap(got, expected) < CLOSE
