"""The protocol of stages and allocators, and what those of this package share: ratios per modality and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from seats_ops.layout import Modality, TokenLayout

KeepRatio = float | Mapping[str, float]
BUDGETED = ("video", "audio")
MEDIA_MODALITIES = (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)
MEDIA = tuple(modality.name.lower() for modality in MEDIA_MODALITIES)
INPUTS = ("features", "saliency", "scores")


@runtime_checkable
class Stage(Protocol):
    """What a schedule runs: a frozen dataclass that turns a `TokenLayout` and some tensors into a keep mask.

    `seats_ops.testing.check_stage` tells what is wrong with one. It must have:

    - `inputs`, an attribute of the class or, where settings decide, a property: a tuple of names among "features"
      ([T, D]: embeddings before the LLM, hidden states after a layer), "saliency" (float32 [T], 0 for text) and
      "scores" (float32 [T], relevance to the query; only after a layer).
    - `__call__`, called as `stage(first_input, layout, second_input=..., backend=...)`, without the inputs that it does
      not name. It returns a bool [T] keep mask on the layout's device, or a pair of that and the budgets behind it,
      int64 [W, 2] of (video, audio) per window, for the trace. Equal inputs give equal masks, prompts of a batch do
      not influence each other, nothing that it is given changes, and every prompt keeps its last text token: the query.
    - `to_dict`, its settings as JSON. The schedule adds the name of the class as "type".

    It may have, and nothing else means anything by its name:

    - `from_dict`, a class method: the inverse, called by `Schedule.from_dict(data, types=[...])`.
    - `count_tokens(found)`, for `seats_ops.cost`: what it leaves of a prompt of which it finds `found`, both tokens by
      "text", "video", "audio" and "image". Only for a stage where these numbers alone decide.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> from seats_ops import Modality, Schedule, Stage, TokenLayout
        >>> @dataclass(frozen=True)
        ... class EverySecond:
        ...     inputs = ()
        ...     def __call__(self, layout, *, backend="auto"):
        ...         return (layout.position % 2 == 0) | layout.is_modality(Modality.TEXT)
        ...     def to_dict(self):
        ...         return {}
        >>> isinstance(EverySecond(), Stage)
        True
        >>> print(EverySecond()(TokenLayout(torch.tensor([1, 1, 1, 0]), torch.arange(4), torch.tensor([0, 4]))))
        tensor([ True, False,  True,  True])
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, Tensor]: ...

    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class Allocator(Protocol):
    """Tells a `StagePruner` how many tokens every window may keep: a frozen dataclass, or any function.

    It is called as `allocator(scores, layout, keep_ratio, backend=...)` and returns budgets, int64 [W, 2] of
    (video, audio) per window id of `layout.windows()`, none below zero, on the device of the scores. It may have:

    - `to_dict` and `from_dict`, as a `Stage` has them; without them its schedule can be run, but not stored.
    - `count_tokens(found, keep_ratio)`, as a `Stage` has it: what the `StagePruner` leaves.

    Example:
        >>> import torch
        >>> from seats_ops import StagePruner, TokenLayout
        >>> def two_each(scores, layout, keep_ratio, *, backend="auto"):
        ...     return torch.full((layout.windows()[1], 2), 2, device=scores.device)
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 2, 0]), torch.arange(5), torch.tensor([0, 5]))
        >>> StagePruner(0.5, allocator=two_each)(torch.tensor([0.1, 0.3, 0.2, 0.1, 0.0]), layout)
        tensor([False,  True,  True,  True,  True])
    """

    def __call__(
        self, scores: Tensor, layout: TokenLayout, keep_ratio: KeepRatio, *, backend: str = "auto"
    ) -> Tensor: ...


def ratio_of(keep_ratio: KeepRatio, modality: Modality) -> float | None:
    """The ratio that applies to one modality, None where it is left alone.

    A plain number speaks for video and audio, a mapping for the modalities it names.
    """
    name = modality.name.lower()
    if isinstance(keep_ratio, Mapping):
        return keep_ratio.get(name)
    return keep_ratio if name in BUDGETED else None


def budgeted_modalities(keep_ratio: KeepRatio) -> list[Modality]:
    """Of video and audio, those a Stage II ratio speaks for."""
    return [m for m in (Modality.VIDEO, Modality.AUDIO) if ratio_of(keep_ratio, m) is not None]


def num_kept(num_tokens: int, ratio: float) -> int:
    """max(1, min(n, round(ratio * n))), half to even on a float64 product; 0 of 0 tokens (SEATS section 3.1)."""
    return max(1, min(num_tokens, round(ratio * num_tokens))) if num_tokens else 0
