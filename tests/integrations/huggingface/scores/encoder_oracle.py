"""Keys, mean and pooled saliency once more, in plain loops and float64, from what eager towers computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.integrations.huggingface.oracle_inputs import encoded_audio
from tests.integrations.huggingface.prompt.prompt_tokens import audio_tokens
from tests.integrations.huggingface.scores.saliency_oracle import Segment, last_block_segments, window_order
from tests.integrations.huggingface.upstream import audio_tower, vision_tower

Rows = tuple[Tensor, Tensor]  # query, key [H, n, d]


def before_rotary(attention: nn.Module, run: Callable[[], Any]) -> Rows:
    """From the attention's input and its weights."""
    inputs: list[Tensor] = []
    handle = attention.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        run()
    handle.remove()
    hidden = inputs[-1].detach().reshape(-1, inputs[-1].shape[-1]).double()

    def project(name: str) -> Tensor:
        linear = getattr(attention, name)
        bias = 0 if linear.bias is None else linear.bias.double()
        return (hidden @ linear.weight.double().T + bias).detach()

    if hasattr(attention, "qkv"):
        query, key, _ = project("qkv").chunk(3, -1)
    else:
        query, key = (project(name if hasattr(attention, name) else f"{name}_proj") for name in "qk")
    return tuple(x.view(len(x), attention.num_heads, -1).transpose(0, 1) for x in (query, key))


def groups(count: int, size: int) -> list[slice]:
    """Whole groups of `size` neighbours."""
    return [slice(i * size, (i + 1) * size) for i in range(count // size)]


def mean_saliency(rows: Rows, items: list[int], merged: int) -> Tensor:
    """Of every token: the mean of a group's columns of the softmax over the item, over heads and all queries."""
    query, key = rows
    found, start = [], 0
    for length in items:
        here = slice(start, start + length)
        weights = torch.zeros(length, length, dtype=torch.float64)
        for head in range(len(query)):
            weights += (query[head, here] @ key[head, here].T / query.shape[-1] ** 0.5).softmax(-1) / len(query)
        column = weights.mean(0)
        found += [column[group].mean() for group in groups(length, merged)]
        start += length
    return torch.stack(found)


def pooled_saliency(rows: Rows, frames: list[int], merged: int) -> Tensor:
    """Of every token: what the mean query of its frame sees of the mean keys of the frame's tokens."""
    query, key = rows
    found, start = [], 0
    for length in frames:
        here = slice(start, start + length)
        tokens = groups(length, merged)
        seen = torch.zeros(len(tokens), dtype=torch.float64)
        for head in range(len(query)):
            mean = query[head, here].mean(0)
            logits = torch.stack([mean @ key[head, here][token].mean(0) for token in tokens]) / query.shape[-1] ** 0.5
            seen += logits.softmax(0) / len(query)
        found.append(seen)
        start += length
    return torch.cat(found)


def mean_keys(rows: Rows, items: list[int], merged: int) -> Tensor:
    """[tokens, d]."""
    found, start = [], 0
    for length in items:
        found += [rows[1][:, start : start + length][:, group].mean((0, 1)) for group in groups(length, merged)]
        start += length
    return torch.stack(found)


def _joined(segments: list[Segment]) -> Rows:
    return tuple(torch.cat([segment[i] for segment in segments], 1) for i in (0, 1))


def of_pictures(thinker: nn.Module, pixels: Tensor, grids: Tensor) -> dict[str, Tensor]:
    """By input, in the order of the prompt."""
    tower, shapes = vision_tower(thinker), grids.tolist()
    run, attention = functools.partial(tower, pixels, grid_thw=grids), tower.blocks[-1].attn
    rotated, plain = _joined(last_block_segments(attention, run)), before_rotary(attention, run)
    merged = tower.spatial_merge_size**2
    items, frames = [t * h * w for t, h, w in shapes], [h * w for t, h, w in shapes for _ in range(t)]
    found = {
        "saliency:mean": mean_saliency(rotated, items, merged),
        "saliency:pooled": pooled_saliency(plain, frames, merged),
        "keys": mean_keys(rotated, items, merged),
    }
    if not hasattr(tower.config, "window_size"):
        return found
    order = torch.tensor(window_order(tower.config, shapes))
    return {name: x[order.argsort()] for name, x in found.items()}


def of_sounds(thinker: nn.Module, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """By input, in the order of the prompt. A sound is one frame."""
    tower, mel = audio_tower(thinker), mask.sum(1).tolist()
    run, attention = functools.partial(encoded_audio, tower, features, mask), tower.layers[-1].self_attn
    rows = _joined(last_block_segments(attention, run))
    merged = 2 if tower.config.model_type.startswith("qwen2_5") else 1
    items = [(n + 1) // 2 if merged == 2 else audio_tokens(thinker.config, n) for n in mel]
    return {
        "saliency:mean": mean_saliency(rows, items, merged),
        "saliency:pooled": pooled_saliency(rows, items, merged),
        "keys": mean_keys(rows, items, merged),
    }


def of_prompt(thinker: nn.Module, inputs: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """By modality and input."""
    found = {}
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if pixels in inputs:
            grid = "image_grid_thw" if kind == "image" else "video_grid_thw"
            found[kind] = of_pictures(thinker, inputs[pixels], inputs[grid])
    if "input_features" in inputs:
        found["audio"] = of_sounds(thinker, inputs["input_features"], inputs["feature_attention_mask"])
    return found
