"""A model of these tests on two devices, dispatched by accelerate."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import dispatch_model
from torch import Tensor

from tests.integrations.huggingface.upstream import CACHE, place


def split(model: Any, boundary: int, first: torch.device, second: torch.device) -> Any:
    """Towers, embeddings and `boundary` layers on one device, the other layers and the output head on the other."""
    text = place(model, "model.language_model")
    towers = [place(model, "model.visual")]
    if hasattr(model.config, "audio_config"):
        towers.append(place(model, "model.audio_tower"))
    start, end = [*towers, f"{text}.embed_tokens", f"{text}.rotary_emb"], [f"{text}.norm", "lm_head"]
    layers = [f"{text}.layers.{i}" for i in range(model.config.text_config.num_hidden_layers)]
    device_map = dict.fromkeys(start + layers[:boundary], first) | dict.fromkeys(layers[boundary:] + end, second)
    return dispatch_model(model, device_map, main_device=first, skip_keys=CACHE)


def to_device(inputs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a model, with the tensors moved."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
