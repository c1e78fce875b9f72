"""Where in its item a token stands, and when it begins, against what the prompt was made of."""

from __future__ import annotations

from itertools import groupby
from math import isnan
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import Modality, Schedule, TokenLayout, UnsupportedModelState
from seats_ops.integrations import attach, set_saliency
from seats_ops.layout import MediaShape, partners
from seats_ops.methods import method
from tests.custom_stages import every_other
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompt.prompt_tokens import audio_tokens, token_id
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt
from tests.integrations.huggingface.upstream import needs

SEEN: list[Part] = [Text(5), Image((1, 4, 6)), Text(2), Video((4, 6, 4)), Text(3), Video((2, 4, 8), 0.5), Text(4)]
HEARD: list[Part] = [Text(3), Image((1, 4, 6)), Text(2), Video((4, 4, 6), 0.7, mel_frames=610), Text(5)]
ASUNDER: list[Part] = [Text(5), Video((4, 4, 6), 2.0), Text(2), Audio(333), Text(1), Audio(410), Text(4)]
SOUNDS: list[Part] = [Text(5), Audio(333), Text(1), Audio(410), Audio(90), Text(4)]
PROMPTS: list[tuple[str, list[Part]]] = [
    ("qwen2_5_omni", HEARD),
    ("qwen2_5_omni", ASUNDER),
    ("qwen3_omni", HEARD),
    ("qwen3_omni", ASUNDER),
    ("qwen2_5_vl", SEEN),
    ("qwen3_vl", SEEN),
    ("phi4_multimodal", SOUNDS),
]
each_prompt = pytest.mark.parametrize(("family", "parts"), PROMPTS, ids=[f"{f}-{len(p)}" for f, p in PROMPTS])
RATES = {"qwen2_5_omni": 25.0, "qwen3_omni": 13.0, "phi4_multimodal": 12.5}


def told(family: str, config: Any, parts: list[Part], ids: list[int]) -> tuple[list[list[int]], list[MediaShape], list]:
    """(item, t, h, w) and second of every column, and the shapes, one token after another."""
    shapes: list[MediaShape] = []
    lists: dict[str, list[tuple[int, int, int, int, float]]] = {"video": [], "audio": [], "image": []}
    order: list[str] = []
    for part in parts:
        if isinstance(part, (Video, Image)):
            kind = "video" if isinstance(part, Video) else "image"
            step = part.seconds_per_grid if isinstance(part, Video) else float("nan")
            t, h, w = part.grid[0], part.grid[1] // 2, part.grid[2] // 2
            places = [(i, j, k) for i in range(t) for j in range(h) for k in range(w)]
            lists[kind] += [(len(order), i, j, k, i * step) for i, j, k in places]
            order.append(kind)
            shapes.append(MediaShape(Modality[kind.upper()], t, h, w))
        if isinstance(part, (Video, Audio)) and part.mel_frames is not None:
            count = audio_tokens(config, part.mel_frames)
            lists["audio"] += [(len(order), i, 0, 0, i / RATES[family]) for i in range(count)]
            order.append("audio")
            shapes.append(MediaShape(Modality.AUDIO, count))
    kinds = {token_id(config, kind): kind for kind in lists if token_id(config, kind) is not None}
    left = {kind: iter(entries) for kind, entries in lists.items()}
    rows = [next(left[kinds[i]]) if i in kinds else (-1, -1, -1, -1, float("nan")) for i in ids]
    # Of a clip with sound, whichever token comes first says which item does.
    first = list(dict.fromkeys(row[0] for row in rows if row[0] >= 0))
    grid = [[first.index(item) if item >= 0 else -1, *place] for item, *place, _ in rows]
    return grid, [shapes[item] for item in first], [row[-1] for row in rows]


def check(layout: TokenLayout, expected: tuple[Any, Any, Any], columns: list[int] | None = None) -> None:
    grid, shapes, seconds = expected
    columns = list(range(len(grid))) if columns is None else columns
    if layout.grid is not None:
        assert layout.grid.tolist() == [grid[column] for column in columns]
        assert list(layout.shapes or ()) == shapes
    if layout.seconds is not None:
        assert layout.seconds.dtype == torch.float32
        for got, column in zip(layout.seconds.tolist(), columns, strict=True):
            assert isnan(got) if isnan(seconds[column]) else got == pytest.approx(seconds[column], rel=1e-6)


@each_prompt
@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_grid_and_seconds(family: str, parts: list[Part], entry: str) -> None:
    """Later stages see those of the tokens that are left; shapes stay what they were."""
    model = SMALL[family]("sdpa")
    inputs = build_prompt(model.config, *parts)
    names = {"qwen3_vl": ("grid",), "phi4_multimodal": ("seconds",)}.get(family, ("grid", "seconds"))
    first, later = Asks(names, every_other), Asks(names)
    with torch.no_grad(), attach(model, Schedule(first, {2: later})) as trace:
        model(**inputs) if entry == "forward" else probes.generate(model, inputs, 1)
    expected = told(family, model.config, parts, inputs["input_ids"][0].tolist())
    assert len({row[0] for row in expected[0]}) - 1 == len(expected[1]) > 1
    check(first.seen[0]["layout"], expected)
    check(later.seen[0]["layout"], expected, trace.stages[0].kept_indices[0].tolist())
    for name in ("grid", "seconds"):
        assert (getattr(first.seen[0]["layout"], name) is None) == (name not in names)


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni"])
def test_batches(family: str) -> None:
    model = SMALL[family]("sdpa")
    prompts = [ASUNDER, [Text(4)], [Text(2), Image((1, 8, 4)), Text(1), Audio(90), Text(3)]]
    rows = [build_prompt(model.config, *parts, seed=seed) for seed, parts in enumerate(prompts)]
    stage = Asks(("grid", "seconds"))
    with torch.no_grad(), attach(model, Schedule(stage)):
        model(**batch_of(rows))
    layout, items = stage.seen[0]["layout"], 0
    for number, (row, parts) in enumerate(zip(rows, prompts, strict=True)):
        here = (layout.rows() == number).nonzero().flatten()
        grid, shapes, seconds = told(family, model.config, parts, row["input_ids"][0].tolist())
        moved = [[place[0] + items * (place[0] >= 0), *place[1:]] for place in grid]
        assert layout.grid[here].tolist() == moved
        assert list(layout.shapes[items : items + len(shapes)]) == shapes
        torch.testing.assert_close(layout.seconds[here], torch.tensor(seconds), equal_nan=True)
        items += len(shapes)


@needs("copies of media")
@needs("copies of several media")
def test_beams() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    prompts = [HEARD, [Text(2), Image((1, 8, 4)), Text(1), Image((1, 4, 4)), Text(3)]]
    rows = [build_prompt(model.config, *parts, seed=seed) for seed, parts in enumerate(prompts)]
    batch = batch_of(rows) | {"use_audio_in_video": True}
    stage, copied = Asks(("grid", "seconds", "question")), Asks(("grid", "seconds", "question"))
    with torch.no_grad(), attach(model, Schedule(stage)):
        model.generate(**batch, max_new_tokens=1, do_sample=False)
    with torch.no_grad(), attach(model, Schedule(copied)):
        model.generate(**batch, max_new_tokens=2, num_beams=3, do_sample=False)
    assert copied.seen[0]["layout"] == stage.seen[0]["layout"]
    assert copied.seen[0]["layout"].shapes == stage.seen[0]["layout"].shapes


def test_the_same_place_of_the_frame_before() -> None:
    model = SMALL["qwen3_omni"]("sdpa")
    inputs = build_prompt(model.config, *HEARD)
    stage = Asks(("grid",))
    with torch.no_grad(), attach(model, Schedule(stage)):
        model(**inputs)
    layout = stage.seen[0]["layout"]
    video = (layout.modality == Modality.VIDEO).nonzero().flatten().tolist()
    expected = {token: video[i - 6] if i >= 6 else -1 for i, token in enumerate(video)}  # 2 x 3 tokens a grid
    assert {token: int(partners(layout)[token]) for token in video} == expected


def test_nothing_is_laid_out_unasked() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    stage = Asks(("features",))
    with torch.no_grad(), attach(model, Schedule(stage)):
        model(**build_prompt(model.config, *HEARD))
    layout = stage.seen[0]["layout"]
    assert layout.grid is None and layout.shapes is None and layout.seconds is None and layout.question is None


@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_seconds_need_a_clock(entry: str) -> None:
    model: nn.Module = SMALL["qwen3_vl"]("sdpa")
    for family, name in (("qwen3_vl", "told seconds per grid"), ("qwen2_5_vl", "second_per_grid_ts")):
        model = SMALL[family]("sdpa")
        inputs = build_prompt(model.config, *SEEN)
        inputs.pop("second_per_grid_ts", None)
        with (
            probes.produced_logits(model) as produced,
            attach(model, Schedule(Asks(("seconds",)))),
            pytest.raises(UnsupportedModelState, match=f"^seconds: expected .*{name}"),
        ):
            model(**inputs) if entry == "forward" else model.generate(**inputs, max_new_tokens=1)
        assert produced == []
    still = build_prompt(model.config, Text(3), Image((1, 4, 4)), Text(3))
    stage = Asks(("seconds",))
    with torch.no_grad(), attach(model, Schedule(stage)):
        model(**still)
    assert bool(stage.seen[0]["layout"].seconds.isnan().all())


def test_a_family_whose_pictures_are_no_grid_is_refused_when_attached() -> None:
    model = SMALL["phi4_multimodal"]("sdpa")
    match = "expected inputs that the vision tower of .* gives .*, got 'grid', which Asks before the LLM asks for"
    with pytest.raises(UnsupportedModelState, match=match):
        attach(model, Schedule(Asks(("grid",))))
    with pytest.raises(UnsupportedModelState, match="got 'grid', which Select before the LLM"):
        attach(model, method("evs")(model.config, 0.5))


@torch.no_grad()
def test_encoded_outside() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = build_prompt(model.config, Text(4), Image((1, 4, 6)), Text(3), Video((2, 4, 4)), Text(3))
    pixels = {"video": ("pixel_values_videos", "video_grid_thw"), "image": ("pixel_values", "image_grid_thw")}
    outputs = {
        kind: getattr(model, f"get_{kind}_features")(inputs[name], inputs[grid])
        for kind, (name, grid) in pixels.items()
    }
    rest = {name: x for name, x in inputs.items() if name not in ("pixel_values", "pixel_values_videos")}
    without = {name: x for name, x in rest.items() if not name.endswith("grid_thw")}
    without["position_ids"] = torch.arange(inputs["input_ids"].shape[1]).expand(3, 1, -1)
    stage = Asks(("grid",))
    with attach(model, Schedule(stage)):
        model(**rest, mm_encoder_outputs=outputs)
        with pytest.raises(UnsupportedModelState, match="video_grid_thw"):
            model(**without, mm_encoder_outputs=outputs)
        set_saliency(outputs["video"], torch.ones(8), inputs["video_grid_thw"])
        with pytest.raises(UnsupportedModelState, match="image_grid_thw"):
            model(**without, mm_encoder_outputs=outputs)
    sizes = [len(list(run)) for item, run in groupby(stage.seen[0]["layout"].grid[:, 0].tolist()) if item >= 0]
    assert sizes == [6, 8]
