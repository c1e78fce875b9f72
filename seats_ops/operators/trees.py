"""Trees of tokens through the frames of a segment: each hangs on the token of the frame before that it is most like."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seats_ops.operators.anchors import nearest_anchor
from seats_ops.ops.merge_rows.api import merge_rows
from seats_ops.ops.segment_topk.reference import rank_in_segment


def temporal_trees(
    features: Tensor, frame: Tensor, segment: Tensor, free: Tensor, *, threshold: float, least: Tensor
) -> Tensor:
    """The parent of every token, itself for roots (FlashVID, arXiv 2602.08024).

    A free token of a frame hangs on the free token of the frame before, in its segment, with the largest cosine, if
    that is above `threshold`. Where that would leave a segment fewer than `least` roots, among them tokens that are not
    free, the threshold rises to the (tokens - least)-th largest of these cosines; a token without anybody has -1.

    Args:
        features: [T, D].
        frame: int64 [T], ids that ascend, below 0 for tokens of no frame.
        segment: int64 [F], the segment of every frame; ids ascend from 0.
        free: bool [T].
        least: int64 [S] on the host, of each segment.

    Returns:
        int64 [T].

    Example:
        >>> import torch
        >>> from seats_ops.operators.trees import temporal_trees
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, -1.0]])
        >>> frame, segment, least = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0]), torch.tensor([1])
        >>> temporal_trees(features, frame, segment, torch.ones(4) > 0, threshold=0.8, least=least).tolist()
        [0, 1, 0, 3]
    """
    device = features.device
    itself = torch.arange(len(frame), dtype=torch.int64, device=device)
    if not len(segment):
        return itself
    inside = frame >= 0
    last = torch.nn.functional.pad(segment.diff() > 0, (0, 1), value=True)
    serves = torch.where(inside & ~last[frame.clamp(min=0)], frame + 1, -1)
    member, anchor, near = nearest_anchor(features, frame, free, free, anchor_ids=serves)
    likeness = torch.full((len(frame),), -1.0, dtype=torch.float32, device=device).index_copy_(0, member, near)
    parent = itself.index_copy(0, member, anchor)
    num, of = len(least), torch.where(inside, segment[frame.clamp(min=0)], len(least))
    wanted = least.to(device, non_blocking=True)
    sizes, linked = (torch.zeros(num + 1, dtype=torch.int64, device=device) for _ in range(2))
    sizes.index_add_(0, of, torch.ones_like(of))
    linked.index_add_(0, of, (likeness > threshold).long())
    # Where no link may be, no cosine is large enough.
    at = rank_in_segment(likeness, of, num + 1) == (sizes[:num] - wanted).clamp(min=0)[of.clamp(max=num - 1)] - 1
    softer = torch.full((num + 1,), math.inf, dtype=torch.float32, device=device)
    softer[of[at & inside]] = likeness[at & inside].clamp(min=-1.0 + 1e-6)
    few = (sizes - linked)[:num] < wanted
    limit = torch.where(few, softer[:num], threshold)
    hangs = inside & (likeness > limit[of.clamp(max=num - 1)])
    return torch.where(hangs, parent, itself)


def roots_of(parent: Tensor, depth: int) -> Tensor:
    """int64 [T]: the root of every token's tree, of at most `depth` generations."""
    root = parent
    for _ in range(max(depth - 1, 0).bit_length()):
        root = root[root]
    return root


COUNTS = ("subtree", "children")
"""What the sum of a tree is divided by: all its tokens, or the root and those that hang on it directly."""


def tree_sizes(parent: Tensor, root: Tensor, count: str) -> Tensor:
    """int64 [T], at roots: what the sums of their trees are divided by; `count` is one of `COUNTS`."""
    one = torch.ones_like(root)
    return torch.zeros_like(root).index_add_(0, root if count == "subtree" else parent, one)


def tree_means(features: Tensor, root: Tensor, sizes: Tensor, *, backend: str = "auto") -> Tensor:
    """float32 [T, D], at roots: sums of their trees, divided."""
    itself = torch.arange(len(root), dtype=torch.int64, device=root.device)
    ones = torch.ones_like(root, dtype=torch.float32)
    # A sum that is divided keeps equal tokens equal, whatever trees they are in.
    return merge_rows(features.float(), root, itself, ones, backend=backend) / sizes.clamp(min=1)[:, None]
