"""What the host must know of a call before its layers run, read from the device in one transfer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.guards.rows import text_positions

GRIDS = ("video_grid_thw", "image_grid_thw")


class HostCopies:
    """Ids, mask, positions, grids and lengths of sounds of one call, and the columns whose logits are asked for.

    Attributes:
        positions: `text_positions` of the call, or None.
        audio_lengths: integer [audios], mel frames of every sound as the model works them out, or None.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        mask = arguments.get("feature_attention_mask")
        lengths = arguments.get("audio_feature_lengths") if mask is None else mask.sum(1)
        positions = text_positions(arguments.get("position_ids"))
        names = ("input_ids", "attention_mask", "logits_to_keep", *GRIDS)
        candidates = [*(arguments.get(name) for name in names), lengths]
        tensors = [x for x in candidates if isinstance(x, Tensor) and not x.is_floating_point()]
        if positions is not None:
            tensors.append(positions)  # whole numbers, in some families as floats
        self._pairs = list(zip(tensors, _transfer(tensors), strict=True))
        self.audio_lengths = self.of(lengths) if isinstance(lengths, Tensor) else None
        self.positions = None if positions is None else self.of(positions)

    def of(self, tensor: Tensor) -> Tensor:
        """The same integers on the CPU; a read of its own for a tensor that is not one of the call's."""
        for known, host in self._pairs:
            if known is tensor:
                return host
        return tensor.cpu()


def _transfer(tensors: list[Tensor]) -> list[Tensor]:
    """Copies on the CPU; those of a device come in one piece."""
    away = [x for x in tensors if x.device.type != "cpu"]
    if not away:
        return tensors
    packed = torch.cat([x.flatten().to(away[0].device, torch.int64) for x in away]).cpu()
    pieces = iter(packed.split([x.numel() for x in away]))
    return [x if x.device.type == "cpu" else next(pieces).view(x.shape).to(x.dtype) for x in tensors]
