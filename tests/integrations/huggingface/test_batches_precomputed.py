"""Videos and images encoded beforehand, with the saliency that was worked out beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule, UnsupportedModelState
from seats_ops.integrations import attach, set_saliency
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import (
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
    rows_of,
)
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.scores.saliency_oracle import visual_saliency
from tests.integrations.huggingface.upstream import needs

GRIDS = {"video": "video_grid_thw", "image": "image_grid_thw"}
PIXELS = {"video": "pixel_values_videos", "image": "pixel_values"}


@pytest.fixture
def attention() -> str:
    return "eager"  # the saliency given here comes from weights that only eager towers compute


def oracle(thinker: nn.Module, batch: dict[str, Any]) -> Callable[[str], Tensor]:
    """Saliency of all videos or all images of a call."""
    return lambda kind: visual_saliency(thinker, batch[PIXELS[kind]], batch[GRIDS[kind]], "paper").float()


@pytest.fixture(params=["generate", "forward"])
def entry(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def encoded(thinker: nn.Module, inputs: dict[str, Any], saliency: Any = None) -> dict[str, Any]:
    """The same call with encoder outputs in place of pixels; `saliency(kind)` comes along if given."""
    outputs = {}
    for kind in (kind for kind in PIXELS if PIXELS[kind] in inputs):
        outputs[kind] = getattr(thinker, f"get_{kind}_features")(inputs[PIXELS[kind]], inputs[GRIDS[kind]])
        if saliency is not None:
            set_saliency(outputs[kind], saliency(kind), inputs[GRIDS[kind]])
    return {k: v for k, v in inputs.items() if k not in PIXELS.values()} | {"mm_encoder_outputs": outputs}


def call(thinker: nn.Module, inputs: dict[str, Any], entry: str) -> tuple[Tensor, Tensor]:
    if entry == "generate":
        return answers(thinker, inputs, 3)
    with torch.no_grad():
        logits = thinker(**inputs).logits[:, -1:]
    return logits.argmax(-1), logits


@pytest.mark.parametrize("kind", ["separate", "interleaved"])
@needs("mm_encoder_outputs")
def test_a_batch_answers_as_if_it_were_encoded_now(thinker: nn.Module, entry: str, kind: str) -> None:
    rows, schedule = rows_of(thinker.config, kind), SCHEDULES["preset"](thinker.config)
    expected = alone(thinker, rows, schedule, 3)
    batch = batch_of(rows)
    given = encoded(thinker, batch, oracle(thinker, batch))
    with attach(thinker, schedule) as trace:
        ids, logits = call(thinker, given, entry)
        assert_kept_alike(trace, batch, expected)
    assert_rows_alike(ids, logits, expected)


@needs("copies of media")
@needs("copies of several media")
def test_several_answers(thinker: nn.Module) -> None:
    """transformers repeats the features for every beam, not what we wrote beside them."""
    several = [Image((1, 4, 6)), Video((2, 4, 6)), Text(2), Video((4, 4, 4)), Image((1, 6, 4))]
    batch = batch_of(
        [build_prompt(thinker.config, Text(3), *parts, Text(4)) for parts in ([Video((6, 4, 6))], several)]
    )
    schedule = SCHEDULES["preset"](thinker.config)
    found = []
    for given in (batch, encoded(thinker, batch, oracle(thinker, batch))):
        with attach(thinker, schedule) as trace:
            sequences = thinker.generate(**given, num_beams=3, do_sample=False, max_new_tokens=4)
        found.append((sequences, [row.tolist() for stage in trace.stages for row in stage.kept_indices]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@needs("mm_encoder_outputs")
def test_the_saliency_that_was_given_decides(thinker: nn.Module, entry: str) -> None:
    """Two outstanding tokens in each block of 12: they are the ones that stay."""
    inputs = build_prompt(thinker.config, Text(4), Video((4, 4, 6)), Text(3))
    wanted = [3, 9, 12, 21]
    given = encoded(thinker, inputs, lambda kind: torch.ones(24).index_fill(0, torch.tensor(wanted), 1000.0))
    with attach(thinker, Schedule(before_llm=DiversitySelector(2 / 12))) as trace:
        call(thinker, given, entry)
    kept = [column - 5 for column in trace.stages[0].kept_indices[0].tolist() if 5 <= column < 29]
    assert kept == wanted


@needs("mm_encoder_outputs")
def test_outputs_of_a_tower_that_ran_in_a_block_carry_their_saliency(thinker: nn.Module, entry: str) -> None:
    inputs = build_prompt(thinker.config, Text(4), Image((1, 4, 6)), Video((4, 4, 6)), Text(3))
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule) as trace:
        expected = call(thinker, inputs, entry)
        kept = probes.kept_sets(trace)
        given = encoded(thinker, inputs)
    with attach(thinker, schedule) as trace:
        got = call(thinker, given, entry)
    assert torch.equal(got[0], expected[0])
    assert [columns.tolist() for _, columns in probes.kept_sets(trace)] == [columns.tolist() for _, columns in kept]


@needs("mm_encoder_outputs")
def test_saliency_for_another_number_of_tokens(thinker: nn.Module, entry: str) -> None:
    inputs = build_prompt(thinker.config, Text(4), Video((4, 4, 6)), Text(3))
    given = encoded(thinker, inputs, lambda kind: torch.ones(23))
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        with probes.produced_logits(thinker) as produced, pytest.raises(ValueError, match=r"video_grid_thw|input_ids"):
            call(thinker, given, entry)
        assert produced == []


@pytest.mark.parametrize("windows", ["runs", "time"])
def test_without_saliency(thinker: nn.Module, entry: str, windows: str) -> None:
    inputs = build_prompt(thinker.config, Text(4), Video((4, 4, 6)), Text(3))
    given = encoded(thinker, inputs)
    with attach(thinker, SCHEDULES["preset"](thinker.config), windows=windows):
        with (
            probes.produced_logits(thinker) as produced,
            pytest.raises(UnsupportedModelState, match=r"mm_encoder_outputs|video_grid_thw"),
        ):
            call(thinker, given, entry)
        assert produced == []


@pytest.mark.parametrize(
    ("saliency", "grid", "error", "match"),
    [
        ([1.0, 2.0], None, TypeError, "saliency"),
        (torch.ones(2, 3), None, ValueError, "saliency"),
        (torch.ones(3, dtype=torch.long), None, TypeError, "saliency"),
        (torch.ones(3), torch.ones(1, 2, dtype=torch.long), ValueError, "grid_thw"),
        (torch.ones(3), torch.ones(1, 3), TypeError, "grid_thw"),
    ],
)
def test_arguments_of_set_saliency(saliency: Any, grid: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        set_saliency(object(), saliency, grid)
