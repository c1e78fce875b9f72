"""Hypothesis strategies that draw seeds and sizes, never tensors: they shrink well and stay fast."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from seats_ops.layout import Modality
from seats_ops.testing.data import Run

ALL_MODALITIES = (Modality.TEXT, Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)


def seeds() -> st.SearchStrategy[int]:
    """Seeds for `torch.Generator`."""
    return st.integers(0, 2**31 - 1)


def segment_lengths(
    *, min_segments: int = 0, max_segments: int = 5, min_length: int = 0, max_length: int = 20
) -> st.SearchStrategy[list[int]]:
    """Lengths of packed segments, empty ones and none at all included."""
    return st.lists(st.integers(min_length, max_length), min_size=min_segments, max_size=max_segments)


def value_dtypes() -> st.SearchStrategy[torch.dtype]:
    """dtypes that values (features, scores, saliency) may have."""
    return st.sampled_from([torch.float32, torch.bfloat16, torch.float16])


def id_dtypes() -> st.SearchStrategy[torch.dtype]:
    """dtypes that ids, offsets and counts may have."""
    return st.sampled_from([torch.int64, torch.int32])


def keep_ratios() -> st.SearchStrategy[float]:
    """Ratios in [0, 1], the ends and halves (which round to even) often."""
    return st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0.0, 1.0, allow_nan=False))


def prompt_runs(
    *, max_runs: int = 7, max_length: int = 9, modalities: tuple[Modality, ...] = ALL_MODALITIES
) -> st.SearchStrategy[list[Run]]:
    """One prompt as runs of tokens, for `layout_of_runs`; neighbouring runs differ in modality."""
    run = st.tuples(st.sampled_from(modalities), st.integers(1, max_length))
    return st.lists(run, max_size=max_runs).map(_merge_neighbours)


def batch_runs(
    *, max_rows: int = 3, max_runs: int = 7, max_length: int = 9, modalities: tuple[Modality, ...] = ALL_MODALITIES
) -> st.SearchStrategy[list[list[Run]]]:
    """Several prompts, at least one of them, each possibly empty."""
    prompt = prompt_runs(max_runs=max_runs, max_length=max_length, modalities=modalities)
    return st.lists(prompt, min_size=1, max_size=max_rows)


def _merge_neighbours(runs: list[Run]) -> list[Run]:
    merged: list[Run] = []
    for kind, length in runs:
        if merged and merged[-1][0] is kind:
            merged[-1] = (kind, merged[-1][1] + length)
        else:
            merged.append((kind, length))
    return merged
