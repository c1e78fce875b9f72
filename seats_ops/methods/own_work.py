"""What the stages of published methods say of their own work, as `own_macs`; see `seats_ops.operators.own_work`.

Where it depends on data it is a prediction, as their counts are: no place of a video stands still, no tokens hang
together, and a video is cut into equal segments, as few as the method allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from seats_ops.layout import Modality
from seats_ops.methods.arguments import AUDIO_WINDOW, SEGMENTS
from seats_ops.operators.items import found_shapes
from seats_ops.operators.own_work import Sizes, dpp_macs, num_steps, of_video, pair_macs
from seats_ops.operators.segment_plan import collapsed_plan, even_plan
from seats_ops.operators.stage import BUDGETED, MEDIA_MODALITIES, num_kept, ratio_of

Found = Mapping[str, int]


def pivots(stage: Any, found: Found, sizes: Sizes) -> int:
    """`dart`: every token with every pivot."""
    return int((stage.media_pivots + stage.text_pivots) * sum(found.values()) * sizes.hidden)


def conditional_dpp(stage: Any, found: Found, sizes: Sizes) -> int:
    """`cdpruner`: the cosine of every token with the question, and the picks of items or their halves."""
    groups, tokens = list[tuple[int, int]](), 0
    for kind in MEDIA_MODALITIES:
        ratio = ratio_of(stage.keep_ratio, kind)
        for shape in [] if ratio is None else found_shapes(type(stage).__name__, found, kind):
            n, kept = shape.num_tokens, num_kept(shape.num_tokens, ratio or 0.0)
            half = (n // 2, kept // 2) if stage.split_above and n > stage.split_above else (0, 0)
            groups, tokens = [*groups, half, (n - half[0], kept - half[1])], tokens + n
    return dpp_macs(groups, sizes.hidden) + tokens * sizes.hidden


def cells(stage: Any, found: Found, sizes: Sizes) -> int:
    """`pooled`: the merge."""
    return int(found[stage.modality] * sizes.hidden)


def adts_weight(stage: Any, found: Found, sizes: Sizes) -> int:
    """`flashvid-adts`: in v2 every token of video with one mean; frames are few."""
    return of_video(stage, found, sizes) if stage.variant == "v2" else 0


def trees(stage: Any, found: Found, sizes: Sizes) -> int:
    """`flashvid`: weights, diverse tokens, links to the frame before, sums of trees, clusters, the merge."""
    macs = sum(found.values())
    for shape in found_shapes(type(stage).__name__, found, Modality.VIDEO):
        grid, starts = shape.h * shape.w, min(SEGMENTS, shape.t)
        diverse, clusters = stage.num_kept(grid)
        free = grid - diverse
        clustering = free * free + (free - clusters) * clusters + free if clusters else 0
        macs += shape.t * (grid * grid + clustering) + (shape.t - starts) * free * free
    return macs * sizes.hidden + adts_weight(stage, found, sizes)


def segment_anchors(stage: Any, found: Found, sizes: Sizes) -> int:
    """`fastvid`: density peaks of anchor frames, all tokens of a segment with all its anchors, the merge."""
    macs = 0
    for shape in found_shapes(type(stage).__name__, found, Modality.VIDEO):
        grid, cut = shape.h * shape.w, min(stage.segments, shape.t)
        lengths = [shape.t // cut + (i < shape.t % cut) for i in range(cut)]
        budget, shares = int(grid * stage.keep_ratio), (stage.context, stage.every)
        if stage.release == "llava":
            plan = even_plan(lengths, grid, max(budget, 1), *shares)
        else:
            plan = collapsed_plan(lengths, grid, budget, *shares, [False] * (shape.t - 1))
        start = 0
        for n in lengths:
            anchors = [k for k in plan.anchors[start : start + n] if k]
            members = n * grid - sum(plan.salient[start : start + n])
            macs += members * (sum(anchors) + len(anchors))
            start += n
        pairs = zip(plan.salient, plan.anchors, strict=True)
        macs += sum((grid - salient) ** 2 for salient, anchors_here in pairs if anchors_here)
    return macs * sizes.hidden


def static_and_dynamic(stage: Any, found: Found, sizes: Sizes) -> int:
    """`holitom`: every token with the one before it, density peaks of what is not salient, the merge into them."""
    macs = num_steps(found)
    for shape in found_shapes(type(stage).__name__, found, Modality.VIDEO):
        grid = shape.h * shape.w
        kept = math.ceil(grid * stage.keep_ratio)
        rest = grid - round(kept * (1.0 - stage.context))
        peaks = kept - (grid - rest)
        macs += shape.t * (rest * rest + (rest - peaks) * peaks + rest) if peaks else 0
    return macs * sizes.hidden


def contextual(stage: Any, found: Found, sizes: Sizes) -> int:
    """`visionzip`: keys of what is not kept with those of a group's anchors, the merge."""
    left, macs = stage.count_tokens(found), 0
    for kind in MEDIA_MODALITIES:
        name, ratio = kind.name.lower(), ratio_of(stage.keep_ratio, kind)
        if ratio is None or not found[name]:
            continue
        shapes = found_shapes(type(stage).__name__, found, kind)
        group = AUDIO_WINDOW if kind == Modality.AUDIO else shapes[0].h * shapes[0].w
        group = group if stage.per == "window" else found[name] // len(shapes)
        anchors = max(1, round(stage.contextual * (ratio * group if stage.per == "item" else group)))
        dominant = left[name] - anchors * -(-found[name] // group)
        width = sizes.encoders[name].head_dim if name in sizes.encoders else 0
        macs += int((found[name] - left[name]) * anchors * width + (found[name] - dominant) * sizes.hidden)
    return macs


def sound(stage: Any, found: Found, sizes: Sizes) -> int:
    """`omnizip`: sound that is not kept with every anchor and all video, the merge."""
    dominant, anchors = stage.num_kept(found["audio"])
    pool = found["audio"] - dominant - anchors
    merged = min(pool, anchors * stage.members) + anchors * (stage.members > 0)
    return int((pool * (anchors + found["video"]) + merged) * sizes.hidden)


def chunks(stage: Any, found: Found, sizes: Sizes) -> int:
    """`omnizip`: all pairs of even frames, every token of an odd one with the frame before."""
    shapes = found_shapes(type(stage).__name__, found, Modality.VIDEO)
    even = pair_macs((shape.h * shape.w for shape in shapes for _ in range(0, shape.t, 2)), sizes.hidden)
    return even + sum(shape.t // 2 * shape.h * shape.w for shape in shapes) * sizes.hidden


def coverage(stage: Any, found: Found, sizes: Sizes) -> int:
    """`omnipack` before the LLM: neighbours, frame and turn of a token, peaks of what is not salient, the merge."""
    macs = 2 * num_steps(found) + 2 * sum(found.values())
    for name, n, kept in _kept(stage, found):
        first = min(kept, max(1, round(kept * (0.25 if name == "video" else 0.35))))
        macs += (n - first) ** 2 + (n - kept) * kept + n
    return macs * sizes.hidden


def relevance(stage: Any, found: Found, sizes: Sizes) -> int:
    """`omnipack` inside it: media with all text, three means, all pairs of a modality, the merge."""
    others, media = found["text"] + found["image"], found["video"] + found["audio"]
    pairs = sum(n * n + (n - kept) * kept + n for _, n, kept in _kept(stage, found))
    return (media * others + 3 * sum(found.values()) + pairs) * sizes.hidden


def _kept(stage: Any, found: Found) -> Iterator[tuple[str, int, int]]:
    """(modality, tokens, tokens kept) of what a stage speaks for."""
    left = stage.count_tokens(found)
    for name in BUDGETED:
        if ratio_of(stage.keep_ratio, Modality[name.upper()]) is not None:
            yield name, found[name], left[name]
