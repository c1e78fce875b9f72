"""OmniZip against a restatement in plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.methods import method
from seats_ops.operators.guided import guided_drops
from tests.methods.cases import (
    BATCHES,
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

RATIOS = {"video": 0.35, "audio": 0.6}


def unit(rows, eps):
    x = np.asarray(rows, dtype=np.float64)
    return x / (np.linalg.norm(x, axis=-1, keepdims=True) + eps)


def runs(columns):
    """Indices of a list of (token, column, item), grouped where columns follow each other."""
    found = []
    for token, column, item in columns:
        if found and column == found[-1][-1][1] + 1 and item == found[-1][-1][2]:
            found[-1].append((token, column, item))
        else:
            found.append([(token, column, item)])
    return [[token for token, *_ in run] for run in found]


def first_largest(values, count):
    return sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]


def sound_of(near_of, tokens, seen, saliency, ratio, context, members):
    n = len(tokens)
    dominant = {tokens[i] for i in first_largest([float(saliency[t]) for t in tokens], round((1 - (1 - ratio)) * n))}
    rest = [t for t in tokens if t not in dominant]
    count = min(round(context * n), len(rest))
    if count == 0:
        return dominant, {}
    anchors = rest[:: max(1, len(rest) // count)][:count]
    pool = [t for t in rest if t not in anchors]
    of, score = {}, {}
    for t in pool:
        near = [near_of[t][a] for a in anchors]
        of[t] = anchors[near.index(max(near))]
        score[t] = max(near_of[t][v] for v in seen) if seen else max(near)
    merges = {}
    for a in anchors:
        mine = [t for t in pool if of[t] == a]
        best = [mine[i] for i in first_largest([score[t] for t in mine], members)]
        if best:
            weights = [math.exp(score[t]) for t in best]
            merges[a] = [(a, 0.5), *((t, w / sum(weights) / 2) for t, w in zip(best, weights, strict=True))]
    return dominant | set(anchors), merges


def shares(ret, sizes, rho):
    """Drop shares of chunks."""
    guided = min(len(ret), len(sizes))
    v = [min(0.75, max(0.35, 0.75 - 0.40 * r)) for r in ret[:guided]]
    n = sizes[:guided]
    target = rho * sum(sizes) - rho * sum(sizes[guided:])
    if guided > 2 and abs(sum(a * b for a, b in zip(v, n, strict=True)) - target) > 1e-3:
        low, high = v.index(min(v)), v.index(max(v))
        others = [i for i in range(guided) if i not in (low, high)]
        theirs = v[low] * n[low] + v[high] * n[high]
        factor = (target - theirs) / sum(v[i] * n[i] for i in others)
        v = [min(0.75, max(0.35, a * factor)) if i in others else a for i, a in enumerate(v)]
        diff = target - sum(a * b for a, b in zip(v, n, strict=True))
        if abs(diff) > 1e-3:
            extra = diff / sum(n[i] for i in others)
            v = [min(0.75, max(0.35, a + extra)) if i in others else a for i, a in enumerate(v)]
    return v + [rho] * (len(sizes) - guided)


def peaks(x, tokens, count):
    y = unit(x[tokens], 1e-8)
    d = np.float32(((y[:, None] - y[None]) ** 2).sum(-1) / 2).tolist()
    n, k = len(tokens), min(5, len(tokens) - 1)
    density = []
    for i in range(n):
        near = sorted(d[i][j] for j in range(n) if j != i)[:k]
        density.append(np.float32(math.exp(-sum(near) / k)) if k else np.float32(1))
    score = []
    for i in range(n):
        denser = [d[i][j] for j in range(n) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        score.append(density[i] * (min(denser) if denser else max(d[i])))
    return [tokens[i] for i in first_largest(score, count)]


def video_of(layout, x, chunks, drops):
    stays, y = set(), unit(x, 1e-8)
    for tokens, v in zip(chunks, drops, strict=True):
        shape = layout.shapes[int(layout.grid[tokens[0], 0])]
        p = shape.h * shape.w
        if len(tokens) < p:
            stays |= set(tokens)
        for t in range(len(tokens) // p):
            frame, count = tokens[t * p : (t + 1) * p], int(p * (1 - v))
            if t % 2 == 0:
                stays |= set(peaks(x, frame, count))
            else:
                change = [-np.float32(y[a] @ y[b]) for a, b in zip(frame, tokens[(t - 1) * p : t * p], strict=True)]
                stays |= {frame[i] for i in first_largest(change, count)}
    return stays


def restated(layout, tensors, ratios, context=0.05, members=3):
    """Tokens kept, and the merge of every anchor."""
    features = tensors["features"].double().numpy()
    near = np.float32(unit(features, 1e-6) @ unit(features, 1e-6).T).tolist()
    stays = set((~layout.is_modality(Modality.VIDEO, Modality.AUDIO)).nonzero().flatten().tolist())
    merges = {}
    for row in range(layout.num_rows):
        start, end = layout.cu_seqlens[row : row + 2].tolist()
        at = {
            kind: [
                (i, int(layout.position[i]), int(layout.grid[i, 0]) if kind == Modality.VIDEO else 0)
                for i in range(start, end)
                if layout.modality[i] == kind
            ]
            for kind in (Modality.VIDEO, Modality.AUDIO)
        }
        seen, heard = ([i for i, *_ in at[kind]] for kind in (Modality.VIDEO, Modality.AUDIO))
        sound, merged = sound_of(near, heard, seen, tensors["saliency:mean"], ratios["audio"], context, members)
        merges |= merged
        chunks = runs(at[Modality.VIDEO])
        ret = [sum(t in sound for t in run) / len(run) for run in runs(at[Modality.AUDIO])]
        drops = shares(ret, [len(chunk) for chunk in chunks], 1 - ratios["video"])
        stays |= sound | video_of(layout, features, chunks, drops)
    return sorted(stays), merges


def test_it_keeps_and_merges_what_plain_loops_do() -> None:
    schedule = method("omnizip")(None, RATIOS, context=0.2)
    for name, layout, tensors in cases():
        if layout.num_rows > 1:
            continue
        selection, values = run_stage(schedule.before_llm[0], layout, tensors)
        stays, merges = restated(layout, tensors, RATIOS, context=0.2)
        assert kept(selection) == stays, name
        x = tensors["features"].double()
        for i in stays:
            expected = sum(c * x[j] for j, c in merges[i]) if i in merges else x[i]
            assert np.allclose(values[i].double(), expected, atol=1e-5), name
        assert set(merge_sums(selection)) == set(merges), name
        assert all(math.isclose(total, 1.0, rel_tol=1e-6) for total in merge_sums(selection).values()), name


@pytest.mark.parametrize("name", BATCHES)
def test_every_prompt_of_a_batch_gets_what_it_gets_alone(name: str) -> None:
    layout = layouts()[name]
    check_rows(method("omnizip")(None, RATIOS, context=0.2).before_llm[0], layout, tensors_for(layout, "duplicated"))


def test_video_that_is_dropped_reaches_nobody() -> None:
    layout = layout_of([1, video(6, 2, 4), 2])
    tensors = tensors_for(layout)
    stage = method("omnizip")(None, {"video": 0.5}).before_llm[0]
    selection, values = run_stage(stage, layout, tensors)
    assert selection.merge is None
    assert values is tensors["features"]


class Found(dict):
    shapes = (video(6, 2, 5), audio(40))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_counts_of_sound_are_exact_and_those_of_video_between_bounds(ratio: float) -> None:
    layout = layout_of([1, *Found.shapes, 2])
    stage = method("omnizip")(None, ratio).before_llm[0]
    selection, _ = run_stage(stage, layout, tensors_for(layout))
    found = Found(text=3, video=60, audio=40, image=0)
    left = {m.name.lower(): int((layout.modality[selection.keep_mask] == m).sum()) for m in Modality}
    assert stage.count_kind == "data"
    assert stage.count_tokens(found)["audio"] == left["audio"]
    bounds = stage.count_bounds(found)
    assert all(bounds[name][0] <= left[name] <= bounds[name][1] for name in left)
    silent = layout_of([1, video(6, 2, 5), 2])
    selection, _ = run_stage(stage, silent, tensors_for(silent))
    assert stage.count_tokens(found)["video"] == int(silent.is_modality(Modality.VIDEO)[selection.keep_mask].sum())


def test_shares_of_chunks_add_up_as_far_as_their_bounds_let_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(1, 50, rng.integers(1, 9)).tolist()
        ret = rng.choice([0.0, 0.25, 0.5, 1.0], rng.integers(0, 9)).tolist()
        drop = float(rng.choice([0.2, 0.5, 0.6, 0.7, 0.95]))
        assert guided_drops(ret, sizes, drop) == shares(ret, sizes, drop)
    # All alike: every chunk loses what the video is to lose.
    assert guided_drops([0.5] * 4, [10] * 4, 0.6)[1:] == pytest.approx([0.6 + 0.05 / 3] * 3)


def test_a_chunk_shorter_than_a_frame_stays_and_what_frames_leave_over_goes() -> None:
    layout = layout_of([1, video(3, 2, 3), 1])
    columns = layout.position.clone()
    columns[1 + 6 + 2 :] += 5
    broken = TokenLayout(layout.modality, columns, layout.cu_seqlens, grid=layout.grid, shapes=layout.shapes)
    keep_mask = run_stage(method("omnizip")(None, 0.5).before_llm[0], broken, tensors_for(broken))[0].keep_mask
    assert keep_mask[1:7].sum() == 3
    assert not keep_mask[7:9].any()
    short = layout.select(layout.position < 5)
    assert len(short) == 5
    keep_mask = run_stage(method("omnizip")(None, 0.5).before_llm[0], short, tensors_for(short))[0].keep_mask
    assert keep_mask.all()


def test_it_is_read_back_from_json() -> None:
    schedule = method("omnizip")(None, RATIOS, members=2)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def without_grid():
    whole = layout_of([1, video(2, 2, 2), 1])
    return TokenLayout(whole.modality, whole.position, whole.cu_seqlens), tensors_for(whole)


def test_it_refuses_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match=r"ratio: expected keys among \('video', 'audio'\)"):
        method("omnizip")(None, {"image": 0.5})
    with pytest.raises(ValueError, match="context: expected a number in"):
        method("omnizip")(None, 0.5, context=2.0)
    with pytest.raises(ValueError, match="layout: expected one with grid"):
        run_stage(method("omnizip")(None, 0.5).before_llm[0], *without_grid())


@pytest.mark.parametrize("name", ["everything", "four prompts", "no video", "text"])
def test_it_keeps_the_same_on_another_device(name: str) -> None:
    layout = layouts()[name]
    check_device(method("omnizip")(None, RATIOS, context=0.2).before_llm[0], layout, tensors_for(layout))
