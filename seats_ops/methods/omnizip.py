"""OmniZip: sound by attention, with merged anchors; video by density and change, as much as its sound leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.layout.groups import groups_of
from seats_ops.methods import own_work
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchor_merges import softmax_merge
from seats_ops.operators.anchors import nearest_anchor
from seats_ops.operators.composed import PerModality
from seats_ops.operators.grouped import Grouped
from seats_ops.operators.guided import LEAST, MOST, guided_chunks
from seats_ops.operators.items import CountedVideos
from seats_ops.operators.peaks import density_peaks
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import ratio_of
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.ops.segment_topk.reference import rank_in_segment
from seats_ops.ops.temporal_similarity.api import temporal_similarity
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int, check_keep_ratio, check_ratio


@dataclass(frozen=True)
class OmniZipAudio(Stored):
    """The most attended sound of a prompt, and anchors spread over the rest that take in what the video resembles.

    Attributes:
        keep_ratio: share kept by attention; anchors come on top.
        context: anchors, as a share of the prompt's sound.
        members: tokens merged into an anchor.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "saliency:mean")
    own_macs = own_work.sound
    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "shape"
    keep_ratio: float
    context: float = 0.05
    members: int = 3

    def __post_init__(self) -> None:
        check_ratio("context", self.context)
        check_int("members", self.members, 0)

    def num_kept(self, n: int) -> tuple[int, int]:
        """How many of n tokens are kept by attention, and how many as anchors."""
        # As the release has it, from the share that goes.
        dominant = round((1.0 - (1.0 - self.keep_ratio)) * n)
        return dominant, min(round(self.context * n), n - dominant)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        return {**found, "audio": sum(self.num_kept(found["audio"]))}

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """Keep mask of sound, and the merge: anchor' = (anchor + mean of its members by softmax of likeness) / 2."""
        sound, rows = Grouped(group_tokens(layout, "modality", [Modality.AUDIO]), features.device), layout.rows()
        wanted = [self.num_kept(n) for n in sound.groups.lengths.tolist()]
        dominant, spread = (sound.counts(counts[i] for counts in wanted) for i in (0, 1))
        kept = segment_topk(saliency, sound.ids, dominant, backend=backend)
        step = ((sound.cu_seqlens.diff() - dominant) // spread.clamp(min=1)).clamp(min=1)
        place, step = sound.rank(~kept), sound.spread(step).clamp(min=1)
        anchors = ~kept & (place % step == 0) & (place // step < sound.spread(spread))
        pool = ~kept & ~anchors
        member, anchor, near = nearest_anchor(features, sound.ids, anchors, pool, eps=1e-6)
        watching, _, alike = nearest_anchor(features, rows, layout.is_modality(Modality.VIDEO), pool, eps=1e-6)
        likeness = near.new_zeros(len(layout)).index_copy_(0, member, near).index_copy_(0, watching, alike)
        best = rank_in_segment(likeness[member], anchor, len(layout)) < self.members
        return Selection(kept | anchors, merge=softmax_merge(member[best], anchor[best], likeness[member[best]], 0.5))


@dataclass(frozen=True)
class OmniZipVideo(CountedVideos, Stored):
    """Chunk by chunk of video between sound: the centres of clusters in even frames, what changed in odd ones.

    A chunk is a run of consecutive columns of one video; its frames are counted from its start. A chunk that is shorter
    than a frame is kept, and what its last whole frame leaves over is dropped.

    Attributes:
        keep_ratio: share of the video kept.
    """

    count_kind: ClassVar[str] = "data"
    inputs: ClassVar[tuple[str, ...]] = ("features", "kept", "grid")
    own_macs = own_work.chunks
    keep_ratio: float

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """Expected of a video without sound, least and most, all of chunks that are whole frames."""
        drop = 1.0 - self.keep_ratio
        shares = (1.0 - drop, 1.0 - max(drop, MOST), 1.0 - min(drop, LEAST))
        expected, least, most = (shape.t * int(shape.h * shape.w * share) for share in shares)
        return expected, least, most

    def __call__(self, features: Tensor, layout: TokenLayout, *, kept: Tensor, backend: str = "auto") -> Tensor:
        """bool [T]; how much of the sound stays is read from "kept", once."""
        before = torch.full((len(layout),), -1, dtype=torch.int64, device="cpu")
        keep_mask = torch.ones_like(before, dtype=torch.bool)
        every, budgets = list[Tensor](), list[int]()
        for tokens, size, drop in guided_chunks(layout.plan(), kept.cpu(), 1.0 - self.keep_ratio):
            frames = tokens[: len(tokens) // size * size].view(-1, size)
            every += frames.unbind(0)
            budgets += [int(size * (1.0 - drop))] * len(frames)
            before[frames[1::2]] = frames[:-1:2]
            keep_mask[tokens[frames.numel() :]] = not len(frames)
        frame = Grouped(groups_of(layout, every), features.device)
        even = frame.groups.only(before < 0)
        before, keep_mask, index = (each.to(features.device) for each in (before, keep_mask, even.packed()[0]))
        options: dict[str, Any] = {"metric": "cosine", "include_self": False, "squared": False}
        peaks = density_peaks(features, index, even.lengths, num_neighbors=5, backend=backend, **options)
        scores = (-temporal_similarity(features, before, backend=backend)).index_copy_(0, index, peaks)
        return keep_mask & segment_topk(scores, frame.ids, frame.counts(budgets), backend=backend)


@register_method(
    "omnizip",
    Protocol(
        "share of video entering the LLM; of sound, kept by attention: anchors come on top",
        "sound: a prompt; video: a frame, its share set by the sound of its chunk, 0.25 to 0.65",
        "sound: attention, mean of queries; video: density peaks (even frames), 1 - cosine with the frame before (odd)",
        rounding="sound: round, half to even; video: floor",
        minimum="0",
        merge="sound: anchors, with the 3 of their members most like the video",
        row_sum="1",
        audio="its own ratio; sets the video's budgets",
        count="data",
    ),
    "OmniZip (arXiv 2511.14582), code read at 66ef5d7; here totals are of all videos, frames those of their own video",
)
def omnizip(config: Any, ratio: float | Mapping[str, float], *, context: float = 0.05, members: int = 3) -> Schedule:
    """Audio first, then video, which is told what is kept of the sound; both before the LLM.

    Args:
        config: not looked at.
        ratio: kept share of video and sound, or of those that a mapping names; the others stay. The paper drops 0.6 to
            0.7 of video and 0.3 to 0.5 of sound.
        context: anchors of sound, as a share of it.
        members: tokens merged into an anchor; 0 merges none.

    Raises:
        ValueError: a ratio of something else, a share outside [0, 1], members below 0.
    """
    ratios = check_keep_ratio("ratio", ratio, ("video", "audio"))
    audio, video = ratio_of(ratios, Modality.AUDIO), ratio_of(ratios, Modality.VIDEO)
    first = {} if audio is None else {"audio": OmniZipAudio(audio, context, members)}
    return Schedule(PerModality(first | ({} if video is None else {"video": OmniZipVideo(video)})))
