"""The cache after a prefill: keys of tokens that were dropped go, for good or where they were not seen."""

from __future__ import annotations

from torch import Tensor
from transformers.cache_utils import Cache

from seats_ops.integrations.huggingface.cache.cache import PrunedLayer, gather_keys
from seats_ops.integrations.huggingface.prefill import Prefill


def prune_cache(prefill: Prefill, cache: Cache, kv_policy: str) -> None:
    """Drop keys: "uniform" holds only the final survivors in every layer, "per-layer" what each layer saw."""
    uniform, padded = kv_policy == "uniform", False
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
    if padded:
        # Also layers without padding: outside of `attach` none may take a token that another one refuses.
        for layer in cache.layers:
            layer.padded = True
    prefill.run.trace.kv_policy = kv_policy
    prefill.run.trace.kv_lengths = [layer.keys.shape[-2] for layer in cache.layers]
