"""Batches and beams in every family: rows, DeepStack features and clocks come in the order each of them has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import LACKS
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.batching import (
    Told,
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
)
from tests.integrations.huggingface.clear_choices import recorded_gaps
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt, moving
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import needs

OTHERS = [family for family in SMALL if family != "qwen2_5_omni"]
CLEAR = 1e-5
# With a seed each, chosen so that no selection is a near-tie.
SEEN: list[list[Part]] = [
    [Text(5), Video((6, 4, 6)), Text(4)],
    [Text(9)],
    [Text(3), Image((1, 4, 4)), Text(2), Video((3, 4, 8)), Text(2), Video((2, 4, 4)), Text(6)],
]
HEARD: list[list[Part]] = [
    [Text(5), Video((5, 4, 6), 1.0, mel_frames=430), Text(7)],
    [Text(9)],
    [Text(3), Image((1, 4, 4)), Text(2), Video((3, 4, 8), 1.0, mel_frames=231), Text(6)],
]
# Equal lengths, and no sound without a picture: see `stills`.
STILL: list[list[Part]] = [
    [Text(5), Audio(430), Image((1, 4, 6)), Text(7)],
    [Text(9)],
    [Text(3), Image((1, 6, 12)), Text(2), Audio(430), Text(6)],
]


@pytest.fixture(params=OTHERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str, attention: str) -> nn.Module:
    return SMALL[family](attention)


def rows_of(model: nn.Module, seeds: tuple[int, ...] = (1, 2, 1)) -> list[dict[str, Any]]:
    if moving(model.config) == "audio":
        return [build_prompt(model.config, *parts, seed=seed) for parts, seed in zip(STILL, seeds, strict=True)]
    prompts = HEARD if hasattr(model.config, "audio_config") else SEEN
    rows = [build_prompt(model.config, *parts, seed=seed) for parts, seed in zip(prompts, seeds, strict=True)]
    return [row | ({"use_audio_in_video": True} if prompts is HEARD else {}) for row in rows]


def preset(model: nn.Module) -> Any:
    """Drops after layers 1 and 3: three layers of Qwen3's decoders have DeepStack features to add."""
    return small_preset(model.config, drop_layers=(1, 3, 4), late_layer=6)


@pytest.mark.parametrize("attention", ["sdpa"])
def test_the_prompts_leave_no_doubt(model: nn.Module) -> None:
    with torch.no_grad(), recorded_gaps(CLEAR / 2) as gaps, attach(model, preset(model)):
        for row in rows_of(model):
            model(**row)
    assert len(gaps) == 3 * 4
    assert min(gaps) > CLEAR


def test_padded_batches(model: nn.Module, kv_policy: str) -> None:
    rows, schedule = rows_of(model), preset(model)
    expected = alone(model, rows, schedule, 4, kv_policy=kv_policy)
    left = batch_of(rows)
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        ids, logits = answers(model, left, 4)
        assert_kept_alike(trace, left, expected)
    assert_rows_alike(ids, logits, expected)
    right = batch_of(rows, "right")
    with torch.no_grad(), attach(model, schedule, kv_policy=kv_policy) as trace:
        logits = model(**right).logits[:, -1:]
        assert_kept_alike(trace, right, expected)
    assert_rows_alike(logits.argmax(-1), logits, expected)


@needs("copies of media", lambda model, **_: moving(model.config) == "video")
@needs("copies of several media", lambda model, **_: not hasattr(model.config, "audio_config"))
def test_beams(model: nn.Module, kv_policy: str) -> None:
    """What transformers repeats for every beam belongs together: a single prompt that says the same scores the same."""
    rows, schedule, steps = rows_of(model), preset(model), 4
    batch = batch_of(rows)
    options = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": steps, "do_sample": False}
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        output = model.generate(**batch, **options, return_dict_in_generate=True, output_scores=True)
    assert_kept_alike(trace, batch, alone(model, rows, schedule, 1, kv_policy=kv_policy))
    for i, (said, score) in enumerate(zip(output.sequences[:, -steps:], output.sequences_scores, strict=True)):
        with attach(model, schedule, kv_policy=kv_policy):
            _, logits = answers(model, rows[i // 2], steps, logits_processor=[Told(said[None])])
        expected = logits[0].log_softmax(-1).gather(1, said[:, None]).mean()
        assert (score - expected).abs() < TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa"])
@pytest.mark.parametrize(
    ("family", "given"), [("qwen2_5_vl", "tensor"), ("qwen2_5_vl", "list"), ("qwen3_omni", "tensor")]
)
@needs("copies of media")
@needs("copies of several media")
def test_clocks(model: nn.Module, family: str, given: str) -> None:
    """Windows by time for several answers: `generate` copies tensors for each of them, lists it leaves alone."""
    name = {"qwen2_5_vl": "second_per_grid_ts", "qwen3_omni": "video_second_per_grid"}[family]
    prompts: list[list[Part]] = [
        [Text(5), Video((6, 4, 6), 1.0), Text(1), Video((4, 4, 8), 0.5), Text(4)],
        [Text(3), Video((3, 4, 6), 2.0), Text(5)],
    ]
    rows, schedule = [build_prompt(model.config, *parts, seed=4) for parts in prompts], preset(model)
    expected = alone(model, rows, schedule, 1, windows="time")
    batch = batch_of(rows)
    if given == "list":
        if "copies of media" in LACKS:
            pytest.skip("this version of transformers takes no list for several answers")
        batch[name] = batch[name].tolist()
    with attach(model, schedule, windows="time") as trace:
        model.generate(**batch, num_beams=3, max_new_tokens=2, do_sample=False)
    assert_kept_alike(trace, batch, expected)


@pytest.mark.parametrize("attention", ["sdpa"])
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_a_family_without_a_clock(model: nn.Module) -> None:
    """Its prompts tell the time in words."""
    with attach(model, preset(model), windows="time"), pytest.raises(UnsupportedModelState, match="windows"):
        model.generate(**rows_of(model)[0], max_new_tokens=1)
