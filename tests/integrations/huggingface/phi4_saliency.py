"""Saliency of Phi-4's sounds and pictures from what its eager encoders computed, item by item, in plain loops."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

WINDOW = 25  # positions in two seconds


@dataclass(frozen=True)
class Attention:
    """What an encoder attended to: query, key [N, H, P, d], what was added to the logits, weights [N, H, P, P]."""

    query: Tensor
    key: Tensor
    added: Tensor | None
    weights: Tensor


@torch.no_grad()
def watched(attention: nn.Module, run: Callable[[], Any]) -> Attention:
    """What an eager attention computed while `run` ran."""
    found: list[Attention] = []
    modeling: Any = sys.modules[type(attention).__module__]
    original = modeling.simple_eager_attention_forward

    def recording(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        output, weights = original(module, query, key, value, mask, **options)
        if module is attention:
            added = None if mask is None else mask.double()
            found.append(Attention(query.double(), key.double(), added, weights.double()))
        return output, weights

    with mock.patch.object(modeling, "simple_eager_attention_forward", recording):
        run()
    (only,) = found
    return only


def phi4_audio_saliency(pristine: nn.Module, inputs: dict[str, Any], windows: str) -> Tensor:
    """`[audio tokens]` float64; `windows` is "paper" (25 positions, anew for each audio) or "encoder"."""
    tower = pristine.model.embed_tokens_extend.audio_embed.encoder
    features, mask = inputs["audio_input_features"], inputs.get("audio_attention_mask")
    seen = watched(tower.encoders[-1].self_attn, lambda: tower(features, mask))
    assert seen.added is not None
    received = []
    for sound, length in enumerate(inputs["audio_embed_sizes"].tolist()):
        # Each chunk of 500 positions was a sequence of its own.
        chunks, size = seen.query.shape[0] // len(features), seen.query.shape[2]
        for chunk in range(chunks):
            n, heard = sound * chunks + chunk, min(size, length - chunk * size)
            if windows == "encoder":
                received.append(seen.weights[n].mean(0)[:heard].sum(0)[:heard])
                continue
            for start in range(0, heard, WINDOW):
                here = slice(start, min(start + WINDOW, heard))
                q, k = seen.query[n, :, here], seen.key[n, :, here]
                logits = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + seen.added[n, :, here, here]
                received.append(logits.softmax(-1).mean(0).sum(0))
    return torch.cat(received)


def phi4_image_saliency(pristine: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """`[image tokens]` float64: line breaks have the mean of their row, separators that of the picture."""
    tower = pristine.model.embed_tokens_extend.image_embed
    pixels, masks = inputs["image_pixel_values"], inputs["image_attention_mask"].bool()
    attention = tower.img_processor.encoder.layers[-2].self_attn
    seen = watched(attention, lambda: tower.img_processor(pixels.flatten(0, 1), masks.flatten(0, 1)))
    crops = masks.shape[1]
    tokens: list[Tensor] = []
    for n, (mask, size) in enumerate(zip(masks, inputs["image_sizes"].tolist(), strict=True)):
        down, across = size[0] // tower.crop_size, size[1] // tower.crop_size
        maps = [
            _merged(seen.weights[n * crops + crop].mean(0)[mask[crop].flatten()].sum(0), mask.shape[-1])
            for crop in range(1 + down * across)
        ]
        rows = [torch.cat(maps[1 + r * across : 1 + (r + 1) * across], 1) for r in range(down)]
        height, width = _extent(mask[1 : 1 + down * across], down, across)
        picture = torch.cat(rows)[: -(-height // 2), : -(-width // 2)]
        tokens += [*_lines(picture), picture.mean()[None], *_lines(maps[0])]
    return torch.cat(tokens)


def _merged(patches: Tensor, side: int) -> Tensor:
    """Means of 2 x 2 patches; where one is missing at an edge, the last but one stands in for it."""
    places = [*range(side), *[side - 2] * (side % 2)]
    return patches.view(side, side)[places][:, places].unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).mean((1, 3))


def _extent(masks: Tensor, down: int, across: int) -> tuple[int, int]:
    """Patches from top to bottom and from left to right that belong to the picture."""
    whole = torch.cat([torch.cat(list(masks[r * across : (r + 1) * across]), 1) for r in range(down)])
    return int(whole.any(1).sum()), int(whole.any(0).sum())


def _lines(grid: Tensor) -> list[Tensor]:
    return [torch.cat([row, row.mean()[None]]) for row in grid]
