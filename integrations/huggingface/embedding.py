"""Media written into embeddings before a decoder that would do so itself, so that they can be thinned first."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from seats_ops.integrations.huggingface.families.family import Family


def embedded(family: Family, text_model: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a decoder was called with, as `inputs_embeds` [B, S, D] and `position_ids` [B or 1, S].

    Args:
        family: of the model; one whose decoder is given embeddings anyway changes nothing.
        text_model: the decoder.
        kwargs: of its call: `input_ids`, and media under the names that its own module takes.
    """
    if family.embedding is None:
        return kwargs
    write = getattr(text_model, family.embedding)
    ids = kwargs["input_ids"]
    names = inspect.signature(write.forward).parameters.keys() & kwargs.keys() - {"input_ids", "inputs_embeds"}
    media = {name: kwargs[name] for name in names}
    embeds = write(ids, text_model.embed_tokens(ids), **media)
    positions = kwargs.get("position_ids")
    if positions is None:
        positions = torch.arange(embeds.shape[1], dtype=torch.int64, device=embeds.device)[None]
    nothing = dict.fromkeys(("input_ids", *media))
    return {**kwargs, **nothing, "inputs_embeds": embeds, "position_ids": positions}
