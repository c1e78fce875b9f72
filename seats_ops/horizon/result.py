"""What `measure_horizon` returns: curves, and the layers and the picture that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from seats_ops.horizon.curves import Curves
from seats_ops.horizon.plot import plot
from seats_ops.horizon.suggestion import THRESHOLD, Suggestion, suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Horizon(Curves):
    """What the answers of a model lose by pruning after each of its layers; made by `measure_horizon`.

    Attributes:
        num_layers: of the decoder.
        layers: after which something left, 1-based and ascending; 0: before the first.
        modalities: among "video", "audio", "image", those that the prompts have.
        share: of every modality's tokens that relevance could keep.
        answer_tokens: places of an answer that were looked at, at most.
        seed: of the shuffles.
        tokens: per row, the first token of the full model's answer.
        labels: per row, or None.
        cells: (way, layer) -> what was measured. Ways: `MEDIA` and each modality alone: its tokens leave after the
            layer; `RELEVANCE`, `SHUFFLED`: a share of them stays, not for layer 0.

    Example:
        >>> from seats_ops.horizon import measure_horizon
        >>> horizon = measure_horizon(model, [inputs], layers=[0, 27])
        >>> horizon.modalities, sorted(horizon.cells)[:3]
        (('video', 'audio'), [('audio', 0), ('audio', 27), ('media', 0)])
    """

    def suggest(self, threshold: float = THRESHOLD) -> Suggestion:
        """Layers for `seats_ops.seats` that these rows speak for, see `Suggestion` for the rule.

        Args:
            threshold: agreement that a late drop has to leave, in (0, 1].

        Raises:
            ValueError: a threshold out of range.

        Example:
            >>> horizon.suggest().late_layer is None  # one prompt proves nothing
            True
        """
        return suggest(self, threshold)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: `cells` become a list with "way" and "layer".

        Example:
            >>> horizon.to_dict()["cells"][0]["way"]
            'media'
        """
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        cells = [{"way": way, "layer": layer, **asdict(cell)} for (way, layer), cell in self.cells.items()]
        return {**fields, "cells": cells}

    def plot(self, axes: Axes | None = None, *, ways: Sequence[str] | None = None, metric: str = "agreement") -> Axes:
        """Curves by layer, with the interval where there is one: of all media, of relevance and of shuffled scores.

        Args:
            axes: to draw on; None makes some.
            ways: some of `ways`; None: all that differ.
            metric: "agreement" or "kl".

        Raises:
            TypeError, ValueError: no axes, nothing such was measured. ImportError: no matplotlib.

        Example:
            >>> horizon.plot(ways=["media"], metric="kl").get_ylabel()
            'KL(full || pruned), nats'
        """
        return plot(self, axes, ways, metric)
