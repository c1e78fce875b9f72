"""Of every few neighbouring tokens of a window, the most salient one stays."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops import Modality, TokenLayout
from seats_ops import functional as F


def top_of_groups(saliency: Tensor, cu_seqlens: Tensor, stride: int, *, backend: str = "auto") -> Tensor:
    """Keeps the largest of every group of `stride` neighbours, bool [T].

    Groups are counted from the start of each segment of `cu_seqlens` [W+1]; its
    last may be shorter. Of equal values the first is kept; NaN ranks as -inf.
    """
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, got {stride}")
    if backend == "triton" or (backend == "auto" and saliency.is_cuda):
        from salient_kernel import top_of_groups as kernel

        return kernel(saliency, cu_seqlens, stride)
    token = torch.arange(len(saliency), device=saliency.device)
    segment = torch.bucketize(token, cu_seqlens[1:], right=True)
    group = (token - cu_seqlens[segment]) // stride
    # A segment begins a new group: counting first tokens numbers all groups.
    begins = (token - cu_seqlens[segment]) == group * stride
    return F.segment_topk(
        saliency,
        begins.cumsum(0) - 1,
        torch.ones_like(token),
        backend="reference",
    )


@dataclass(frozen=True)
class SalientOfGroup:
    """A stage: `top_of_groups` of the video and of the audio of every window."""

    inputs: ClassVar[tuple[str, ...]] = ("saliency",)
    stride: int

    def __call__(self, saliency: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        window, num_windows = layout.windows()
        media = layout.is_modality(Modality.VIDEO, Modality.AUDIO) & (window >= 0)
        # All other tokens form one more segment, whose choice is overruled.
        slot = torch.where(
            media,
            2 * window + layout.is_modality(Modality.AUDIO),
            2 * num_windows,
        )
        order = slot.argsort(stable=True)
        bounds = torch.arange(2 * num_windows + 2, device=slot.device)
        cu_seqlens = torch.searchsorted(slot[order], bounds)
        kept = torch.empty_like(media)
        kept[order] = top_of_groups(saliency[order], cu_seqlens, self.stride, backend=backend)
        return kept | ~media

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SalientOfGroup":
        return cls(data["stride"])
