"""Mean and pooled saliency and keys in every family, against plain loops over what its eager towers computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule, UnsupportedModelState, seats
from seats_ops.integrations import attach, set_saliency
from seats_ops.integrations.huggingface.hooks import owners_on
from seats_ops.integrations.huggingface.prefill import Prefill
from tests.custom_stages import every_other
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, columns_of, columns_without
from tests.integrations.huggingface.scores.encoder_oracle import of_prompt
from tests.integrations.huggingface.stage_one import PROMPTS
from tests.integrations.huggingface.upstream import needs

NAMES = ("saliency:mean", "saliency:pooled", "keys")
HEARD = ["clip_with_sound", "first_audio_odd", "image_then_clip", "larger_grid_first"]
CASES = [(family, name) for family in ("qwen2_5_omni", "qwen3_omni") for name in HEARD]
CASES += [(family, name) for family in ("qwen2_5_vl", "qwen3_vl") for name in ("two_grids", "two_images")]


def seen_of(model: nn.Module, inputs: dict[str, Any], names: tuple[str, ...], entry: str, **options: Any) -> Any:
    """What stages that ask for one name each are given, and one after layer 2, behind one that drops."""
    stages = [Asks((name,)) for name in names]
    later = [Asks((name,)) for name in names]
    schedule = Schedule([*stages, Asks((), every_other)], {2: later})
    with torch.no_grad(), attach(model, schedule, **options) as trace:
        model(**inputs) if entry == "forward" else probes.generate(model, inputs, 1, **options.get("how", {}))
    kept = trace.stages[len(names)].kept_indices
    first, second = ({name: stage.seen[0][name] for name, stage in zip(names, x, strict=True)} for x in (stages, later))
    return first, second, kept


@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_what_towers_give(family: str, name: str, entry: str) -> None:
    model = SMALL[family]("eager")
    inputs = build_prompt(model.config, *PROMPTS[name], seed=5)
    expected = of_prompt(pristine_of(family), inputs)
    first, later, (kept,) = seen_of(model, inputs, NAMES, entry)
    for kind, values in expected.items():
        columns = columns_of(model.config, inputs, kind)
        for key, value in values.items():
            got = first[key][columns].double()
            if key == "keys":
                assert not got[:, value.shape[1] :].any()
                got = got[:, : value.shape[1]]
            assert got.shape == value.shape and first[key].dtype == torch.float32
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-6 if key != "keys" else 1e-5)
    text = columns_without(model.config, inputs, "video", "audio", "image")
    for key in NAMES:
        assert not first[key][text].any()
        assert torch.equal(later[key], first[key][kept])
    pooled = first["saliency:pooled"]
    assert float(pooled.sum()) == pytest.approx(frames_of(inputs), rel=1e-5)


def frames_of(inputs: dict[str, Any]) -> int:
    """Temporal grids, pictures and sounds: pooled saliency adds up to 1 over each."""
    grids = [inputs[name] for name in ("video_grid_thw", "image_grid_thw") if name in inputs]
    return sum(int(grid[:, 0].sum()) for grid in grids) + len(inputs.get("input_features", ()))


def test_mean_differs_from_the_sum_over_windows() -> None:
    """Over an item that is longer than a window, and by more than a factor."""
    model = SMALL["qwen3_omni"]("eager")
    inputs = build_prompt(model.config, *PROMPTS["clip_with_sound"], seed=5)
    first, _, _ = seen_of(model, inputs, ("saliency", "saliency:mean"), "forward")
    for kind in ("video", "audio"):
        columns = columns_of(model.config, inputs, kind)
        ratio = first["saliency"][columns] / first["saliency:mean"][columns]
        assert float(ratio.max() / ratio.min()) > 1.1
        # What a query sees adds up to 1 over the positions of an item; a token has the mean of its positions.
        each = 4 if kind == "video" else 1
        assert float(first["saliency:mean"][columns].sum()) == pytest.approx(1 / each, rel=1e-4)


@pytest.mark.parametrize("window_size", [24, 1024])
def test_window_size_of_the_vision_tower_does_not_matter(window_size: int) -> None:
    """With full attention in every block the window size only permutes the tower's tokens."""
    inputs = build_prompt(small_thinker().config, Text(4), Video((4, 6, 10)), Text(3), seed=5)
    found = []
    for size in (16, window_size):
        model = small_thinker("sdpa", vision={"window_size": size, "fullatt_block_indexes": [0, 1, 2]})
        found.append(seen_of(model, inputs, NAMES, "forward")[0])
    for key in NAMES:
        torch.testing.assert_close(found[0][key], found[1][key], rtol=1e-4, atol=1e-5)


def rows_of(config: Any) -> list[dict[str, Any]]:
    prompts = [PROMPTS["clip_with_sound"], [Text(6)], PROMPTS["image_then_clip"]]
    rows = [build_prompt(config, *parts, seed=seed) for seed, parts in enumerate(prompts)]
    return [row | {"use_audio_in_video": True} for row in rows]


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni"])
def test_batches(family: str) -> None:
    model = SMALL[family]("sdpa")
    rows = rows_of(model.config)
    together, _, _ = seen_of(model, batch_of(rows), NAMES, "generate")
    alone = [seen_of(model, row, NAMES, "generate")[0] for row in rows]
    for key in NAMES:
        width = together[key].shape[1:]
        parts = [x[key] if x[key].shape[1:] == width else torch.zeros(len(x[key]), *width) for x in alone]
        torch.testing.assert_close(together[key], torch.cat(parts), rtol=1e-4, atol=1e-5)


@needs("copies of media")
@needs("copies of several media")
def test_beams() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    batch = batch_of(rows_of(model.config))
    found = []
    for options in ({}, {"num_beams": 2}):
        stages = [Asks((name,)) for name in NAMES]
        with torch.no_grad(), attach(model, Schedule(stages)):
            model.generate(**batch, max_new_tokens=2, do_sample=False, **options)
        found.append({name: stage.seen[0][name] for name, stage in zip(NAMES, stages, strict=True)})
    for key in NAMES:
        torch.testing.assert_close(found[0][key], found[1][key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, "saliency:cls"])
@pytest.mark.parametrize("family", SMALL)
def test_what_a_tower_does_not_give_is_refused_by_name(family: str, name: str) -> None:
    model = SMALL[family]("sdpa")
    gives = family != "phi4_multimodal" and name != "saliency:cls"
    for schedule in (Schedule(Asks((name,))), Schedule(after_layer={2: [Asks(("features", name))]})):
        if gives:
            with pytest.warns(RuntimeWarning, match="no forward"), attach(model, schedule):
                pass
            continue
        with pytest.raises(UnsupportedModelState, match=rf"tower of {type(model).__name__}.*'{name}', which Asks"):
            attach(model, schedule)


@torch.no_grad()
def test_encoded_outside() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = build_prompt(model.config, Text(4), Video((2, 4, 4)), Text(3))
    output = model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])
    rest = {name: x for name, x in inputs.items() if name != "pixel_values_videos"}
    for given in (False, True):
        if given:
            set_saliency(output, torch.ones(8), inputs["video_grid_thw"])
        for name in NAMES:
            with attach(model, Schedule(Asks((name,)))), pytest.raises(UnsupportedModelState, match=f"without {name};"):
                model(**rest, mm_encoder_outputs={"video": output})


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni"])
def test_one_alone(family: str) -> None:
    """What is worked out for one input is there whatever else is asked for."""
    model = SMALL[family]("sdpa")
    inputs = build_prompt(model.config, *PROMPTS["clip_with_sound"], seed=1)
    together, _, _ = seen_of(model, inputs, ("saliency", *NAMES), "forward")
    for names in (("saliency",), *((name,) for name in NAMES), ("keys", "features", "saliency")):
        stage = Asks(names)
        with (
            torch.no_grad(),
            attach(model, Schedule([stage, DiversitySelector(0.5)] if "saliency" in names else stage)),
        ):
            model(**inputs)
        for name in set(names) & set(together):
            assert torch.equal(stage.seen[0][name], together[name])


def test_the_preset_asks_for_no_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beside saliency is worked out or held."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = build_prompt(model.config, *PROMPTS["clip_with_sound"], seed=5)
    prefills: list[Prefill] = []
    before_layer = Prefill.before_layer

    def looking(self: Prefill, index: int, *args: Any) -> tuple[Tensor, dict[str, Any]]:
        assert index > 0
        prefills.append(self)
        return before_layer(self, index, *args)

    monkeypatch.setattr(Prefill, "before_layer", looking)
    schedule = seats(model.config, video=0.3, audio=0.6, drop_layers=(2, 3, 4), late_layer=7)
    with torch.no_grad(), attach(model, schedule):
        adapter = next(iter(owners_on(model)))
        model(**inputs)
    assert adapter.saliency.asked == {"saliency"} and not adapter.facts
    assert all(prefill.previous is None and not prefill.run.given for prefill in prefills) and prefills
