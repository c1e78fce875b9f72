"""What a stage finds that is asked how many tokens it leaves, see `seats_ops.Stage`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from seats_ops.layout import MediaShape


class Found(dict[str, int]):
    """Tokens by "text", "video", "audio" and "image", and what a stage may count by beside them.

    Attributes:
        shapes: the prompt's items; None where nobody said, and once a stage has thinned them.
        before: tokens by modality before any stage.
        blocks: tokens of every Stage I block, by modality; those missing of which more than lengths decides.
    """

    def __init__(
        self,
        tokens: Mapping[str, int],
        shapes: tuple[MediaShape, ...] | None,
        before: Mapping[str, int],
        blocks: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ):
        super().__init__(tokens)
        self.shapes = shapes
        self.before = dict(before)
        self.blocks = dict(blocks)


def no_shapes(found: Mapping[str, int]) -> str:
    """Why there are no shapes of items, for messages."""
    before = getattr(found, "before", None)
    return "none" if before in (None, found) else "none: a stage before has thinned them"
