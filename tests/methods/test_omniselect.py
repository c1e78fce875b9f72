"""OmniSelect against a restatement in plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seats_ops import Modality, Schedule
from seats_ops.methods import method
from tests.methods.cases import (
    AUDIO,
    BATCHES,
    VIDEO,
    Together,
    audio,
    cases,
    check_device,
    check_rows,
    kept,
    layout_of,
    layouts,
    run_stage,
    tensors_for,
    video,
)

RATIO = {"video": 0.4, "audio": 0.6}
f32 = np.float32


def relevance(layout, lead, seed=0):
    """One number a window, so much more for the modality that leads."""
    random = torch.Generator().manual_seed(seed)
    drawn = 5.0 * torch.rand(64, 2, generator=random)
    window = layout.window.clamp(min=0)
    return {
        "external:video_relevance": drawn[window, 0] + (20.0 if lead == "video" else 0.0),
        "external:audio_relevance": drawn[window, 1] + (20.0 if lead == "audio" else 0.0),
    }


def shares(scores, n, rho):
    scores, n = f32(scores), f32(n)
    goal = f32(n.sum()) * f32(rho)
    spread = scores.std(ddof=1) if len(scores) > 1 else f32(0)
    base = 1 / (1 + np.exp((scores - scores.mean()) / (spread + f32(1e-8)))) if spread >= 1e-8 else f32([rho] * len(n))
    found = np.clip(base * (goal / ((base * n).sum() + f32(1e-8))), 0, 1)
    for _ in range(5):
        missing = goal - (found * n).sum()
        loose = (found > 0) & (found < 1)
        if abs(missing) < 1e-3 or not loose.any():
            break
        found = np.clip(np.where(loose, found + missing / n[loose].sum(), found), 0, 1)
    return found.astype(f32)


def first_largest(values, count):
    return sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]


def restated(layout, tensors, ratios, version):
    x = tensors["features"].double().numpy()
    stays = set((~layout.is_modality(VIDEO, AUDIO)).nonzero().flatten().tolist())
    for row in range(layout.num_rows):
        groups = {}
        for kind in (VIDEO, AUDIO):
            at = ((layout.rows() == row) & layout.is_modality(kind)).nonzero().flatten().tolist()
            windows = sorted({int(layout.window[i]) for i in at})
            groups[kind] = [[i for i in at if layout.window[i] == window] for window in windows]
        scores = {VIDEO: tensors["external:video_relevance"], AUDIO: tensors["external:audio_relevance"]}
        drops = {VIDEO: [1 - ratios["video"]] * 99, AUDIO: [1 - ratios["audio"]] * 99}
        if groups[VIDEO] and groups[AUDIO]:
            means = {kind: int(np.mean([float(scores[kind][i]) for g in groups[kind] for i in g])) for kind in groups}
            if abs(means[VIDEO] - means[AUDIO]) > 2:
                lead = VIDEO if means[VIDEO] > means[AUDIO] else AUDIO
                pooled = [np.mean([float(scores[lead][i]) for i in g]) for g in groups[lead]]
                drops[lead] = shares(pooled, [len(g) for g in groups[lead]], drops[lead][0])
        for kind, found in groups.items():
            for g, tokens in enumerate(found):
                overlooked = version == "release" and (kind == AUDIO or g == len(found) - 1)
                looked = tokens[:-1] if overlooked else tokens
                count = min(len(looked), int(max(1, len(tokens) * (1 - drops[kind][g]))))
                if kind == AUDIO:
                    score = [float(tensors["saliency:mean"][i]) for i in looked]
                else:
                    score = (-f32((x[looked] @ x[looked].T).mean(1))).tolist()
                stays |= {looked[i] for i in first_largest(score, count)}
    return sorted(stays)


@pytest.mark.parametrize("version", ["repaired", "release"])
@pytest.mark.parametrize("lead", ["video", "audio", "nobody"])
def test_it_keeps_what_plain_loops_do(version: str, lead: str) -> None:
    stage = method("omniselect")(None, RATIO, version=version).before_llm[0]
    long = layout_of([1, Together(video(12, 2, 3), audio(30), frames=2, sounds=5), 2])
    for name, layout, tensors in (*cases(), ("long", long, tensors_for(long))):
        if layout.num_rows == 1:
            tensors |= relevance(layout, lead)
            found = kept(run_stage(stage, layout, tensors)[0])
            assert found == restated(layout, tensors, RATIO, version), name


@pytest.mark.parametrize("name", BATCHES)
def test_every_prompt_of_a_batch_gets_what_it_gets_alone(name: str) -> None:
    layout = layouts()[name]
    for lead in ("video", "audio"):
        stage = method("omniselect")(None, RATIO).before_llm[0]
        check_rows(stage, layout, tensors_for(layout, "duplicated") | relevance(layout, lead))


def test_the_release_never_looks_at_the_last_sound_of_a_window_nor_at_the_last_token_of_video() -> None:
    layout = layout_of([1, Together(video(6, 2, 2), audio(9)), 2])
    tensors = tensors_for(layout) | relevance(layout, "nobody")
    release, repaired = (
        run_stage(method("omniselect")(None, 1.0, version=version).before_llm[0], layout, tensors)[0].keep_mask
        for version in ("release", "repaired")
    )
    assert repaired.all()
    last = [i for i in range(1, len(layout)) if layout.modality[i - 1] == AUDIO and layout.modality[i] != AUDIO]
    last_video = layout.is_modality(VIDEO).nonzero().max()
    assert (~release).nonzero().flatten().tolist() == sorted([*(i - 1 for i in last), int(last_video)])
    alone = method("omniselect")(None, {"video": 0.5}, version="release").before_llm[0]
    assert run_stage(alone, layout, tensors)[0].keep_mask[layout.is_modality(AUDIO)].all()


def test_what_stands_at_other_tokens_is_not_looked_at() -> None:
    layout = layouts()["everything"]
    tensors = tensors_for(layout) | relevance(layout, "video")
    stage = method("omniselect")(None, RATIO).before_llm[0]
    expected = run_stage(stage, layout, tensors)[0].keep_mask
    for kind, name in ((VIDEO, "video"), (AUDIO, "audio")):
        tensors[f"external:{name}_relevance"] = torch.where(
            layout.is_modality(kind), tensors[f"external:{name}_relevance"], torch.nan
        )
    tensors["features"] = torch.where(layout.is_modality(VIDEO)[:, None], tensors["features"], torch.nan)
    assert torch.equal(run_stage(stage, layout, tensors)[0].keep_mask, expected)
    tensors["external:video_relevance"] = torch.full((len(layout),), torch.nan)
    with pytest.raises(ValueError, match="expected finite numbers"):
        run_stage(stage, layout, tensors)


def test_counts_lie_between_bounds() -> None:
    layout = layout_of([1, Together(video(6, 2, 2), audio(9)), 2])
    found = {m.name.lower(): int((layout.modality == m).sum()) for m in Modality}
    for ratio in (0.0, 0.5, {"audio": 0.3}):
        stage = method("omniselect")(None, ratio).before_llm[0]
        tensors = tensors_for(layout) | relevance(layout, "audio")
        keep_mask = run_stage(stage, layout, tensors)[0].keep_mask
        left = {m.name.lower(): int((layout.modality[keep_mask] == m).sum()) for m in Modality}
        bounds, said = stage.count_bounds(found), stage.count_tokens(found)
        assert stage.count_kind == "data"
        assert all(bounds[name][0] <= left[name] <= bounds[name][1] for name in left)
        assert all(bounds[name][0] <= said[name] <= bounds[name][1] for name in left)


def test_it_is_read_back_from_json() -> None:
    schedule = method("omniselect")(None, RATIO, version="release")
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_it_refuses_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="version: expected one of"):
        method("omniselect")(None, 0.5, version="paper")
    with pytest.raises(ValueError, match="expected keys among"):
        method("omniselect")(None, {"image": 0.5})


@pytest.mark.parametrize("name", ["everything", "four prompts", "no video", "text"])
def test_it_keeps_the_same_on_another_device(name: str) -> None:
    layout = layouts()[name]
    for version in ("repaired", "release"):
        stage = method("omniselect")(None, RATIO, version=version).before_llm[0]
        check_device(stage, layout, tensors_for(layout) | relevance(layout, "video"))
