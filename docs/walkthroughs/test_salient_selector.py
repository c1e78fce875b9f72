"""The selection is right if a slow one, written in another way, agrees."""

import contextlib
import math
import os

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from salient_selector import SalientOfGroup, top_of_groups

from seats_ops.testing import assert_same_selection, check_stage, packed_offsets
from seats_ops.testing.strategies import seeds, segment_lengths, value_dtypes

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = ["reference", "triton"] if INTERPRETED else ["reference"]


@pytest.fixture(scope="module", autouse=True)
def safeguards():
    """Watch what kernels read and write, and run programs in another order."""
    with contextlib.ExitStack() as stack:
        if INTERPRETED:
            from seats_ops.testing.interpreter import (
                program_order,
                repair_interpreter,
            )
            from seats_ops.testing.memory import watch_memory
            from seats_ops.testing.poison import poisoned_outputs

            repair_interpreter()
            for safeguard in (
                watch_memory(),
                poisoned_outputs(),
                program_order("shuffled"),
            ):
                stack.enter_context(safeguard)
        yield


def by_hand(saliency, lengths, stride):
    """The contract in plain Python."""
    values = [-math.inf if math.isnan(value) else value for value in saliency.tolist()]
    keep, start = torch.zeros(len(values), dtype=torch.bool), 0
    for length in lengths:
        for first in range(start, start + length, stride):
            group = range(first, min(first + stride, start + length))
            keep[max(group, key=lambda token: values[token])] = True  # the first of equals
        start += length
    return keep


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=20 if INTERPRETED else 50, deadline=None)
@given(
    segment_lengths(),
    st.integers(1, 7),
    st.sampled_from(["distinct", "ties", "nan"]),
    seeds(),
    value_dtypes(),
)
# Long segments take the kernel several steps.
@example(lengths=[3, 700], stride=5, kind="distinct", seed=0, dtype=torch.float32)
def test_keeps_what_the_contract_says(backend, lengths, stride, kind, seed, dtype):
    random = torch.Generator().manual_seed(seed)
    saliency = torch.randperm(sum(lengths), generator=random).float()
    if kind == "ties":
        saliency = saliency % 3
    if kind == "nan":
        saliency[saliency % 2 == 0] = math.nan
    saliency, offsets = saliency.to(dtype), packed_offsets(lengths, torch.int64)
    kept = top_of_groups(saliency, offsets, stride, backend=backend)
    assert_same_selection(kept, by_hand(saliency, lengths, stride), offsets)


@pytest.mark.parametrize("stride", [1, 4])
def test_is_a_stage(stride):
    check_stage(SalientOfGroup(stride))


def test_refuses_no_stride():
    with pytest.raises(ValueError, match="stride: expected at least 1, got 0"):
        top_of_groups(torch.ones(3), packed_offsets([3]), 0)
