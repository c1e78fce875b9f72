"""Layouts with grids, and everything a stage may ask for, on which a method is compared with a literal restatement."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops import functional as F
from seats_ops.layout import MediaShape
from seats_ops.operators.inputs import VARIANTS
from seats_ops.operators.selection import Selection, check_merge_faults, check_order, merge_faults
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_kept, check_result
from seats_ops.testing import clustered_features, layout_of_runs, tied_features
from seats_ops.testing.mixed_devices import OneDevice

TEXT, VIDEO, AUDIO, IMAGE = Modality.TEXT, Modality.VIDEO, Modality.AUDIO, Modality.IMAGE


class Question(NamedTuple):
    """Text that asks."""

    length: int


class Together(NamedTuple):
    """A video and its sound, interleaved: so many frames, then so many tokens of sound, and on."""

    video: MediaShape
    audio: MediaShape
    frames: int = 2
    sounds: int = 3


Part = int | Question | MediaShape | Together
"""A part of a prompt; a number is that many tokens of text."""


def video(t: int, h: int, w: int) -> MediaShape:
    """t frames of h x w tokens."""
    return MediaShape(VIDEO, t, h, w)


def audio(t: int) -> MediaShape:
    """t tokens of sound."""
    return MediaShape(AUDIO, t)


def image(h: int, w: int) -> MediaShape:
    """One picture."""
    return MediaShape(IMAGE, 1, h, w)


ASK = Question(3)
PROMPTS: dict[str, Sequence[Part]] = {
    "one video": [2, video(10, 3, 4), 1, ASK, 2],
    "nine frames": [2, video(9, 2, 3), ASK, 1],
    "eleven frames": [1, video(11, 2, 2), ASK, 2],
    "one frame": [2, video(1, 3, 4), ASK, 2],
    "one token": [1, video(1, 1, 1), ASK, 1],
    "one token a frame": [1, video(9, 1, 1), ASK, 1],
    "five frames": [2, video(5, 3, 3), ASK, 1],
    "unequal videos": [1, video(8, 2, 3), 2, video(12, 3, 2), video(3, 2, 2), ASK, 2],
    "video and audio": [2, Together(video(10, 2, 4), audio(17)), ASK, 3],
    "single tokens": [1, video(1, 1, 1), audio(1), image(1, 1), ASK, 1],
    "no audio": [1, video(8, 3, 3), ASK, 1],
    "no video": [2, audio(40), ASK, 2],
    "images": [1, image(4, 5), 2, image(3, 3), ASK, 1],
    "everything": [1, image(2, 3), Together(video(8, 3, 2), audio(13)), audio(9), video(9, 2, 2), ASK, 2],
    "text": [4, ASK, 1],
}
BATCHES: dict[str, Sequence[str]] = {
    "two videos": ("one video", "unequal videos"),
    "four prompts": ("video and audio", "no video", "everything", "images"),
    "with the smallest": ("one token", "text", "nine frames"),
}
FEATURES = ("random", "clustered", "duplicated", "constant")


def layout_of(*prompts: Sequence[Part]) -> TokenLayout:
    """The layout of a batch, with grid, shapes, seconds and question; frames last a second, tokens of sound a third."""
    rows: list[list[tuple[Modality, int]]] = []
    grid: list[list[int]] = []
    seconds: list[float] = []
    question: list[bool] = []
    shapes: list[MediaShape] = []

    def text(runs: list[tuple[Modality, int]], length: int, asks: bool) -> None:
        runs.append((TEXT, length))
        grid.extend([[-1] * 4] * length)
        seconds.extend([float("nan")] * length)
        question.extend([asks] * length)

    def media(runs: list[tuple[Modality, int]], item: int, frames: range) -> None:
        kind, _, h, w = shapes[item]
        runs.append((kind, len(frames) * h * w))
        grid.extend([item, t, y, x] for t in frames for y in range(h) for x in range(w))
        step = {VIDEO: 1.0, AUDIO: 1 / 3, IMAGE: float("nan")}[kind]
        seconds.extend(t * step for t in frames for _ in range(h * w))
        question.extend([False] * (len(frames) * h * w))

    for prompt in prompts:
        runs: list[tuple[Modality, int]] = []
        for part in prompt:
            if isinstance(part, int):
                text(runs, part, False)
            elif isinstance(part, Question):
                text(runs, part.length, True)
            elif isinstance(part, MediaShape):
                shapes.append(part)
                media(runs, len(shapes) - 1, range(part.t))
            else:
                at = len(shapes)
                shapes += [part.video, part.audio]
                for i in range(max(-(-part.video.t // part.frames), -(-part.audio.t // part.sounds))):
                    for item, size in ((at, part.frames), (at + 1, part.sounds)):
                        frames = range(min(i * size, shapes[item].t), min((i + 1) * size, shapes[item].t))
                        if len(frames):
                            media(runs, item, frames)
        rows.append(runs)
    return replace(
        layout_of_runs(rows),
        grid=torch.tensor(grid, dtype=torch.int64).view(-1, 4),
        shapes=tuple(shapes),
        seconds=torch.tensor(seconds, dtype=torch.float32),
        question=torch.tensor(question, dtype=torch.bool),
    )


@functools.cache
def layouts() -> dict[str, TokenLayout]:
    """Single prompts, then batches of them, by name."""
    alone = {name: layout_of(prompt) for name, prompt in PROMPTS.items()}
    return alone | {name: layout_of(*(PROMPTS[one] for one in parts)) for name, parts in BATCHES.items()}


def cases(dim: int = 16) -> Iterator[tuple[str, TokenLayout, dict[str, Any]]]:
    """(name, layout, tensors) of every layout with features of every kind."""
    for name, layout in layouts().items():
        for kind in FEATURES:
            yield f"{name}, {kind}", layout, tensors_for(layout, kind, dim=dim)


def features_of(kind: str, total: int, *, dim: int = 16, seed: int = 0) -> Tensor:
    """float32 [total, dim]: "random", "clustered", "duplicated" (few rows, exact ties) or "constant"."""
    if kind == "random":
        return torch.randn(total, dim, generator=torch.Generator().manual_seed(seed))
    if kind == "clustered":
        return clustered_features(total, dim, seed=seed)
    # Entries of one size, and dim a power of 4: norms and cosines are exact, and ties are ties in any precision.
    if kind == "duplicated":
        return tied_features(total, seed=seed, kinds=4).repeat(1, dim // 16)
    assert kind == "constant"
    return tied_features(1, seed=seed, kinds=1).repeat(total, dim // 16)


def tensors_for(layout: TokenLayout, kind: str = "random", *, dim: int = 16, seed: int = 0) -> dict[str, Any]:
    """Every input by its full name. Saliency and scores of "duplicated" and "constant" are full of ties, too."""
    total = len(layout)
    random = torch.Generator().manual_seed(seed + 100)

    def weights() -> Tensor:
        drawn = torch.rand(total, generator=random) + 0.01
        if kind == "duplicated":
            drawn = (drawn * 4).ceil() / 4
        return torch.ones(total) if kind == "constant" else drawn

    media = ~layout.is_modality(TEXT)
    found: dict[str, Any] = {
        "features": features_of(kind, total, dim=dim, seed=seed),
        "previous": features_of(kind, total, dim=dim, seed=seed + 1),
        "embeddings": features_of(kind, total, dim=dim, seed=seed + 2),
        "keys": features_of(kind, total, dim=16, seed=seed + 3) * media[:, None],
        "kept": torch.ones(total, dtype=torch.bool),
        "counts": torch.stack(
            [torch.bincount(part.long(), minlength=4) for part in layout.modality.split(lengths_of(layout))]
        ),
        "generators": generators(layout.num_rows),
        "saliency": weights() * media,
        "scores": weights(),
    }
    found |= {f"saliency:{name}": weights() * media for name in VARIANTS["saliency"][1:]}
    found |= {f"scores:{name}": weights() for name in VARIANTS["scores"][1:]}
    return found


def lengths_of(layout: TokenLayout) -> list[int]:
    """Tokens of every prompt."""
    lengths: list[int] = layout.cu_seqlens.diff().tolist()
    return lengths


def generators(rows: int, seed: int = 0) -> tuple[torch.Generator, ...]:
    """One for each prompt, all with one seed."""
    return tuple(torch.Generator(device="cpu").manual_seed(seed) for _ in range(rows))


def row_alone(layout: TokenLayout, row: int, tensors: Mapping[str, Any]) -> tuple[TokenLayout, dict[str, Any]]:
    """One prompt of a batch as if nobody else were there, and its share of the tensors."""
    start, end = layout.cu_seqlens[row : row + 2].tolist()
    part = slice(start, end)
    assert layout.grid is not None and layout.shapes is not None
    grid = layout.grid[part]
    mine = sorted(set(grid[:, 0].tolist()) - {-1})
    alone = TokenLayout(
        layout.modality[part],
        layout.position[part],
        torch.tensor([0, end - start], dtype=torch.int32),
        *(None if ids is None else _from_zero(ids[part]) for ids in (layout.block, layout.window)),
        grid=torch.cat([_from_zero(grid[:, 0])[:, None], grid[:, 1:]], 1),
        shapes=tuple(layout.shapes[mine[0] : mine[-1] + 1]) if mine else (),
        seconds=None if layout.seconds is None else layout.seconds[part],
        question=None if layout.question is None else layout.question[part],
    )
    share = {}
    for name, value in tensors.items():
        if name == "generators":
            share[name] = generators(1)
        else:
            share[name] = value[row : row + 1] if name == "counts" else value[part]
    return alone, share


def _from_zero(ids: Tensor) -> Tensor:
    inside = ids[ids >= 0]
    return torch.where(ids >= 0, ids - inside.min(), ids) if len(inside) else ids


def run_stage(stage: Any, layout: TokenLayout, tensors: Mapping[str, Any]) -> tuple[Selection, Tensor]:
    """What a stage decides, checked as a model checks it, and features [T, D] with its merge or values applied.

    Generators start anew with the stage's seed, and inputs are compared with copies of themselves afterwards.
    """
    given = {**tensors, "generators": generators(layout.num_rows, int(getattr(stage, "seed", 0)))}
    copies = {name: value.clone() for name, value in given.items() if isinstance(value, Tensor)}
    name = type(stage).__name__
    selection = check_result(name, call_stage(stage, layout, given, "auto"), layout, given["features"])
    for one, copy in copies.items():
        assert torch.equal(given[one].nan_to_num(7.0), copy.nan_to_num(7.0)), f"{name} wrote to {one}"
    check_kept(name, selection.keep_mask, layout)
    assert selection.keep_mask[layout.is_modality(TEXT)].all(), f"{name} drops text"
    check_merge_faults(name, merge_faults(selection))
    if selection.order is not None:
        check_order(name, selection.order, selection.keep_mask, layout)
    features = given["features"]
    if selection.values is not None:
        return selection, selection.values
    return selection, features if selection.merge is None else F.merge_rows(features, *selection.merge)


def kept(selection: Selection) -> list[int]:
    """The tokens kept, in the order in which they go on."""
    index = selection.keep_mask.nonzero().squeeze(1) if selection.order is None else selection.order
    found: list[int] = index.tolist()
    return found


def check_rows(stage: Any, layout: TokenLayout, tensors: Mapping[str, Any]) -> None:
    """Every prompt of a batch gets what it gets alone, values bit by bit."""
    if layout.num_rows == 1:
        return
    selection, values = run_stage(stage, layout, tensors)
    whole = kept(selection)
    for row in range(layout.num_rows):
        start, end = layout.cu_seqlens[row : row + 2].tolist()
        alone, found = run_stage(stage, *row_alone(layout, row, tensors))
        mine = [i for i in whole if start <= i < end]
        assert [i + start for i in kept(alone)] == mine, f"prompt {row}"
        assert torch.equal(found[kept(alone)], values[mine]), f"values of prompt {row}"


def check_device(stage: Any, layout: TokenLayout, tensors: Mapping[str, Any]) -> None:
    """The same on a device where tensors of it and of the CPU cannot be mixed."""
    expected, _ = run_stage(stage, layout, tensors)
    device = OneDevice()
    on_host = {name: tensors[name] for name in ("counts",) if name in tensors}
    on_host["generators"] = generators(layout.num_rows, int(getattr(stage, "seed", 0)))
    with device:
        given = device.put({name: x for name, x in tensors.items() if isinstance(x, Tensor) and name != "counts"})
        there = layout.to(device.place)
        found = check_result("stage", call_stage(stage, there, {**given, **on_host}, "auto"), there)
    assert torch.equal(device.fetch(found.keep_mask), expected.keep_mask)
    for ours, theirs in ((found.order, expected.order), *zip(found.merge or (), expected.merge or (), strict=True)):
        assert (ours is None) == (theirs is None)
        assert theirs is None or torch.equal(device.fetch(ours), theirs)


def merge_sums(selection: Selection) -> dict[int, float]:
    """Target of the merge -> sum of its coefficients."""
    if selection.merge is None:
        return {}
    totals = torch.zeros(len(selection.keep_mask), dtype=torch.float64)
    totals.index_add_(0, selection.merge.target, selection.merge.coefficient.double())
    return {int(i): float(totals[i]) for i in selection.merge.target.unique()}


def members(layout: TokenLayout, row: int, kind: Modality) -> list[int]:
    """Tokens of one modality of a prompt."""
    start, end = layout.cu_seqlens[row : row + 2].tolist()
    return [i for i, found in enumerate(layout.modality.tolist()) if found == kind and start <= i < end]


def frames_of(layout: TokenLayout, item: int) -> list[list[int]]:
    """Tokens of an item, frame by frame, each row by row."""
    assert layout.grid is not None and layout.shapes is not None
    found: list[list[int]] = [[] for _ in range(layout.shapes[item].t)]
    for i, (of, t, _, _) in enumerate(layout.grid.tolist()):
        if of == item:
            found[t].append(i)
    return found


class Found(dict[str, int]):
    """What `count_tokens` is given of a prompt of which nothing is gone."""

    def __init__(self, layout: TokenLayout, row: int) -> None:
        alone, _ = row_alone(layout, row, {})
        super().__init__((kind.name.lower(), len(members(alone, 0, kind))) for kind in Modality)
        self.shapes = alone.shapes
        self.before = dict(self)


def check_counts(stage: Any, layout: TokenLayout, selection: Selection) -> None:
    """`count_tokens` is right for every prompt."""
    assert getattr(stage, "count_kind", "shape") in ("shape", "reconciled")
    for row in range(layout.num_rows):
        left = {k.name.lower(): sum(map(bool, selection.keep_mask[members(layout, row, k)])) for k in Modality}
        assert stage.count_tokens(Found(layout, row)) == left, f"prompt {row}"


def check_stored(schedule: Schedule) -> None:
    """A schedule is what its JSON form is read back as."""
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
    assert hash(schedule) == hash(schedule) and str(schedule)
