"""Selection on real clips: how it is measured, and that the page says what the results do; no weights are needed."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.real_features import clips, contenders, measure, mobilenet, packages, prompts, run, sounds, speaker
from benchmarks.real_features.captions import Caption
from benchmarks.real_features.contenders import BASELINES, OF_SOUND, OF_VIDEO, kept_by, why_not
from benchmarks.real_features.coverage import coverage
from benchmarks.real_features.summary import RANDOM, SMALLER, Results
from benchmarks.real_features.tables import tables
from benchmarks.results import append, read
from seats_ops import Modality
from seats_ops.methods import methods

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "real_features.md").read_text(encoding="utf-8")
ROWS = [json.loads(line) for line in gzip.decompress(run.REAL.read_bytes()).splitlines()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_page_shows_what_the_results_say() -> None:
    for heading, text in tables().items():
        section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert text in section, heading


def test_a_number_of_the_page_is_the_mean_of_the_items() -> None:
    items = [row["cells"]["0.1"] for row in ROWS if row["kind"] == "clip"]
    divprune = sum(one["divprune"]["cer"] for one in items) / len(items)
    random = sum(sum(one[f"random {seed}"]["cer"] for seed in range(5)) / 5 for one in items) / len(items)
    reading = PAGE.partition("## Reading\n")[2].partition("\n## ")[0]
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in reading.splitlines()}
    assert rows["divprune"][2].startswith(f"{divprune:.3f} (")
    assert rows[RANDOM][2] == f"{random:.3f}"


def test_results_are_whole_and_of_one_revision() -> None:
    assert [row["name"] for row in ROWS] == [
        *(f"clip {i}" for i in range(run.CLIPS)),
        *(f"sound {i}" for i in range(run.SOUNDS)),
    ]
    assert len({json.dumps(row["revision"], sort_keys=True) for row in ROWS}) == 1
    assert ROWS[0]["revision"]["rules"] == run.RULES


@pytest.mark.parametrize("kind", ["clip", "sound"])
def test_methods_that_are_compared_keep_the_same_share(kind: str) -> None:
    for row in (row for row in ROWS if row["kind"] == kind):
        for ratio in map(str, run.RATIOS):
            for name, numbers in row["cells"][ratio].items():
                if name != SMALLER:
                    assert numbers["kept"] == pytest.approx(float(ratio), rel=0.03), (row["name"], ratio, name)


def test_controls_frame_what_is_measured() -> None:
    for row in ROWS:
        full, nothing = row["cells"]["1"]["full"], row["cells"]["1"]["nothing"]
        if row["kind"] == "clip":
            assert nothing["cer"] == 1.0 and full["cer"] < 0.2
        else:
            assert full["similarity"] == pytest.approx(1.0, abs=1e-3) and nothing["similarity"] < 0.7


def test_every_method_is_run_or_left_out_for_a_reason() -> None:
    done = {name.split(" ")[0] for name in (*BASELINES, *OF_VIDEO, *OF_SOUND)}
    assert {name for name in methods() if not why_not(name)} == done


def test_the_interval_is_of_differences_item_by_item(tmp_path: Path) -> None:
    """A method that is better by as much on every item is so beyond doubt, however items differ."""
    rows = []
    for i in range(8):
        seeds = {f"random {seed}": {"cer": i / 8 + seed / 100} for seed in range(5)}
        rows.append(
            {"name": str(i), "kind": "clip", "cells": {"1": {}, "0.1": {**seeds, "divprune": {"cer": i / 8 - 0.1}}}}
        )
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = Results("clip", path)
    assert results.mean("0.1", RANDOM, "cer") == pytest.approx(3.5 / 8 + 0.02)
    gap = results.against_random("0.1", "divprune", "cer")
    assert gap is not None and gap == pytest.approx((-0.12, -0.12, -0.12))
    assert results.against_random("0.1", "divprune", "facility") is None
    with pytest.raises(ValueError, match="expected items of kind 'sound'"):
        Results("sound", path)


def test_coverage_of_directions_a_right_angle_apart() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    radius, facility = coverage(features, torch.tensor([True, False, False]))
    assert radius == pytest.approx(1.0) and facility == pytest.approx((1 + 0 + 0.5**0.5) / 3)
    assert coverage(features, torch.ones(3, dtype=torch.bool)) == pytest.approx((0.0, 1.0), abs=1e-6)
    with pytest.raises(ValueError, match="expected a token that is kept, got none"):
        coverage(features, torch.zeros(3, dtype=torch.bool))


def a_clip() -> clips.JoinedClip:
    """White all over; every shot has a caption of two tokens by one, at another place."""
    size = (clips.GRIDS * clips.FRAMES_PER_GRID, clips.SIDE * clips.HEIGHT, clips.SIDE * clips.WIDTH, 3)
    side = clips.SIDE
    boxes = [Caption("two words", side * i, side * i, side * (i + 1), side * (i + 2)) for i in range(clips.NUM_SHOTS)]
    return clips.JoinedClip(np.full(size, 255, np.uint8), tuple(boxes))


def test_a_caption_shows_where_any_grid_of_its_shot_kept_a_patch() -> None:
    clip, place = a_clip(), 2
    kept = np.zeros((clips.GRIDS, clips.HEIGHT, clips.WIDTH), bool)
    kept[clips.GRIDS_PER_SHOT * place + 1, 2, 2] = True  # the left half, in the middle grid of the shot
    kept[clips.GRIDS_PER_SHOT * (place + 1), 2, 3] = True  # the right half, in another shot
    seen = clips.shown(clip, kept.reshape(clips.GRIDS, -1), place)
    assert seen.shape == (clips.SIDE, 2 * clips.SIDE, 3)
    assert (seen[:, : clips.SIDE] == 255).all() and not seen[:, clips.SIDE :].any()


def test_a_caption_touches_the_tokens_under_its_box() -> None:
    whole = Caption("", 28, 56, 56, 112).touches(28, 4, 6).reshape(4, 6)
    assert whole.nonzero()[0].tolist() == [1, 1] and whole.nonzero()[1].tolist() == [2, 3]
    assert Caption("", 27, 55, 57, 113).touches(28, 4, 6).sum() == 3 * 4


def test_smaller_frames_lose_detail_and_keep_their_size() -> None:
    clip = a_clip()
    clip.frames[:, :, ::2] = 0
    sharp, soft = (clips.downsampled(clip, share, 0) for share in (1.0, 0.1))
    assert sharp.shape == soft.shape and float(sharp.std()) > 100 > 30 > float(soft.std())


def test_silence_is_where_tokens_are_dropped() -> None:
    sound = np.ones(3 * speaker.SAMPLES_PER_TOKEN, np.float32)
    quiet = sounds.muted(sound, np.array([True, False, True])).reshape(3, -1)
    assert quiet.min(1).tolist() == [1, 0, 1] == quiet.max(1).tolist()


def test_networks_have_a_vector_a_token() -> None:
    frames = torch.zeros(2, 2 * mobilenet.STRIDE, 3 * mobilenet.STRIDE, 3, dtype=torch.uint8)
    assert mobilenet.frame_features(mobilenet.MobileNetV2().eval(), frames).shape == (2, 6, mobilenet.WIDTH)
    sound = np.zeros(5 * speaker.SAMPLES_PER_TOKEN, np.float32)
    encoder = speaker.SpeakerEncoder().eval()
    assert speaker.token_features(encoder, sound).shape == (5, speaker.WIDTH)
    assert float(speaker.embedding(encoder, sound).detach().norm()) == pytest.approx(1.0)


def test_mobilenet_is_as_large_as_published() -> None:
    """3.4 million parameters (arXiv 1801.04381, table 4), of which the classifier has 1280 * 1000 + 1000."""
    count = sum(one.numel() for one in mobilenet.MobileNetV2().parameters())
    assert round((count + 1280 * 1000 + 1000) / 1e6, 1) in (3.4, 3.5)


def test_mels_find_a_tone_in_its_band() -> None:
    time = np.arange(speaker.RATE) / speaker.RATE
    low, high = (speaker.mels(np.sin(2 * np.pi * f * time).astype(np.float32))[0].mean(0).argmax() for f in (300, 3000))
    assert 0 < int(low) < int(high) < speaker.MELS


def test_kept_tokens_are_those_of_the_media() -> None:
    layout = prompts.video_prompt(6, 3, 4, 0.5)
    media = torch.randn(72, 16, generator=generator())
    found = dict(kept_by(("uniform", "random 0", "random 1", "divprune", "dart"), 0.25, layout, media, item=0))
    assert {name: int(mask.sum()) for name, mask in found.items()} == dict.fromkeys(found, 18)
    assert not torch.equal(found["random 0"], found["random 1"])
    assert layout.shapes is not None and layout.shapes[0].num_tokens == 72
    # One frame in three stays whole.
    assert "dycoke" not in dict(kept_by(("dycoke",), 0.25, layout, media, item=0))


def test_no_two_items_share_a_random_mask() -> None:
    layout, media = prompts.video_prompt(6, 3, 4, 0.5), torch.zeros(72, 4)
    names = tuple(name for name in BASELINES if name.startswith(RANDOM))
    masks = [mask for item in range(3) for _, mask in kept_by(names, 0.25, layout, media, item=item)]
    assert len({tuple(mask.tolist()) for mask in masks}) == 3 * len(names)


def test_the_share_of_a_piece_s_first_quarter() -> None:
    kept = np.zeros((sounds.NUM_PIECES, sounds.TOKENS_PER_PIECE), bool)
    kept[0, 9] = kept[1, 10] = kept[2, 39] = kept[3, 0] = True
    assert measure.early(kept.reshape(-1)) == 0.5


def test_sounds_have_blocks_of_two_seconds() -> None:
    layout = prompts.sound_prompt(110)
    assert layout.blocks == ((int(Modality.AUDIO), 50), (int(Modality.AUDIO), 50), (int(Modality.AUDIO), 10))


def test_a_missing_package_names_what_installs_it() -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-package: expected .* weights\.pt: run `make real-features`"):
        packages.packaged("no-such-package", "weights.pt")
    importlib.metadata.version("matplotlib")
    with pytest.raises(FileNotFoundError, match=r"matplotlib: expected a version that holds weights\.pt"):
        packages.packaged("matplotlib", "weights.pt")
    assert packages.packaged(*packages.FONT).is_file()


def test_results_of_another_revision_are_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"name": "clip 0", "revision": {"rules": 1, "files": "a"}}) + "\n")
    assert run.done_of(path, {"rules": 1, "files": "a"}) == {"clip 0"}
    with pytest.raises(ValueError, match="clip 0 is of another revision, never mixed: files is a, here b"):
        run.done_of(path, {"rules": 1, "files": "b"})
    assert run.done_of(tmp_path / "none.jsonl", {}) == set()


def test_compressed_results_are_added_to(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl.gz"
    for name in ("a", "b"):
        append(path, {"name": name})
    assert [row["name"] for row in read(path)] == ["a", "b"]
    assert path.read_bytes()[:2] == b"\x1f\x8b"


def test_a_changed_setting_is_another_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.settings()
    assert run.settings() == before == ROWS[0]["revision"]["settings"]
    monkeypatch.setattr(clips, "SEED", clips.SEED + 1)
    assert run.settings() != before
    monkeypatch.undo()
    monkeypatch.setattr(contenders, "OF_VIDEO", contenders.OF_VIDEO[:-1])
    assert run.settings() != before


def test_numbers_are_stored_to_four_places() -> None:
    assert run.rounded({"a": {"b": 0.123456, "c": 3}}) == {"a": {"b": 0.1235, "c": 3}}
