"""The protocol of stages and allocators, and what those of this package share: ratios per modality and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.selection import Selection

KeepRatio = float | Mapping[str, float]
BUDGETED = ("video", "audio")
MEDIA_MODALITIES = (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)
MEDIA = tuple(modality.name.lower() for modality in MEDIA_MODALITIES)
COUNT_KINDS = ("data", "shape", "reconciled", "text")
KV_RULES = ("sliced", "long")


@runtime_checkable
class Stage(Protocol):
    """What a schedule runs: a frozen dataclass that turns a `TokenLayout` and some tensors into a keep mask.

    `seats_ops.testing.check_stage` tells what is wrong with one. It must have:

    - `inputs`, an attribute of the class or, where settings decide, a property: a tuple of the names below. What no
      stage of a schedule names is not captured, and costs nothing.
    - `__call__`, called as `stage(first_input, layout, second_input=..., backend=...)`, without the inputs that it does
      not name. It returns a bool [T] keep mask on the layout's device, a pair of that and the budgets behind it,
      int64 [W, 2] of (video, audio) per window, for the trace, or a `Selection`, which may also give kept rows new
      values, positions, an order. Equal inputs give equal answers, prompts of a batch do not influence each other,
      nothing that it is given changes, and every prompt keeps its last text token: the query.
    - `to_dict`, its settings as JSON. The schedule adds the name of the class as "type".

    Inputs, all on the layout's device and about the tokens that are still there, unless said otherwise:

    - "features": [T, D], embeddings before the LLM, hidden states after a layer.
    - "previous": [T, D], the hidden states that the layer started from. After a layer only.
    - "embeddings": [T, D], the tokens as they entered the LLM, before any stage.
    - "saliency": float32 [T], attention received in the last layer of the encoder, mean over heads and over the patches
      of a token, 0 for text. "saliency:sum", which is the same, sums over the queries of a window of SEATS section 3.1;
      "saliency:mean" takes the mean over all queries of an item; "saliency:pooled" is the softmax over a frame of what
      its mean query sees, before rotary embedding (FastVID); "saliency:cls" is what a class token sees.
    - "keys": float32 [T, head_dim], keys of the last layer of the encoder, mean over heads and patches; 0 for text.
    - "scores": float32 [T], relevance to the query of the prompt: attention that a token gets, mean over heads, adding
      up to 1 over the prompt. After a layer only. "scores:QUERY/WEIGHTS" names both sides. QUERY: "last_text" (as
      without), "instruction" (the last token of the question), "text_mean" and "text_max" (mean and maximum over the
      tokens of the question), "rows" (mean over all text), "row[N]" (one of the tokens still there, at place N of the
      prompt as Python counts: "row[-1]" is the last). WEIGHTS: "own" (as without: the layer's norm and projections on
      its own output, all keys seen), "next" (the same of the layer to come), "attention" (the layer's attention as it
      ran, causal).
    - "external:NAME": what the caller gives under that name, [T, ...], passed as `NAME`.
    - "counts": int64 [B, 4] on the host, tokens of every `Modality` of a prompt before any stage.
    - "generators": a `torch.Generator` on the CPU for every prompt, all seeded with the stage's `seed`; of a
      stage made of stages, each has its own.
    - "kept": bool [T], what earlier parts of the same stage keep, see `seats_ops.Both`; all True elsewhere.
    - "grid", "seconds", "question": not passed; the layout has `grid` and `shapes`, `seconds`, `question`.

    It may have, and nothing else means anything by its name:

    - `from_dict`, a class method: the inverse, called by `Schedule.from_dict(data, types=[...])`, or without types for
      a class that is registered (`seats_ops.register_stage`).
    - `count_kind`: "shape": what it keeps can be counted before anything runs (as without, if it has `count_tokens`);
      "reconciled": a repair makes it so; "text": it depends on pixels and question; "data": on anything (as without).
    - `count_tokens(found)`, for `seats_ops.cost`: what it leaves of a prompt of which it finds `found`, both tokens by
      "text", "video", "audio" and "image". `found.shapes` are the prompt's items, None once a stage has thinned them;
      `found.before` the tokens before any stage. For "data" and "text" these are predictions, and
      `count_bounds(found)` gives the (least, most) of each.
    - `own_macs(found, sizes)`: multiply-adds of choosing from what it finds (`found` as above), leading terms of the
      products of rows it makes, merges included; None where it cannot say, as without. `sizes` has `hidden` (D),
      `attention_width` and `kv_width` of the decoder, and `encoders`, by "video", "audio" and "image", each with
      `width`, `heads`, `head_dim` and `merged`, positions that make a token. What is captured as an input is counted
      by its name, not here. A subclass that chooses otherwise says it anew.
    - `kv_rule`: "sliced" (default): the keys that earlier layers hold of dropped tokens go, as the policy of `attach`
      says; "long": they stay.
    - `merges`, `renumbers`: True for one that gives kept rows new values, or new positions.
    - `seed`: of its generators; 0 without one.
    - `is_scorer`: True for a `Scorer`, which is refused as a stage: it is a part of a `Select`.

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

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, Tensor] | Selection: ...

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


def count_kind_of(stage: object) -> str:
    """What a stage or an allocator says of its counts, or what it has says for it; see `Stage`."""
    return str(getattr(stage, "count_kind", "shape" if hasattr(stage, "count_tokens") else "data"))


def generators_of(stage: object, num_rows: int) -> tuple[torch.Generator, ...]:
    """What a stage gets as "generators": one on the CPU for every prompt, all seeded with the stage's `seed`."""
    seed = int(getattr(stage, "seed", 0))
    return tuple(torch.Generator(device="cpu").manual_seed(seed) for _ in range(num_rows))


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
