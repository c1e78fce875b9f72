"""FlashVID, and its selection alone, against a restatement in plain loops."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seats_ops import Modality, Schedule
from seats_ops.methods import method
from tests.methods.cases import (
    BATCHES,
    VIDEO,
    audio,
    cases,
    check_device,
    check_rows,
    kept,
    layout_of,
    layouts,
    merge_sums,
    run_stage,
    tensors_for,
    video,
)

CONFIG = SimpleNamespace(num_hidden_layers=28)
f32 = np.float32


def first_largest(values, count):
    values = list(values)
    return sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def videos(layout):
    """Tokens [frames][places] of every video."""
    found = {}
    for i in layout.is_modality(VIDEO).nonzero().flatten().tolist():
        item, t, _, _ = layout.grid[i].tolist()
        found.setdefault(item, {}).setdefault(t, []).append(i)
    return [[frames[t] for t in sorted(frames)] for frames in found.values()]


def segments(x, frames):
    means = f32([x[frame].mean(0) for frame in frames])
    means = means / (np.linalg.norm(means, axis=-1, keepdims=True).astype(f32) + f32(1e-8))
    alike = [f32((a * b).sum()) for a, b in itertools.pairwise(means)]
    cuts = {i for i, s in enumerate(alike) if s < f32(0.9)}
    rest = sorted((s, i) for i, s in enumerate(alike) if i not in cuts)
    cuts |= {i for _, i in rest[: max(0, 7 - len(cuts))]}
    found = [[frames[0]]]
    for i, frame in enumerate(frames[1:]):
        if i in cuts:
            found.append([])
        found[-1].append(frame)
    return found


def weights(x, segment, attention, variant):
    centre = np.mean([x[frame].mean(0) for frame in segment], axis=0)
    if variant == "v1":
        return {i: f32(attention[i]) for frame in segment for i in frame}
    return {i: f32(attention[i]) * f32(x[i] @ centre) for frame in segment for i in frame}


def diverse(x, frame, w, count):
    if len(frame) == 1 or count >= len(frame):
        return frame[:count]
    d = f32(1 - unit(x[frame]) @ unit(x[frame]).T)
    w = f32([w[i] for i in frame])
    chosen = first_largest([w[j] * sorted(d[:, j])[1] for j in range(len(frame))], 1)
    while len(chosen) < count:
        free = [j for j in range(len(frame)) if j not in chosen]
        chosen.append(free[first_largest([w[j] * min(d[s, j] for s in chosen) for j in free], 1)[0]])
    return [frame[j] for j in chosen]


def trees(x, segment, taken, least):
    """Parent of every token that hangs on another."""
    near, best = {}, {}
    for t, frame in enumerate(segment):
        free = [j for j in segment[t - 1] if j not in taken] if t else []
        for i in frame:
            near[i] = f32(-1)
            if i not in taken and free:
                c = f32(unit(x[free]) @ unit(x[[i]])[0])
                best[i] = free[first_largest(c, 1)[0]]
                near[i] = max(c)
    limit = f32(0.8)
    if len(near) - sum(v > limit for v in near.values()) < least:
        k = len(near) - least
        limit = max(sorted(near.values(), reverse=True)[k - 1], f32(-1 + 1e-6)) if k > 0 else math.inf
    return {i: best[i] for i, v in near.items() if v > limit}


def clusters(x, tokens, count):
    n, k = len(tokens), min(count, 7)
    d = f32(np.sqrt(((x[tokens][:, None] - x[tokens][None]) ** 2).sum(-1)) / math.sqrt(x.shape[1]))
    rho = [f32(math.exp(-sum(f32(v * v) for v in sorted(d[i])[:k]) / k)) for i in range(n)]
    score = []
    for i in range(n):
        denser = [d[i, j] for j in range(n) if rho[j] > rho[i] or (rho[j] == rho[i] and j < i)]
        score.append(rho[i] * (min(denser) if denser else max(d[i])))
    centres = sorted(first_largest(score, count))
    return {
        tokens[i]: tokens[i if i in centres else centres[first_largest([-d[i, c] for c in centres], 1)[0]]]
        for i in range(n)
    }


def restated(layout, tensors, ratio, count, variant):
    x = tensors["features"].double().numpy()
    stays, merges = set((~layout.is_modality(VIDEO)).nonzero().flatten().tolist()), {}
    for frames in videos(layout):
        p = len(frames[0])
        b = min(p, math.ceil(p * ratio * 1.25))
        n1 = math.ceil(0.7 * b)
        n2 = b - n1
        for segment in segments(x, frames):
            w = weights(x, segment, tensors["saliency:mean"].numpy(), variant)
            taken = {i for frame in segment for i in diverse(x, frame, w, n1)}
            stays |= taken
            if n2 == 0:
                continue
            parent = trees(x, segment, taken, b * len(segment)) if len(segment) > 1 else {}
            total = {i: x[i].copy() for frame in segment for i in frame}
            coef = {i: {i: 1.0} for frame in segment for i in frame}
            children = dict.fromkeys(total, 0)
            for frame in segment[::-1]:
                for i in frame:
                    if i in parent:
                        total[parent[i]] += total[i]
                        coef[parent[i]] |= coef[i]
                        children[parent[i]] += 1
            means = {i: total[i] / (len(coef[i]) if count == "subtree" else 1 + children[i]) for i in total}
            left = [
                [i for i in frame if i not in parent and (i not in taken or len(segment) == 1)] for frame in segment
            ]
            rest = sum(map(len, left))
            for roots in left:
                m = math.ceil(len(roots) * n2 * len(segment) / rest) if rest > n2 * len(segment) else 0
                table = np.zeros_like(x)
                for i in roots:
                    table[i] = f32(means[i])
                centre = clusters(table, roots, m) if m else {i: i for i in roots}
                for c in set(centre.values()):
                    mine = [i for i in roots if centre[i] == c]
                    stays.add(c)
                    if len(mine) > 1 or len(coef[c]) > 1:
                        part = {i: len(coef[i]) if count == "subtree" else 1 + children[i] for i in mine}
                        merges[c] = [(j, 1 / part[i] / len(mine)) for i in mine for j in coef[i]]
    return sorted(stays), merges


def long_videos():
    """Segments of many frames: noise on a picture that stays, more and more of it."""
    layout = layout_of([1, video(20, 2, 4), 2])
    noise = torch.randn(len(layout), 16, generator=torch.Generator().manual_seed(5))
    still = torch.randn(8, 16, generator=torch.Generator().manual_seed(6)).repeat(20, 1)
    for spread in (0.05, 0.3, 0.6):
        tensors = tensors_for(layout)
        tensors["features"] = spread * noise
        tensors["features"][1:161] += still
        yield f"long, {spread}", layout, tensors
    for kind in ("duplicated", "constant"):
        yield f"long, {kind}", layout, tensors_for(layout, kind)


@pytest.mark.parametrize(
    ("ratio", "count", "variant"), [(0.3, "subtree", "v2"), (0.3, "children", "v1"), (0.6, "children", "v2")]
)
def test_it_keeps_and_merges_what_plain_loops_do(ratio: float, count: str, variant: str) -> None:
    schedule = method("flashvid")(CONFIG, ratio, count=count, variant=variant)
    for name, layout, tensors in (*cases(), *long_videos()):
        if layout.num_rows > 1:
            continue
        selection, values = run_stage(schedule.before_llm[0], layout, tensors)
        stays, merges = restated(layout, tensors, ratio, count, variant)
        assert kept(selection) == stays, name
        x = tensors["features"].double()
        for i in stays:
            expected = sum(c * x[j] for j, c in merges[i]) if i in merges else x[i]
            assert np.allclose(values[i].double(), expected, atol=1e-5), name
        sums = merge_sums(selection)
        assert set(sums) == set(merges), name
        for i, total in sums.items():
            assert total == pytest.approx(sum(c for _, c in merges[i])), name
            assert count == "children" or total == pytest.approx(1.0), name


def test_a_tree_is_averaged_by_the_paper_and_not_by_the_release() -> None:
    # Seven segments of one frame, then one of seven: 3 of 10 tokens are diverse, the others hang on the first of them.
    layout = layout_of([video(14, 2, 5), 1])
    tensors = tensors_for(layout, "constant")
    paper, release = (
        run_stage(method("flashvid")(CONFIG, 0.3, count=count, llm_ratio=1.0).before_llm[0], layout, tensors)
        for count in ("subtree", "children")
    )
    assert torch.equal(paper[0].keep_mask, release[0].keep_mask)
    assert torch.allclose(paper[1][paper[0].keep_mask], tensors["features"][paper[0].keep_mask])
    assert max(merge_sums(paper[0]).values()) == pytest.approx(1.0)
    # 6 frames of 7 tokens and the root, divided by the root and the 7 that hang on it.
    assert max(merge_sums(release[0]).values()) == pytest.approx((6 * 7 + 1) / 8)
    assert paper[0].multiplicity is not None
    assert int(paper[0].multiplicity.max()) == 43


@pytest.mark.parametrize("name", BATCHES)
def test_every_prompt_of_a_batch_gets_what_it_gets_alone(name: str) -> None:
    layout = layouts()[name]
    for stage in (method("flashvid")(CONFIG, 0.3).before_llm[0], method("flashvid-adts")(None, 0.4).before_llm[0]):
        for kind in ("clustered", "duplicated"):
            check_rows(stage, layout, tensors_for(layout, kind))


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("ratio", [0.25, 0.6])
def test_selection_alone_keeps_what_plain_loops_do(ratio: float, variant: str) -> None:
    stage = method("flashvid-adts")(None, ratio, variant=variant).before_llm[0]
    for name, layout, tensors in cases():
        if layout.num_rows > 1:
            continue
        x, stays = tensors["features"].double().numpy(), set((~layout.is_modality(VIDEO)).nonzero().flatten().tolist())
        for frames in videos(layout):
            for segment in segments(x, frames):
                w = weights(x, segment, tensors["saliency:mean"].numpy(), variant)
                count = math.ceil(len(frames[0]) * ratio)
                stays |= {i for frame in segment for i in diverse(x, frame, w, count)}
        assert kept(run_stage(stage, layout, tensors)[0]) == sorted(stays), name


class Found(dict):
    shapes = (video(9, 2, 5), audio(7), video(3, 1, 1))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_counts_of_the_selection_are_exact_and_those_of_trees_between_bounds(ratio: float) -> None:
    layout = layout_of([1, *Found.shapes, 2])
    found = Found({m.name.lower(): int((layout.modality == m).sum()) for m in Modality})
    for kind in ("random", "clustered", "constant"):
        for count in ("subtree", "children"):
            stage = method("flashvid")(CONFIG, ratio, count=count).before_llm[0]
            keep_mask = run_stage(stage, layout, tensors_for(layout, kind))[0].keep_mask
            left = {m.name.lower(): int((layout.modality[keep_mask] == m).sum()) for m in Modality}
            bounds = stage.count_bounds(found)
            assert stage.count_kind == "data"
            assert all(bounds[name][0] <= left[name] <= bounds[name][1] for name in left)
            assert set(stage.count_tokens(found)) == set(left)
        stage = method("flashvid-adts")(None, ratio).before_llm[0]
        keep_mask = run_stage(stage, layout, tensors_for(layout, kind))[0].keep_mask
        left = {m.name.lower(): int((layout.modality[keep_mask] == m).sum()) for m in Modality}
        assert stage.count_kind == "shape"
        assert stage.count_tokens(found) == left


def test_inside_the_llm_attention_decides() -> None:
    (layer, stage), layout = method("flashvid")(CONFIG, 0.3).stages()[1], layout_of([2, video(5, 2, 2), audio(4), 3])
    assert (layer, stage.inputs) == (20, ("scores:last_text/attention",))
    tensors = tensors_for(layout)
    keep_mask = run_stage(stage, layout, tensors)[0].keep_mask
    scores = tensors["scores:last_text/attention"]
    first = first_largest(scores[2:22].tolist(), math.ceil(0.3 * 20))
    assert (keep_mask[2:22].nonzero().flatten().tolist(), int((~keep_mask).sum())) == (sorted(first), 14)
    assert len(method("flashvid")(None, 0.3, llm_ratio=1.0).stages()) == 1


@pytest.mark.parametrize("name", ["flashvid", "flashvid-adts"])
def test_it_is_read_back_from_json(name: str) -> None:
    schedule = method(name)(CONFIG, 0.3, variant="v1")
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_it_refuses_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="count: expected one of"):
        method("flashvid")(CONFIG, 0.3, count="all")
    with pytest.raises(ValueError, match="variant: expected one of"):
        method("flashvid-adts")(CONFIG, 0.3, variant="v3")
    with pytest.raises(ValueError, match="ratio: expected a number, or one for video alone"):
        method("flashvid")(CONFIG, {"audio": 0.3})
    with pytest.raises(ValueError, match="layers: expected one"):
        method("flashvid")(CONFIG, 0.3, layers=(1, 2))
    layout = layout_of([1, video(2, 2, 2), 1])
    thinned = layout.select(layout.position != 3)
    with pytest.raises(ValueError, match="expected all 8 tokens"):
        run_stage(method("flashvid")(CONFIG, 0.3).before_llm[0], thinned, tensors_for(thinned))


@pytest.mark.parametrize("name", ["everything", "two videos", "no video", "text"])
def test_it_keeps_the_same_on_another_device(name: str) -> None:
    layout = layouts()[name]
    for schedule in (method("flashvid")(CONFIG, 0.3), method("flashvid-adts")(None, 0.4)):
        check_device(schedule.before_llm[0], layout, tensors_for(layout, "clustered"))
