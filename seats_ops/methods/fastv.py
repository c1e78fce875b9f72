"""FastV and FastV-om: after an early layer, the tokens that the end of the prompt attends to most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.methods.arguments import num_layers, of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Budgeted, Ratio, Select
from seats_ops.operators.selectors import TopK
from seats_ops.operators.stage import BUDGETED, KeepRatio, num_kept
from seats_ops.operators.stored import Stored
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio, describe

LEAST_VIDEO = 0.05
"""Share of the video that keeping the audio whole leaves at least."""
FASTV = "FastV (arXiv 2403.06764), section 4, code read at d165972; in SEATS (arXiv 2605.20035), code read at c553732"


@dataclass(frozen=True)
class AudioOrder(Stored):
    """Relevance of video, and a random order for audio, to be taken from its start."""

    inputs: ClassVar[tuple[str, ...]] = ("scores", "generators")

    def __call__(
        self, scores: Tensor, layout: TokenLayout, *, generators: tuple[torch.Generator, ...], backend: str = "auto"
    ) -> Tensor:
        """float32 [T]."""
        ranked = scores.float().clone()
        groups = group_tokens(layout, "modality", [Modality.AUDIO])
        index, _ = groups.packed()
        for row, mine in zip(groups.row.tolist(), index.split(groups.lengths.tolist()), strict=True):
            drawn = torch.randperm(len(mine), generator=generators[row], device="cpu")
            places = -torch.arange(len(mine), dtype=torch.float32, device="cpu")
            ranked[mine[drawn].to(ranked.device)] = places.to(ranked.device)
        return ranked


@dataclass(frozen=True)
class AudioIntact(Stored):
    """As many tokens of both modalities as two shares ask for, averaged over layers, taken from the video first.

    T = int(video * V + audio * A) tokens of a prompt's V and A: the video's share is (T - A) / V; one below 5 % becomes
    5 %, and the audio's is what that leaves. Both are at most 1. A prompt without audio or video has the shares given.

    Attributes:
        video, audio: shares averaged over layers.
        layer: after which tokens go.
        num_layers: of the decoder.
    """

    video: float
    audio: float
    layer: int
    num_layers: int

    def shares(self, num_video: int, num_audio: int) -> tuple[float, float]:
        """(video, audio) averaged over layers, of one prompt."""
        if not num_video or not num_audio:
            return self.video, self.audio
        total = int(num_video * self.video + num_audio * self.audio)
        video, audio = (total - num_audio) / num_video, 1.0
        if video < LEAST_VIDEO:
            video, audio = LEAST_VIDEO, (total - LEAST_VIDEO * num_video) / num_audio
        return min(video, 1.0), min(audio, 1.0)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`. A share that not even nothing after the layer reaches leaves one token."""
        left = dict(found)
        for name, share in zip(BUDGETED, self.shares(found["video"], found["audio"]), strict=True):
            later = (share * self.num_layers - self.layer) / (self.num_layers - self.layer)
            left[name] = num_kept(found[name], later)
        return left

    def __call__(self, scores: Tensor | None, layout: TokenLayout, *, backend: str = "auto") -> Budgeted:
        """Groups of video and audio; nothing is read from the device."""
        groups = group_tokens(layout, "modality", [Modality.VIDEO, Modality.AUDIO])
        names = [Modality(kind).name.lower() for kind in groups.modality.tolist()]
        found = [dict.fromkeys(BUDGETED, 0) for _ in range(layout.num_rows)]
        for row, name, length in zip(groups.row.tolist(), names, groups.lengths.tolist(), strict=True):
            found[row][name] = length
        left = [self.count_tokens(counts) for counts in found]
        budgets = [left[row][name] for row, name in zip(groups.row.tolist(), names, strict=True)]
        return Budgeted(groups, torch.tensor(budgets, dtype=torch.int64, device="cpu"))


def after_layer(name: str, share: float, layer: int, total: int) -> float:
    """The share kept after a layer for one averaged over `total` layers. ValueError: it cannot be reached."""
    later = (check_ratio(name, share) * total - layer) / (total - layer)
    if later < 0:
        raise ValueError(f"{name}: expected at least {layer} / {total}, layers that see all tokens, got {share}")
    return later


def _depth(config: Any, layer: int) -> int:
    total = num_layers(config)
    if type(layer) is not int or not 1 <= layer < total:
        raise ValueError(f"layer: expected an int from 1 to {total - 1}, got {describe(layer)}")
    return total


@register_method(
    "fastv",
    Protocol(
        ratio="variant seats: averaged over all layers; original: kept after the layer; a number is for video",
        group="modality of a prompt",
        score="seats: attention of the last text token by the layer's own norm and projections on its output, all keys "
        "seen; original: the layer's attention as it ran, last row; mean over heads",
        kv="sliced",
        audio="stays; seats, with a ratio: random tokens of it go where the video cannot give enough",
        minimum="1; seats with a ratio for audio: 1 also where the video's share is below what the first layers see",
        chance="deterministic; seeded where audio goes",
    ),
    FASTV,
)
def fastv(config: Any, ratio: KeepRatio, *, layer: int = 2, variant: str = "seats") -> Schedule:
    """The video tokens that the last text token attends to most.

    Args:
        config: says how many layers there are.
        ratio: see the protocol line. A mapping with audio says how many tokens are to go together: audio stays whole
            while the video can give them.
        layer: 1-based, after which tokens go.
        variant: "seats", FastV as SEATS compares with it, or "original".

    Raises:
        ValueError: a ratio below the layers before the drop, a layer there is not, another variant.
    """
    total, ratios = _depth(config, layer), of_video(ratio)
    if variant == "original":
        return Schedule(after_layer={layer: Select(Relevance(weights="attention"), Ratio(ratios))})
    if variant != "seats":
        raise ValueError(f"variant: expected seats or original, got {variant!r}")
    later = {name: after_layer(name, share, layer, total) for name, share in ratios.items()}
    if "audio" not in ratios:
        return Schedule(after_layer={layer: Select(Relevance(), Ratio(later))})
    if set(ratios) != set(BUDGETED):
        raise ValueError(f"ratio: expected one for audio together with one for video alone, got {sorted(ratios)}")
    budget = AudioIntact(ratios["video"], ratios["audio"], layer, total)
    return Schedule(after_layer={layer: Select(AudioOrder(), budget, TopK())})


@register_method(
    "fastv-om",
    Protocol(
        ratio="averaged over all layers; a number is for video and audio",
        group="modality of a prompt",
        score="attention of the last text token by the layer's own norm and projections on its output, all keys seen, "
        "mean over heads",
        kv="sliced",
    ),
    FASTV,
)
def fastv_om(config: Any, ratio: KeepRatio, *, layer: int = 2) -> Schedule:
    """The tokens of every modality that the last text token attends to most.

    Args:
        config: says how many layers there are.
        ratio: a mapping for the modalities it names.
        layer: 1-based, after which tokens go.

    Raises:
        ValueError: a ratio below the layers before the drop, a layer there is not.
    """
    total = _depth(config, layer)
    ratios = ratio if isinstance(ratio, Mapping) else dict.fromkeys(BUDGETED, ratio)
    later = {name: after_layer(name, share, layer, total) for name, share in ratios.items()}
    return Schedule(after_layer={layer: Select(Relevance(), Ratio(later))})
