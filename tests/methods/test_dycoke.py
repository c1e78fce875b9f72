"""`dycoke`: the two passes over frames as the release makes them, in loops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    FEATURES,
    VIDEO,
    Together,
    audio,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    frames_of,
    kept,
    layout_of,
    layouts,
    run_stage,
    tensors_for,
    video,
)

LAYOUTS = {
    **{f"{f} frames": layout_of([2, video(f, 2, 5), 2]) for f in (5, 6, 7, 8, 9, 10, 11, 12, 13)},
    "one token a frame": layout_of([video(9, 1, 1), 1]),
    "with sound": layout_of([1, Together(video(10, 3, 2), audio(17)), 2]),
    "three prompts": layout_of([1, video(8, 2, 2), 2, video(13, 1, 3), 1], [audio(4), 2], [video(5, 3, 3), 2]),
    "no video": layouts()["no video"],
    "images": layouts()["images"],
}


def cases() -> Iterator[tuple[str, TokenLayout, torch.Tensor]]:
    for name, layout in LAYOUTS.items():
        for kind in FEATURES:
            yield f"{name}, {kind}", layout, tensors_for(layout, kind)["features"]


def literal(layout: TokenLayout, x: np.ndarray, q: float) -> dict[int, list[int]]:
    """First token of a frame -> its kept tokens, by ascending similarity where the frame is reduced."""

    def lowest(frame: list[int], other: list[int], m: int) -> list[int]:
        def cosine(pair: tuple[int, int]) -> float:
            a, b = x[pair[0]], x[pair[1]]
            return round(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 12)

        pairs = sorted(zip(frame, other, strict=True), key=lambda pair: (cosine(pair), pair[0]))
        return [i for i, _ in pairs[:m]]

    out: dict[int, list[int]] = {}
    for item, shape in enumerate(layout.shapes or ()):
        if shape.modality != VIDEO:
            continue
        frames, m = frames_of(layout, item), int(q * shape.h * shape.w)
        kept_of: dict[int, list[int]] = {}
        for i in range(0, shape.t - 1, 2):
            kept_of[i] = frames[i]
            kept_of[i + 1] = lowest(frames[i + 1], frames[i], m)
        for i in range(0, shape.t - 4, 4):
            if i + 2 in kept_of:
                kept_of[i + 2] = lowest(frames[i + 2], frames[i], m)
        out |= {frame[0]: kept_of.get(t, []) for t, frame in enumerate(frames)}
    return out


@pytest.mark.parametrize("k", [0.7, 0.3, 1.0, 0.0])
@pytest.mark.parametrize("order", ["ascending", "release"])
def test_equals_a_literal_restatement(k: float, order: str) -> None:
    schedule = method("dycoke")(None, 1 - k, order=order)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    for title, layout, features in cases():
        selection, _ = run_stage(stage, layout, {"features": features})
        frames = literal(layout, features.double().numpy(), 1 - k)
        expected = []
        for i in range(len(layout)):
            if layout.modality[i] != VIDEO:
                expected.append(i)
            elif i in frames:
                expected += sorted(frames[i]) if order == "ascending" else frames[i]
        assert kept(selection) == expected, title
        check_counts(stage, layout, selection)
        check_rows(stage, layout, {"features": features})


def test_orders_hold_the_same_tokens() -> None:
    layout = LAYOUTS["12 frames"]
    tensors = tensors_for(layout)
    ascending, release = (
        kept(run_stage(method("dycoke")(None, 0.5, order=order).before_llm[0], layout, tensors)[0])
        for order in ("ascending", "release")
    )
    assert sorted(release) == ascending != release


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_short_videos_are_refused(frames: int) -> None:
    layout = layout_of([1, video(frames, 2, 2), 2])
    (stage,) = method("dycoke")(None, 0.3).before_llm
    with pytest.raises(ValueError, match=f"at least 5 frames for DyCoke, got {frames}"):
        run_stage(stage, layout, tensors_for(layout))


def test_what_it_is_asked_for_is_checked() -> None:
    with pytest.raises(ValueError, match="order"):
        method("dycoke")(None, 0.3, order="raster")
    with pytest.raises(ValueError, match="ratio"):
        method("dycoke")(None, {"audio": 0.3})


def test_the_device_is_left_alone() -> None:
    layout = layouts()["nine frames"]
    check_device(method("dycoke")(None, 0.3, order="release").before_llm[0], layout, tensors_for(layout))
