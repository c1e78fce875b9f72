"""What one ratio of a schedule means: the share of media tokens that enters, that layers see, and that is left."""

from __future__ import annotations

from dataclasses import dataclass

from seats_ops.cost.counts import check_last_layer, token_counts, tokens_per_layer
from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int


@dataclass(frozen=True)
class Retained:
    """Shares of the encoder's tokens, video, audio and images together.

    Attributes:
        entering: before the first layer.
        layer_average: over all layers, which is what the SEATS paper calls retention.
        final: after the last stage.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, retained
        >>> halfway = Schedule(after_layer={14: ModalityDropper(("video",))})
        >>> retained(halfway, PromptLengths(text=20, video_blocks=(100,)), num_layers=28)
        Retained(entering=1.0, layer_average=0.5, final=0.0)
    """

    entering: float
    layer_average: float
    final: float


def retained(schedule: Schedule, lengths: PromptLengths, num_layers: int) -> Retained:
    """The three shares for one prompt; a prediction where `token_counts` is one.

    Raises:
        TypeError, ValueError: as `token_counts`, a prompt without media, a stage after a layer that does not exist.

    Example:
        >>> from seats_ops import Ratio, Schedule, Select
        >>> from seats_ops.cost import PromptLengths, retained
        >>> from seats_ops.operators.selectors import Strided
        >>> tenth = Schedule(Select(None, Ratio(0.1), Strided()))
        >>> retained(tenth, PromptLengths(text=20, video_blocks=(100,)), num_layers=28).layer_average
        0.1
    """
    check_int("num_layers", num_layers, 1)
    before = lengths.total - lengths.text
    if not before:
        raise ValueError("lengths: expected a prompt with video, audio or images, got text alone")
    counts = token_counts(schedule, lengths)
    check_last_layer(counts, num_layers)
    *seen, last = tokens_per_layer(before, [(count.layer, count.total - count.text) for count in counts], num_layers)
    return Retained(seen[0] / before, sum(seen) / (before * num_layers), last / before)
