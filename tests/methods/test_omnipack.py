"""OmniPack against a restatement in plain loops."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seats_ops import Modality, Schedule
from seats_ops.methods import method
from tests.methods.cases import (
    AUDIO,
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
RATIO = {"video": 0.2, "audio": 0.3}


def mm(values):
    x = np.asarray(values, dtype=np.float64)
    return (x - x.min()) / (x.max() - x.min() + 1e-6) if len(x) else x


def cos(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6))


def largest_first(values):
    values = np.float32(values).tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def video_salience(layout, x, tokens, attention, ratio):
    """Salience, and (t, h, w) over extents."""
    place = {tuple(layout.grid[i].tolist()): i for i in tokens}
    frames = sorted({key[:2] for key in place})
    change, detail, bend, where = [], [], [], []
    for i in tokens:
        item, t, h, w = layout.grid[i].tolist()
        before, after = place.get((item, t - 1, h, w)), place.get((item, t + 1, h, w))
        near = [j for j in (before, after) if j is not None]
        change.append(max([0.0, *(1 - cos(x[i], x[j]) for j in near)]))
        frame = [j for key, j in place.items() if key[:2] == (item, t)]
        detail.append(1 - cos(x[i], x[frame].mean(0)) if near else 0.0)
        inner = before is not None and after is not None
        bend.append(1 - cos(x[i] - x[before], x[after] - x[i]) if inner else 0.0)
        shape = layout.shapes[item]
        along = frames.index((item, t)) / max(len(frames) - 1, 1)
        where.append((along, h / max(shape.h - 1, 1), w / max(shape.w - 1, 1)))
    event = mm(np.maximum(change, detail)) + 0.35 * mm(bend)
    b = 0.35 * (0.35 + 0.65 * min(1.0, max(0.0, (ratio - 0.14) / 0.28)))
    return mm(attention) * (1 + b * mm(event)) + 1e-6, np.array(where)


def audio_salience(x, tokens, attention):
    n = len(tokens)
    change = [
        max([0.0, *(1 - cos(x[tokens[i]], x[tokens[j]]) for j in (i - 1, i + 1) if 0 <= j < n)]) for i in range(n)
    ]
    return mm(attention) + 0.25 * mm(change), np.array([[i / max(n - 1, 1)] for i in range(n)])


def peaks(x, where, salience, count):
    y, n = unit(x), len(x)
    d = np.empty((n, n))
    for i in range(n):
        d[i] = ((y[i] - y) ** 2).sum(-1) / 2 + 0.20 * mm(np.linalg.norm(where[i] - where, axis=-1))
        d[i, i] = 0.0
    d = np.float32(d).astype(np.float64)
    k = min(7, n - 1)
    near = [sum(v * v for v in sorted(d[i, j] for j in range(n) if j != i)[:k]) / max(k, 1) for i in range(n)]
    rho = np.float32([math.exp(-near[i]) * (1 + 0.35 * s) for i, s in enumerate(mm(salience))])
    score = []
    for i in range(n):
        denser = [d[i, j] for j in range(n) if rho[j] > rho[i] or (rho[j] == rho[i] and j < i)]
        score.append(rho[i] * (min(denser) if denser else d[i].max()))
    return largest_first(score)[:count]


def coverage(x, tokens, salience, where, ratio, eta, c, beta):
    """Tokens kept and the coefficients of those that take others in."""
    n = len(tokens)
    k = min(n, max(1, round(ratio * n)))
    scaled = np.float32(mm(salience) + 1e-6)
    chosen = largest_first(scaled)[: min(k, max(1, round(eta * k)))]
    rest = [i for i in range(n) if i not in chosen]
    if k > len(chosen):
        at = [tokens[i] for i in rest]
        chosen = chosen + [rest[i] for i in peaks(x[at], where[rest], scaled[rest], k - len(chosen))]
    chosen = sorted(chosen)
    gone = [i for i in range(n) if i not in chosen]
    y, bonus, weights = unit(x), mm(salience[chosen]), 0.5 + 0.5 * mm(salience[gone])
    members = {i: [] for i in chosen}
    for i, w in zip(gone, weights, strict=True):
        far = mm(np.linalg.norm(where[i] - where[chosen], axis=-1))
        near = np.float32([y[tokens[i]] @ y[tokens[j]] for j in chosen]) - c * far + 0.10 * bonus
        members[chosen[int(np.argmax(np.float32(near)))]].append((tokens[i], w))
    merges = {}
    for j, mine in members.items():
        if mine:
            share = (1 - beta) / (1 + sum(w for _, w in mine))
            merges[tokens[j]] = [(tokens[j], beta + share), *((t, share * w) for t, w in mine)]
    return [tokens[j] for j in chosen], merges


def at_entry(layout, tensors, ratios):
    x = tensors["features"].double().numpy()
    stays, merges = set((~layout.is_modality(VIDEO, AUDIO)).nonzero().flatten().tolist()), {}
    for row in range(layout.num_rows):
        mine = layout.rows() == row
        for kind, name, eta, c, beta in ((VIDEO, "video", 0.25, 0.10, 0.62), (AUDIO, "audio", 0.35, 0.05, 0.65)):
            tokens = (mine & layout.is_modality(kind)).nonzero().flatten().tolist()
            if tokens:
                attention = tensors["saliency"][tokens].numpy()
                if kind == VIDEO:
                    salience, where = video_salience(layout, x, tokens, attention, ratios["video"])
                else:
                    salience, where = audio_salience(x, tokens, attention)
                found, merged = coverage(x, tokens, salience, where, ratios[name], eta, c, beta)
                stays |= set(found)
                merges |= merged
    return sorted(stays), merges


def inside(layout, tensors, ratios):
    x = tensors["features"].double().numpy()
    gram = unit(x) @ unit(x).T
    near_of, far_of, gram = np.float32(gram).tolist(), np.float32(1 - gram).tolist(), gram.tolist()
    stays, merges = set((~layout.is_modality(VIDEO, AUDIO)).nonzero().flatten().tolist()), {}
    for row in range(layout.num_rows):
        mine = layout.rows() == row
        at = {kind: (mine & layout.is_modality(kind)).nonzero().flatten().tolist() for kind in (VIDEO, AUDIO)}
        text = (mine & ~layout.is_modality(VIDEO, AUDIO)).nonzero().flatten().tolist()
        for kind, other, name in ((VIDEO, AUDIO, "video"), (AUDIO, VIDEO, "audio")):
            tokens, others = at[kind], at[other]
            n = len(tokens)
            if not n:
                continue
            said = x[text].mean(0)
            asked = [max(cos(x[i], said), *(gram[i][j] for j in text)) for i in tokens]
            heard = x[others].mean(0) if others else 0 * said
            cross = [cos(x[i], heard) for i in tokens]
            dense = [math.exp(-sum(1 - gram[i][j] for j in tokens) / n) for i in tokens]
            rel = mm(asked) + mm(cross) + mm(dense)
            weight, count = np.float32(1 + mm(rel)), min(n, max(1, round(ratios[name] * n)))
            chosen = [int(np.argmax(weight))]
            while len(chosen) < count:
                free = [i for i in range(n) if i not in chosen]
                away = [min(far_of[tokens[i]][tokens[j]] for j in chosen) * weight[i] for i in free]
                chosen.append(free[int(np.argmax(away))])
            chosen = sorted(chosen)
            gone = [i for i in range(n) if i not in chosen]
            members = {i: [] for i in chosen}
            for i, r in zip(gone, mm(rel[gone]), strict=True):
                near = [near_of[tokens[i]][tokens[j]] for j in chosen]
                best = int(np.argmax(near))
                members[chosen[best]].append((tokens[i], ((near[best] + 1) / 2) ** 2 * (0.5 + 0.5 * r)))
            for j, of in members.items():
                if of:
                    total = 1 + sum(w for _, w in of)
                    merges[tokens[j]] = [(tokens[j], 1 / total), *((t, w / total) for t, w in of)]
            stays |= {tokens[i] for i in chosen}
    return sorted(stays), merges


@pytest.mark.parametrize(("which", "restated"), [(0, at_entry), (1, inside)])
def test_both_stages_keep_and_merge_what_plain_loops_do(which, restated) -> None:
    stage = method("omnipack")(CONFIG, RATIO).stages()[which][1]
    for name, layout, tensors in cases():
        if layout.num_rows > 1:
            continue
        selection, values = run_stage(stage, layout, tensors)
        stays, merges = restated(layout, tensors, stage.keep_ratio)
        assert kept(selection) == stays, name
        x = tensors["features"].double()
        for i in stays:
            expected = sum(c * x[j] for j, c in merges[i]) if i in merges else x[i]
            assert np.allclose(values[i].double(), expected, atol=1e-5), name
        assert set(merge_sums(selection)) == set(merges), name
        assert all(math.isclose(total, 1.0, rel_tol=1e-6) for total in merge_sums(selection).values()), name


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("which", [0, 1])
def test_every_prompt_of_a_batch_gets_what_it_gets_alone(name: str, which: int) -> None:
    layout, stage = layouts()[name], method("omnipack")(CONFIG, RATIO).stages()[which][1]
    for kind in ("random", "duplicated"):
        check_rows(stage, layout, tensors_for(layout, kind))


@pytest.mark.parametrize("which", [0, 1])
def test_counts_are_known_beforehand(which: int) -> None:
    for ratio in (0.01, 0.2, 0.5, 1.0, RATIO):
        stage = method("omnipack")(CONFIG, ratio).stages()[which][1]
        for layout in (layout_of([1, video(5, 2, 3), audio(17), 2]), layout_of([video(1, 1, 1), 2])):
            selection, _ = run_stage(stage, layout, tensors_for(layout))
            found = {m.name.lower(): int((layout.modality == m).sum()) for m in Modality}
            left = {m.name.lower(): int((layout.modality[selection.keep_mask] == m).sum()) for m in Modality}
            assert stage.count_kind == "shape"
            assert stage.count_tokens(found) == left


def test_a_ratio_is_the_share_after_both_stages() -> None:
    schedule = method("omnipack")(CONFIG, RATIO)
    (_, first), (layer, second) = schedule.stages()
    assert layer == 18
    assert dict(first.keep_ratio) == {"video": 0.4, "audio": 0.6}
    assert dict(second.keep_ratio) == {"video": 0.5, "audio": 0.5}
    (_, first), (_, second) = method("omnipack")(CONFIG, 0.8).stages()
    assert (dict(first.keep_ratio)["video"], dict(second.keep_ratio)["video"]) == (1.0, 0.8)
    assert method("omnipack")(SimpleNamespace(num_hidden_layers=56), 0.1).stages()[1][0] == 36


def test_pictures_are_text_to_the_inner_stage_and_stay() -> None:
    layout = layouts()["everything"]
    selection, values = run_stage(method("omnipack")(CONFIG, 0.1).stages()[1][1], layout, tensors_for(layout))
    picture = layout.is_modality(Modality.IMAGE)
    assert selection.keep_mask[picture].all()
    assert torch.equal(values[picture], tensors_for(layout)["features"][picture])


def test_it_is_read_back_from_json() -> None:
    schedule = method("omnipack")(CONFIG, RATIO)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_it_refuses_what_it_cannot_reach() -> None:
    with pytest.raises(ValueError, match="ratio: expected shares above 0"):
        method("omnipack")(CONFIG, {"video": 0.0, "audio": 0.5})
    with pytest.raises(ValueError, match=r"ratio: expected keys among"):
        method("omnipack")(CONFIG, {"image": 0.5})
    with pytest.raises(ValueError, match="layers: expected ascending layers"):
        method("omnipack")(CONFIG, 0.5, layers=(28,))
    with pytest.raises(ValueError, match="layers: expected one"):
        method("omnipack")(CONFIG, 0.5, layers=(3, 4))


@pytest.mark.parametrize("name", ["everything", "four prompts", "no video", "text"])
def test_it_keeps_the_same_on_another_device(name: str) -> None:
    layout = layouts()[name]
    for _, stage in method("omnipack")(CONFIG, RATIO).stages():
        check_device(stage, layout, tensors_for(layout))
