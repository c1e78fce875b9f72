"""Thinkers of which it is known up to which layer they read their media, and which tokens they read last."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Audio, Text, Video, build_prompt


def _layers(model: Any) -> Any:
    return model.model.language_model.layers


def _silence(layer: Any) -> None:
    layer.self_attn.o_proj.weight.data.zero_()


def read_until(model: Any, last: int) -> Any:
    """Attention of the layers beyond `last` adds nothing from here on, so that no token reads another one there."""
    for layer in _layers(model)[last:]:
        _silence(layer)
    return model


def read_at(model: Any, layer: int, sharpness: float = 4.0) -> Any:
    """Nothing but the layer behind `layer` reads other tokens, and it reads what `layer` would read once more.

    Relevance after `layer` is then what is read, to the last digit: the query sees every token.
    """
    layers = _layers(model)
    for other in layers:
        if other is not layers[layer]:
            _silence(other)
    asks, reads = layers[layer - 1], layers[layer]
    asks.self_attn.q_proj.weight.data *= sharpness
    reads.input_layernorm.load_state_dict(asks.input_layernorm.state_dict())
    for name in ("q_proj", "k_proj"):
        getattr(reads.self_attn, name).load_state_dict(getattr(asks.self_attn, name).state_dict())
    return model


def reads_until(last: int) -> Any:
    """A small thinker, see `read_until`."""
    return read_until(small_thinker(), last)


def reads_at(layer: int) -> Any:
    """A small thinker, see `read_at`."""
    return read_at(small_thinker(), layer)


def clip(model: nn.Module, seed: int) -> dict[str, Any]:
    """24 tokens of video and 107 of sound, of random features, in one prompt of 144 tokens."""
    parts = Text(5), Video((4, 4, 6), 1.0, mel_frames=430), Text(6)
    return build_prompt(model.config, *parts, seed=seed) | {"use_audio_in_video": True}


def sound(model: nn.Module, seed: int) -> dict[str, Any]:
    """Sound alone."""
    return build_prompt(model.config, Text(5), Audio(230), Text(6), seed=seed)


def written(model: nn.Module) -> dict[str, Any]:
    """Text alone."""
    return build_prompt(model.config, Text(9))


def parameters_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies, to compare with later."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def hooks_of(model: nn.Module) -> list[int]:
    """How many of each kind every module has, and what instances override."""
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    modules = list(model.modules())
    return [len(getattr(module, kind)) for module in modules for kind in kinds] + [
        len(module.__dict__) for module in modules
    ]
