"""Stages made of stages: one after another on the same tokens, each knowing what the earlier ones keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.own_work import added, own_macs_of
from seats_ops.operators.part_counts import bounds_left, least_certain, rest_of, tokens_left
from seats_ops.operators.parts import Parts, decide, joined, shown_of
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES, Stage
from seats_ops.operators.stage_checks import check_stage_type
from seats_ops.operators.stored import Stored


@dataclass(frozen=True)
class Both(Parts, Stored):
    """Two stages in one: a token goes only if both drop it.

    The second one sees all tokens too, and as "kept" what the first keeps of them. Merges of both are added up; a row
    that both merge is refused.

    Attributes:
        first, second: any stages.
        on_the_rest: the second one is shown only what the first drops, and text, and its choice is added.

    Example:
        >>> from seats_ops import Both, DiversitySelector
        >>> stage = Both(DiversitySelector(0.1), DiversitySelector(0.1, weighted=False), on_the_rest=True)
        >>> stage.inputs
        ('features', 'saliency')
    """

    first: Stage
    second: Stage
    on_the_rest: bool = False

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            check_stage_type(name, getattr(self, name))
        self.check_rules("second")

    @property
    def parts(self) -> tuple[Stage, ...]:
        """See `Parts`."""
        return self.first, self.second

    @property
    def count_kind(self) -> str:
        """ "data" for a union, of which nobody knows how far two choices agree; else the less certain of both."""
        return least_certain(self.first, self.second) if self.on_the_rest else "data"

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`; of a union as if the two chose independently. Raises as the parts, TypeError for one without it.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> tenth, fifth = (Select(None, Ratio(share), Strided()) for share in (0.1, 0.2))
            >>> Both(tenth, fifth, on_the_rest=True).count_tokens({"text": 5, "video": 100, "audio": 0, "image": 0})
            {'text': 5, 'video': 28, 'audio': 0, 'image': 0}
        """
        shown = rest_of(self.first, found) if self.on_the_rest else found
        left, more = tokens_left(self.first, found), tokens_left(self.second, shown)
        for name, n in found.items():
            both = 0.0 if self._adds(name) else left[name] * more[name] / max(1, n)
            left[name] += more[name] - round(both)
        return left

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """See `Stage`; of a union the larger choice, and both together.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> tenth, fifth = (Select(None, Ratio(share), Strided()) for share in (0.1, 0.2))
            >>> Both(tenth, fifth).count_bounds({"text": 5, "video": 100, "audio": 0, "image": 0})["video"]
            (20, 30)
        """
        first = bounds_left(self.first, found)
        if self.on_the_rest and least_certain(self.first) not in ("shape", "reconciled"):
            return {name: (least, found[name]) for name, (least, _) in first.items()}
        second = bounds_left(self.second, rest_of(self.first, found) if self.on_the_rest else found)
        bounds = {}
        for name, n in found.items():
            (least, most), (more, at_most) = first[name], second[name]
            bounds[name] = (least + more if self._adds(name) else max(least, more), min(n, most + at_most))
        return bounds

    def _adds(self, name: str) -> bool:
        """Whether no token of a modality is shown to both."""
        return self.on_the_rest and name in MEDIA

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of both; None where one does not say, or what the first leaves to the second is not known.

        Example:
            >>> from seats_ops.operators.own_work import Sizes
            >>> found = {"text": 5, "video": 100, "audio": 0, "image": 0}
            >>> stage.own_macs(found, Sizes(hidden=1, attention_width=1, kv_width=1, encoders={})) is None
            True
        """
        try:
            shown = rest_of(self.first, found) if self.on_the_rest else found
        except (TypeError, ValueError):
            return None
        return added([own_macs_of(self.first, found, sizes), own_macs_of(self.second, shown, sizes)])

    def call_parts(self, layout: TokenLayout, tensors: Mapping[str, Any], *, backend: str = "auto") -> Selection:
        """See `Stage.__call__`; inputs by their full names.

        Example:
            >>> import torch
            >>> from seats_ops import TokenLayout
            >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
            >>> given = {"features": torch.eye(5), "saliency": torch.tensor([0.1, 0.4, 0.3, 0.2, 0.0])}
            >>> stage.call_parts(layout, given).keep_mask  # the most salient, and one of the rest
            tensor([ True,  True, False, False,  True])
        """
        first = decide(self.first, layout, tensors, backend)
        if not self.on_the_rest:
            second = decide(self.second, layout, {**tensors, "kept": first.keep_mask}, backend)
            return joined(layout, first.keep_mask | second.keep_mask, first, second)
        # Text is shown again: it may be the query, and nobody drops it.
        rest = ~first.keep_mask | layout.is_modality(Modality.TEXT)
        second = decide(self.second, layout.select(rest), shown_of(tensors, rest), backend)
        at = rest.nonzero().squeeze(1)
        merge, stands_for = second.merge, second.multiplicity
        if merge is not None:
            merge = Merge(at[merge.target], at[merge.source], merge.coefficient)
        if stands_for is not None:
            stands_for = stands_for.new_ones(len(rest)).index_copy(0, at, stands_for)
        shown = torch.zeros_like(rest).index_copy(0, at, second.keep_mask)
        return joined(layout, first.keep_mask | shown, first, Selection(shown, merge=merge, multiplicity=stands_for))


@dataclass(frozen=True)
class PerModality(Parts, Stored):
    """A stage for each modality, in order; what a modality has none for stays.

    Each sees all tokens, decides about its own, and is told as "kept" what the earlier ones keep.

    Attributes:
        stages: (modality, stage) in the order in which they decide; a mapping is taken for one.

    Example:
        >>> from seats_ops import DiversitySelector, PerModality
        >>> PerModality({"video": DiversitySelector(0.1), "audio": DiversitySelector(0.5, weighted=False)}).inputs
        ('features', 'saliency')
    """

    stages: Any
    known: ClassVar[tuple[str, ...]] = tuple(m.name.lower() for m in MEDIA_MODALITIES)

    def __post_init__(self) -> None:
        given = tuple(self.stages.items() if isinstance(self.stages, Mapping) else self.stages)
        pairs = tuple((str(name), check_stage_type(f"stages[{name!r}]", stage)) for name, stage in given)
        names = [name for name, _ in pairs]
        if not set(names) <= set(self.known) or len(set(names)) != len(names):
            raise ValueError(f"stages: expected modalities among {self.known}, each once, got {names}")
        object.__setattr__(self, "stages", pairs)
        self.check_rules("stages")

    @property
    def parts(self) -> tuple[Stage, ...]:
        """See `Parts`."""
        return tuple(stage for _, stage in self.stages)

    @property
    def count_kind(self) -> str:
        """The least certain of its stages."""
        return least_certain(*self.parts)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`. Raises as the parts, TypeError for one without it.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.count_tokens({"text": 5, "video": 100, "audio": 20, "image": 0})
            {'text': 5, 'video': 10, 'audio': 20, 'image': 0}
        """
        left = dict(found)
        for name, stage in self.stages:
            left[name] = tokens_left(stage, found)[name]
        return left

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """See `Stage`.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.count_bounds({"text": 5, "video": 100, "audio": 20, "image": 0})["video"]
            (10, 10)
        """
        bounds = {name: (n, n) for name, n in found.items()}
        for name, stage in self.stages:
            bounds[name] = bounds_left(stage, found)[name]
        return bounds

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of all; None where one does not say.

        Example:
            >>> from seats_ops import Ratio, Select
            >>> from seats_ops.operators.selectors import Strided
            >>> stage = PerModality({"video": Select(None, Ratio(0.1), Strided())})
            >>> stage.own_macs({"text": 5, "video": 100, "audio": 20, "image": 0}, None)
            0
        """
        return added(own_macs_of(stage, found, sizes) for _, stage in self.stages)

    def call_parts(self, layout: TokenLayout, tensors: Mapping[str, Any], *, backend: str = "auto") -> Selection:
        """See `Stage.__call__`; inputs by their full names.

        Example:
            >>> import torch
            >>> from seats_ops import Ratio, Select, TokenLayout
            >>> from seats_ops.operators.selectors import Strided
            >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
            >>> stage = PerModality({"video": Select(None, Ratio(0.5), Strided())})
            >>> stage.call_parts(layout, {}).keep_mask
            tensor([ True, False, False,  True,  True])
        """
        keep_mask, parts = torch.ones_like(layout.modality, dtype=torch.bool), []
        for name, stage in self.stages:
            found = decide(stage, layout, {**tensors, "kept": keep_mask}, backend)
            mine = layout.is_modality(Modality[name.upper()])
            keep_mask = torch.where(mine, found.keep_mask, keep_mask)
            merge = found.merge
            if merge is not None:
                own = mine[merge.target]
                merge = Merge(*(part[own] for part in merge))
            parts.append(Selection(found.keep_mask & mine, merge=merge, multiplicity=found.multiplicity))
        return joined(layout, keep_mask, *parts)
