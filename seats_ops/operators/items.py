"""The videos and pictures of a layout as wholes, for rules that look at their frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from seats_ops.layout import Groups, MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.operators.found import no_shapes


class Item(NamedTuple):
    """One video, sound or picture of which nothing was dropped.

    Attributes:
        row: its prompt.
        shape: t grids of h * w tokens.
        tokens: int64 [t * h * w] on the host, its tokens in the layout, grid by grid.
    """

    row: int
    shape: MediaShape
    tokens: Tensor

    @property
    def grid(self) -> int:
        """Tokens of a frame."""
        return self.shape.h * self.shape.w


def whole_items(who: str, layout: TokenLayout, kinds: Iterable[Modality] = (Modality.VIDEO,)) -> list[Item]:
    """The items of some modalities, in the order of the layout.

    Raises:
        ValueError: a layout without grid and shapes, an item of which a token is missing.

    Example:
        >>> import torch
        >>> from seats_ops.layout import Groups, MediaShape, Modality, TokenLayout
        >>> from seats_ops.operators.items import whole_items
        >>> grid = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [-1, -1, -1, -1]])
        >>> shapes = (MediaShape(Modality.VIDEO, 2, 1, 1),)
        >>> offsets = torch.tensor([0, 3])
        >>> layout = TokenLayout(torch.tensor([1, 1, 0]), torch.arange(3), offsets, grid=grid, shapes=shapes)
        >>> whole_items("Mine", layout)[0].tokens.tolist()
        [0, 1]
    """
    plan = layout.plan()
    if plan.grid is None or plan.shapes is None:
        raise ValueError(f"{who}: expected a layout with grid and shapes, got one without")
    groups = group_tokens(plan, "item", kinds)
    tokens_of, found = groups.packed()[0].split(groups.lengths.tolist()), []
    for row, tokens, shape in zip(groups.row.tolist(), tokens_of, shapes_of(groups, plan), strict=True):
        if len(tokens) != shape.num_tokens:
            raise ValueError(f"{who}: expected all {shape.num_tokens} tokens of {shape}, got {len(tokens)}")
        found.append(Item(row, shape, tokens))
    return found


def found_shapes(who: str, found: Mapping[str, Any], *kinds: Modality) -> list[MediaShape]:
    """The items of a prompt to be counted, see `seats_ops.Stage`. Raises ValueError: nobody knows them any more."""
    shapes = getattr(found, "shapes", None)
    if shapes is None:
        if not any(found[kind.name.lower()] for kind in kinds):
            return []
        raise ValueError(f"{who}: expected the shapes of all items to count tokens, got {no_shapes(found)}")
    return [shape for shape in shapes if shape.modality in kinds]


def shapes_of(groups: Groups, layout: TokenLayout) -> list[MediaShape]:
    """The item that the first token of every group is of. Raises ValueError: a layout without grid and shapes.

    Example:
        >>> from seats_ops.layout import group_tokens
        >>> from seats_ops.operators.items import shapes_of
        >>> shapes_of(group_tokens(layout, "frame"), layout) == [shapes[0]] * 2
        True
    """
    plan = layout.plan()
    if plan.grid is None or plan.shapes is None:
        raise ValueError("layout: expected one with grid and shapes, got None")
    index, offsets = groups.packed()
    return [plan.shapes[item] for item in plan.grid[index[offsets[:-1].long()], 0].tolist()]


class CountedVideos(ABC):
    """Counts of a stage that thins whole videos, from what it leaves of one.

    A class with it says `count_video(shape)`: (expected, least, most) tokens.
    """

    @abstractmethod
    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See above."""

    def _counted(self, found: Mapping[str, int]) -> list[tuple[int, int, int]]:
        return [self.count_video(shape) for shape in found_shapes(type(self).__name__, found, Modality.VIDEO)]

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        return {**found, "video": sum(max(least, min(most, n)) for n, least, most in self._counted(found))}

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """See `Stage`."""
        counted = self._counted(found)
        video = (sum(least for _, least, _ in counted), sum(most for _, _, most in counted))
        return {name: (n, n) for name, n in found.items()} | {"video": video}
