"""Training sees what the real model sees; twenty steps teach something; an interruption changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from benchmarks.quality import train as training
from benchmarks.quality.checkpoints import load, save
from benchmarks.quality.entries import lengths_of
from benchmarks.quality.lessons import VARIATIONS, packed, questions_about
from benchmarks.quality.prompts import model_inputs
from benchmarks.quality.render import draw_clips
from benchmarks.quality.scenes import Scene
from benchmarks.quality.thinker import Size, family_for, new_thinker
from benchmarks.quality.train import Recipe, train
from seats_ops import DiversitySelector, Schedule, StagePruner
from seats_ops.cost import PromptLengths
from seats_ops.integrations import attach

SMALL = Size(layers=3, width=48, taught_layer=2)


@pytest.fixture(scope="module")
def model() -> Any:
    return new_thinker(Size(), seed=0)


@pytest.mark.parametrize("settings", VARIATIONS[:4] + VARIATIONS[-3:], ids=str)
@torch.no_grad()
def test_a_packed_row_answers_as_a_prompt_for_every_question(model: Any, settings: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(3)
    clips = draw_clips(Scene(**{"windows": 3, **settings}), 2, generator)
    asked = questions_about(clips, 2, generator)
    logits, early = packed(model, clips, asked, taught_layer=5)
    assert early is not None and early.shape == logits.shape
    for number in (0, len(asked) // 2, -1):
        alone = model(**model_inputs(clips, asked[number]), use_cache=False).logits[:, -1]
        torch.testing.assert_close(logits[:, number], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_towers_give_what_those_of_transformers_give(model: Any) -> None:
    clips = draw_clips(Scene(windows=3), 2, torch.Generator().manual_seed(3))
    inputs = model_inputs(clips, questions_about(clips, 1, torch.Generator().manual_seed(0))[0])
    as_it_came = Qwen2_5OmniThinkerForConditionalGeneration._from_config(model.config, attn_implementation="sdpa")
    for tower in (as_it_came.model.visual, as_it_came.model.audio_tower):
        tower.config = type(tower.config)(**tower.config.to_dict())
        tower.config._attn_implementation = "eager"
        for module in tower.modules():
            if hasattr(module, "config"):
                module.config = tower.config
    as_it_came.load_state_dict(model.state_dict())
    ours = model(**inputs, use_cache=False).logits
    theirs = as_it_came.eval()(**inputs, use_cache=False).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_lengths_are_those_of_the_prompt(model: Any) -> None:
    clips = draw_clips(Scene(windows=3), 1, torch.Generator().manual_seed(3))
    inputs = model_inputs(clips, questions_about(clips, 1, torch.Generator().manual_seed(0))[0])
    schedule = Schedule(DiversitySelector(1.0), {1: StagePruner(1.0)})
    with attach(model, schedule, family=family_for(model), record="scores") as trace:
        model(**inputs, use_cache=False)
    assert trace.layout is not None
    assert replace(PromptLengths.from_layout(trace.layout), shapes=None) == replace(
        lengths_of(Scene(windows=3)), shapes=None
    )


def test_twenty_steps_teach_something_and_an_interruption_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAY_EVERY", 4)
    monkeypatch.setattr(training, "SAVE_EVERY", 8)
    recipe = Recipe(alignment_steps=20, steps=20)
    whole = train(SMALL, 3, recipe, tmp_path / "whole", lambda part, done: None)
    rows = [json.loads(line) for line in (tmp_path / "whole" / f"{whole.stem}.jsonl").read_text().splitlines()]
    towers = [row["loss"] for row in rows[1:] if row["part"] == "towers"]
    decoder = [row["loss"] for row in rows[1:] if row["part"] == "decoder"]
    assert towers[-1] < 0.9 * towers[0] and decoder[-1] < decoder[0]

    class Interrupted(Exception):
        pass

    def stop(part: str, done: float) -> None:
        if part.startswith("decoder") and done > 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(SMALL, 3, recipe, tmp_path / "parts", stop)
    again = train(SMALL, 3, recipe, tmp_path / "parts", lambda part, done: None)
    assert load(again).digest == load(whole).digest
    assert not list((tmp_path / "parts" / "unfinished").iterdir())


def test_a_training_is_not_gone_on_with_under_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(part: str, done: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, 3, Recipe(alignment_steps=2, steps=2), tmp_path, stop)
    with pytest.raises(ValueError, match=r"towers\.pt: a training of other settings"):
        train(SMALL, 3, Recipe(alignment_steps=3, steps=2), tmp_path, stop)


def test_checkpoints_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a trained thinker, made by: python -m benchmarks quality"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(ValueError, match="expected a file of safetensors"):
        load(tmp_path / "text.safetensors")
    save(tmp_path / "other.safetensors", new_thinker(SMALL, 0), replace(SMALL, width=96), 0)
    with pytest.raises(ValueError, match=r"expected .* of shape \(.*96.*\), got \(.*48.*\)"):
        load(tmp_path / "other.safetensors")
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, tmp_path / "another.safetensors")
    with pytest.raises(ValueError, match="expected an AV-recall thinker, got a file that does not say what it is"):
        load(tmp_path / "another.safetensors")
