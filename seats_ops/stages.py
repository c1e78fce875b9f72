"""What the stages of a schedule have in common: ratios per modality, counts, a JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from seats_ops.layout import Modality

KeepRatio = float | Mapping[str, float]
BUDGETED = ("video", "audio")
MEDIA_MODALITIES = (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)
MEDIA = tuple(modality.name.lower() for modality in MEDIA_MODALITIES)


@runtime_checkable
class Stage(Protocol):
    """A frozen dataclass that turns a `TokenLayout` and the tensors named in `inputs` into a bool [T] keep mask.

    It is called as `stage(first_input, layout, second_input=..., backend=...)`, without the inputs it does not name.
    """

    inputs: ClassVar[tuple[str, ...]]

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor: ...

    def to_dict(self) -> dict[str, Any]: ...


def stage_inputs(stage: Stage) -> tuple[str, ...]:
    """The tensors this stage will be called with; a selector that is not weighted needs no saliency."""
    weighted = getattr(stage, "weighted", True)
    return tuple(name for name in stage.inputs if weighted or name != "saliency")


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
