"""What tests do inside an engine's workers: one a rank, in this process or in one of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from tests.integrations.vllm.faults import plant


def model_in(worker: Any) -> Any:
    """The module that runs there."""
    return getattr(worker, "worker", worker).model_runner.model


def record(worker: Any) -> None:
    """Write down which tokens go on from here on."""
    model = model_in(worker)
    kept: dict[str, list[int]] = {"video": [], "audio": [], "image": []}
    before = dict.fromkeys(kept, 0)
    place = type(model).placed

    def recorded(unit: Any, chosen: Any) -> Any:
        for item, columns in zip(unit.items, unit.columns(), strict=True):
            modality = item.modality.name.lower()
            stays = torch.isin(columns, chosen.index).nonzero().squeeze(1)
            kept[modality] += (stays + before[modality]).tolist()
            before[modality] += item.num_tokens
        return place(model, unit, chosen)

    model.placed, model.kept_in_test = recorded, kept


def recorded(worker: Any) -> dict[str, list[int]]:
    """Tokens that went on since, by modality, numbered over all items; and write down no more."""
    model = model_in(worker)
    kept = model.kept_in_test
    del model.placed, model.kept_in_test
    return kept


def average(worker: Any, over_ranks: bool) -> None:
    """Whether means over heads are averaged over ranks, as they should be."""
    from seats_ops.integrations import ranks
    from seats_ops.integrations.vllm import saliency

    alone = lambda x, *_: x  # noqa: E731
    saliency.mean_of_shares = ranks.mean_of_shares if over_ranks else alone


def choose_apart(worker: Any, agree: bool) -> None:
    """Ranks but the first keep another token of each unit, as where rounding breaks a tie; do they still agree?"""
    model = model_in(worker)
    if worker.rpc_rank:
        plant("another token", model, pytest.MonkeyPatch())
    if not agree:
        model.agreed = lambda chosen: chosen


def choose_alike(worker: Any) -> None:
    """Takes that away."""
    for name in ("chosen", "agreed"):
        vars(model_in(worker)).pop(name, None)


def process(worker: Any) -> tuple[int, int, list[str]]:
    """Its rank, its process, and the architectures of ours that are known there."""
    from vllm import ModelRegistry

    return worker.rpc_rank, os.getpid(), [name for name in ModelRegistry.get_supported_archs() if "Seats" in name]
