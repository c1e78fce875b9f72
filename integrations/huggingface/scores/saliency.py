"""What stages are told of an encoder tower: from q and k of its last attention, as the tower itself computed them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops.errors import UnsupportedModelState
from seats_ops.functional import attention_received
from seats_ops.integrations.encoder_values import received_within
from seats_ops.integrations.huggingface.hooks import Hooks
from seats_ops.validation import check_integers, check_values, describe

ATTRIBUTE = "seats_encoded"
SALIENCY_SEGMENTS = ("paper", "encoder")


@dataclass
class Captured:
    """What one forward of a tower left behind.

    Attributes:
        arguments: of the tower, by name.
        attention: arguments of its last attention module, by name.
        projected: outputs of the watched linear layers by name, [..., H * D].
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    attention: dict[str, Any] = field(default_factory=dict)
    projected: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """Rides on a tower's output object, from where the encoder ran to where the LLM consumes it.

    Attributes:
        num_tokens: tokens the tower produced.
        values: float32 [num_tokens] or [num_tokens, d] in LLM order, by the full name of an input; what is asked for.
        grid_thw: integer [items, 3] for a vision tower that has grids, else None.
        lengths: tokens of every item, where no text needs to stand between two of them; else None.
    """

    num_tokens: int
    values: Mapping[str, Tensor]
    grid_thw: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    @property
    def saliency(self) -> Tensor | None:
        """float32 [num_tokens], or None if nobody needs it."""
        return self.values.get("saliency")


def encoded_in(output: Any) -> Encoded | None:
    """What rides on an encoder's output."""
    return getattr(output, ATTRIBUTE, None)


def set_saliency(output: Any, saliency: Tensor, grid_thw: Tensor | None = None) -> None:
    """Give precomputed encoder outputs the saliency that weighs their tokens, for `attach`.

    Args:
        output: what `get_video_features`, `get_image_features` or `get_audio_features` returned; goes into
            `mm_encoder_outputs`.
        saliency: float [N], one number per token of the LLM in reading order, e.g. attention received.
        grid_thw: integer [items, 3] patches before merging; needed for videos and images.

    Raises:
        TypeError, ValueError: not a tensor of that kind or shape.

    Example:
        >>> import torch
        >>> from seats_ops.integrations import set_saliency
        >>> grid = inputs["video_grid_thw"]
        >>> encoded = model.get_video_features(inputs["pixel_values_videos"], grid)
        >>> set_saliency(encoded, torch.ones(sum(map(len, encoded.pooler_output))), grid)
        >>> media = {"video": encoded}  # for model(..., mm_encoder_outputs=media)
    """
    check_values("saliency", saliency, 1)
    if grid_thw is not None and check_integers("grid_thw", grid_thw, 2).shape[1] != 3:
        raise ValueError(f"grid_thw: expected [items, 3], got {describe(grid_thw)}")
    setattr(output, ATTRIBUTE, Encoded(saliency.shape[0], {"saliency": saliency.detach().float()}, grid_thw))


@dataclass(frozen=True)
class SaliencyOptions:
    """How saliency is computed.

    Attributes:
        segments: attention windows, "paper" (SEATS section 3.1) or "encoder" (those the tower itself attends in).
        asked: full names of the inputs that stages ask of towers; without any, q and k are not captured.
        backend: of the primitive.
        grids_per_window: temporal grids in one of the paper's windows.
    """

    segments: str
    asked: frozenset[str]
    backend: str
    grids_per_window: int = 2

    @property
    def needed(self) -> bool:
        """Some stage asks."""
        return bool(self.asked)

    def received(
        self, query: Tensor, key: Tensor, attention: Any, paper_lengths: list[int], captured: Captured
    ) -> Tensor:
        """float32 [T] attention received, for q and k [T, H, D] of one attention module."""
        if self.segments == "paper":
            return received_within(query, key, attention.scaling, paper_lengths, self.backend)
        return attention_received(
            query,
            key,
            captured.attention["cu_seqlens"].to(query.device, torch.int32, non_blocking=True),
            scale=attention.scaling,
            backend=self.backend,
        )


class TowerWatch:
    """Hooks on an encoder tower that make its output carry an `Encoded`.

    Args:
        tower: the encoder.
        attention: its last attention module.
        projections: names of the attention's linear layers whose outputs are q and k; empty to capture none.
        finish: turns a capture and the tower's output into an `Encoded`.
        on_encoded: told of every `Encoded`, in order.
    """

    def __init__(
        self,
        tower: nn.Module,
        attention: nn.Module,
        projections: tuple[str, ...],
        finish: Callable[[Captured, Any], Encoded],
        on_encoded: Callable[[Encoded], None],
    ) -> None:
        self.tower = tower
        self.attention = attention
        self.projections = projections
        self.captured = Captured()
        self.names = tuple(inspect.signature(tower.forward).parameters)
        self.attention_names = tuple(inspect.signature(attention.forward).parameters)
        self.finish = finish
        self.on_encoded = on_encoded

    def register(self, hooks: Hooks) -> None:
        """Put its hooks in place."""
        hooks.before(self.tower, self._before_tower)
        hooks.after(self.tower, self._after_tower)
        hooks.before(self.attention, self._before_attention)
        for name in self.projections:
            hooks.after(self.attention.get_submodule(name), functools.partial(self._after_projection, name))

    def _before_tower(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.captured = Captured(arguments={**dict(zip(self.names, args, strict=False)), **kwargs})

    def _before_attention(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.captured.attention = {**dict(zip(self.attention_names, args, strict=False)), **kwargs}

    def _after_projection(self, name: str, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        self.captured.projected[name] = output.detach()

    def _after_tower(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        captured, self.captured = self.captured, Captured()
        if not captured.attention or len(captured.projected) < len(self.projections):
            raise UnsupportedModelState(
                "model: expected an uncompiled encoder, got one whose last attention skips hooks, so that its saliency "
                "cannot be seen"
            )
        encoded = self.finish(captured, output)
        setattr(output, ATTRIBUTE, encoded)
        self.on_encoded(encoded)
