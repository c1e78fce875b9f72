"""Saliency from an encoder tower: q and k of its last attention, as the tower itself computed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

ATTRIBUTE = "seats_encoded"
SALIENCY_SEGMENTS = ("paper", "encoder")


@dataclass
class Captured:
    """What one forward of a tower left behind.

    Attributes:
        tensors: outputs of the watched linear layers by name, [T, H * D].
        attention_kwargs: keyword arguments of the last attention module (`cu_seqlens`, `position_embeddings`).
        tower_kwargs: keyword arguments of the tower, positional ones by name.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    attention_kwargs: dict[str, Any] = field(default_factory=dict)
    tower_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """Rides on a tower's output object, from where the encoder ran to where the LLM consumes it.

    Attributes:
        num_tokens: tokens the tower produced.
        saliency: float32 [num_tokens] in LLM order, or None if nobody needs it.
        grid_thw: integer [items, 3] for a vision tower, else None.
    """

    num_tokens: int
    saliency: Tensor | None
    grid_thw: Tensor | None = None


def watch_tower(
    tower: nn.Module,
    attention: nn.Module,
    projections: dict[str, nn.Module],
    argument_names: tuple[str, ...],
    finish: Callable[[Captured, Any], Encoded],
    on_encoded: Callable[[Encoded], None],
) -> list[Any]:
    """Hook a tower so that its output carries an `Encoded`.

    Args:
        tower: the encoder.
        attention: its last attention module.
        projections: linear layers whose outputs are q and k; empty to capture none.
        argument_names: names of the tower's positional arguments.
        finish: turns a capture and the tower's output into an `Encoded`.
        on_encoded: told of every `Encoded`, in order.

    Returns:
        The handles of the hooks.
    """
    captured = Captured()

    def before_tower(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.__init__()  # type: ignore[misc]
        captured.tower_kwargs = {**dict(zip(argument_names, args, strict=False)), **kwargs}

    def before_attention(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.attention_kwargs = kwargs

    def keep(name: str) -> Callable[..., None]:
        def after_projection(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
            captured.tensors[name] = output.detach()

        return after_projection

    def after_tower(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        encoded = finish(captured, output)
        captured.__init__()  # type: ignore[misc]
        setattr(output, ATTRIBUTE, encoded)
        on_encoded(encoded)

    handles = [
        tower.register_forward_pre_hook(before_tower, with_kwargs=True),
        tower.register_forward_hook(after_tower),
    ]
    if projections:
        handles.append(attention.register_forward_pre_hook(before_attention, with_kwargs=True))
    handles += [module.register_forward_hook(keep(name)) for name, module in projections.items()]
    return handles
