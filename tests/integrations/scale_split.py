"""A model of these tests on two devices, dispatched by accelerate."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import dispatch_model
from torch import Tensor

TEXT = "model.language_model"


def split(model: Any, boundary: int, first: torch.device, second: torch.device) -> Any:
    """Towers, embeddings and `boundary` layers on one device, the other layers and the output head on the other."""
    towers = [f"model.{name}" for name in ("visual", "audio_tower") if hasattr(model.model, name)]
    start, end = [*towers, f"{TEXT}.embed_tokens", f"{TEXT}.rotary_emb"], [f"{TEXT}.norm", "lm_head"]
    layers = [f"{TEXT}.layers.{i}" for i in range(model.config.text_config.num_hidden_layers)]
    device_map = dict.fromkeys(start + layers[:boundary], first) | dict.fromkeys(layers[boundary:] + end, second)
    return dispatch_model(model, device_map, main_device=first, skip_keys="past_key_values")


def to_device(inputs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a model, with the tensors moved."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
