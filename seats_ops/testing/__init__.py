"""What tests of selection code need, here and in projects that build on this one.

A selection is a set of tokens, so closeness of numbers says nothing about it: one near-tie changes a whole greedy
chain. The tools below compare sets, accept a difference only where a near-tie is shown, and make data on which a wrong
selection cannot pass by luck. Hypothesis strategies live in `seats_ops.testing.strategies` (needs `hypothesis`); golden
numbers are read by `seats_ops.testing.golden` (needs `safetensors`).

Example:
    >>> import torch
    >>> from seats_ops import DiversitySelector
    >>> from seats_ops.testing import assert_same_selection, check_stage
    >>> check_stage(DiversitySelector(0.5))  # raises where a rule of `seats_ops.Stage` is broken
    >>> assert_same_selection(torch.tensor([True, False]), torch.tensor([True, False]))
"""

from seats_ops.testing.certificate import GreedyCertificate, certify_greedy
from seats_ops.testing.data import (
    clustered_features,
    layout_of_runs,
    near_constant_saliency,
    packed_offsets,
    tied_features,
)
from seats_ops.testing.dpp_certificate import certify_dpp
from seats_ops.testing.selection import assert_same_selection
from seats_ops.testing.stage_protocol import check_stage

__all__ = [
    "GreedyCertificate",
    "assert_same_selection",
    "certify_dpp",
    "certify_greedy",
    "check_stage",
    "clustered_features",
    "layout_of_runs",
    "near_constant_saliency",
    "packed_offsets",
    "tied_features",
]
