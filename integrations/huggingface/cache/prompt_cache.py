"""The cache after a prefill: keys of tokens that were dropped go, for good or where they were not seen."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from seats_ops.integrations.huggingface.cache.cache import PrunedLayer, gather_keys
from seats_ops.integrations.huggingface.prefill import Prefill


def prune_cache(prefill: Prefill, cache: Cache, kv_policy: str) -> None:
    """Drop keys: "uniform" holds only the final survivors in every layer, "per-layer" what each layer saw."""
    if kv_policy == "uniform" and any(gather.kv_rule == "long" for gather in prefill.gathers):
        padded = _prune_by_rule(prefill, cache)
    else:
        padded = _prune_alike(prefill, cache, kv_policy == "uniform")
    if padded:
        # Also layers without padding: outside of `attach` none may take a token that another one refuses.
        for layer in cache.layers:
            layer.padded = True
    prefill.run.trace.kv_policy = kv_policy
    prefill.run.trace.kv_lengths = [layer.keys.shape[-2] for layer in cache.layers]


def _prune_alike(prefill: Prefill, cache: Cache, uniform: bool) -> bool:
    """Every layer holds the final survivors, or every layer what it saw. Returns whether rows are padded."""
    padded = False
    # Where the final survivors stand in what a layer saw: composed from the last gather back to the first.
    survivors: Tensor | None = None
    pending = list(prefill.gathers)
    width = prefill.grid.width
    for index in reversed(range(len(cache.layers) if prefill.gathers else 0)):
        while pending and pending[-1].layer > index:
            last = pending.pop()
            survivors = last.source if survivors is None else last.source[survivors]
            width = last.width
        layer = cache.layers[index]
        keys, values = layer.keys, layer.values
        grid, segment = (pending[-1].grid if pending else prefill.entered), len(pending)
        if uniform:
            grid, segment = prefill.grid, len(prefill.gathers)
            if survivors is not None:
                source = survivors.to(keys.device, non_blocking=True)
                keys, values = gather_keys(keys, source, width), gather_keys(values, source, width)
        filled = None if grid.is_full else grid.all_rows().filled.to(keys.device, non_blocking=True)
        padded |= filled is not None
        cache.layers[index] = PrunedLayer(keys, values, prefill.prompt_width - grid.width, filled, segment)
    return padded


def _prune_by_rule(prefill: Prefill, cache: Cache) -> bool:
    """Every layer holds what it saw, without the tokens that later stages drop whose rule is not "long"."""
    padded = False
    for index, layer in enumerate(cache.layers):
        later = [gather for gather in prefill.gathers if gather.layer > index]
        seen = prefill.gathers[: len(prefill.gathers) - len(later)]
        before = (seen[-1].grid if seen else prefill.entered).all_rows()
        held = torch.ones(int(prefill.grid.all_rows().filled.sum()), dtype=torch.bool, device="cpu")
        for number in reversed(range(len(seen), len(prefill.gathers))):
            gather = prefill.gathers[number]
            earlier = (prefill.gathers[number - 1].grid if number else prefill.entered).all_rows()
            slots = torch.full((earlier.filled.numel(),), gather.kv_rule == "long", dtype=torch.bool, device="cpu")
            slots[gather.source[gather.grid.all_rows().filled.flatten()]] = held
            held = slots[earlier.filled.flatten()]
        grid, source = before.keep(held.nonzero().squeeze(1))
        keys, values = layer.keys, layer.values
        if not bool(held.all()):
            on_device = source.to(keys.device, non_blocking=True)
            keys, values = (gather_keys(states, on_device, before.width) for states in (keys, values))
        filled = None if grid.is_full else grid.filled.to(keys.device, non_blocking=True)
        padded |= filled is not None
        cache.layers[index] = PrunedLayer(keys, values, prefill.prompt_width - grid.width, filled, len(seen))
    return padded
