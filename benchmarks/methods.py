"""Own cost of published methods: their stages on a prompt of the paper's size, everything they ask for given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor

from benchmarks import machine
from benchmarks.entry import OURS
from benchmarks.idle import busy
from benchmarks.primitives import known
from benchmarks.results import RESULTS, append, into
from benchmarks.timing import Clock, measure, spread
from seats_ops import Modality, Schedule, TokenLayout
from seats_ops import functional as F
from seats_ops.cost import PromptLengths, split_blocks
from seats_ops.layout import MediaShape
from seats_ops.methods import Method
from seats_ops.methods import methods as all_methods
from seats_ops.operators.inputs import parse_input
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_result
from seats_ops.testing import layout_of_runs
from seats_ops.testing.stage_inputs import generators_for, tensors_for

METHODS = RESULTS / "methods.jsonl"
RATIO = 0.25
LARGER = (0.5, 0.75)
"""For methods that refuse RATIO, the first of these that they take."""
HIDDEN_SIZE = 3584
FRAMES_PER_WINDOW = 2


@dataclass(frozen=True)
class Clip:
    """A prompt of one video with its sound, in windows of two frames, and a question after it.

    Attributes:
        frames, height, width: of the video, in tokens.
        audio, text: tokens.
    """

    frames: int = 50
    height: int = 12
    width: int = 16
    audio: int = 1570
    text: int = 598

    @property
    def shapes(self) -> tuple[MediaShape, MediaShape]:
        return (
            MediaShape(Modality.VIDEO, self.frames, self.height, self.width),
            MediaShape(Modality.AUDIO, self.audio),
        )

    @property
    def lengths(self) -> PromptLengths:
        """For `seats_ops.cost`."""
        window = FRAMES_PER_WINDOW * self.height * self.width
        video = split_blocks(self.frames * self.height * self.width, window)
        return PromptLengths(self.text, video, split_blocks(self.audio, 50), shapes=self.shapes)

    def layout(self) -> TokenLayout:
        """With everything a stage may ask of it."""
        frame, windows = self.height * self.width, -(-self.frames // FRAMES_PER_WINDOW)
        sound = -(-self.audio // windows)
        before = self.text // 2
        runs = [(Modality.TEXT, before)]
        for i in range(windows):
            runs.append((Modality.VIDEO, frame * min(FRAMES_PER_WINDOW, self.frames - i * FRAMES_PER_WINDOW)))
            runs.append((Modality.AUDIO, max(min(sound, self.audio - i * sound), 0)))
        runs.append((Modality.TEXT, self.text - before))
        blocks = {Modality.VIDEO: FRAMES_PER_WINDOW * frame, Modality.AUDIO: 50}
        layout = layout_of_runs([runs], block_length=blocks)
        grid = torch.full((len(layout), 4), -1, dtype=torch.int64)
        seconds = torch.full((len(layout),), float("nan"))
        video, audio = (layout.is_modality(kind) for kind in (Modality.VIDEO, Modality.AUDIO))
        places = [torch.arange(n) for n in (self.frames, self.height, self.width)]
        grid[video] = torch.cat([torch.zeros(frame * self.frames, 1).long(), torch.cartesian_prod(*places)], 1)
        grid[audio] = torch.tensor([1, 0, 0, 0])
        grid[audio, 1] = torch.arange(self.audio)
        seconds[video], seconds[audio] = grid[video, 1].float(), torch.arange(self.audio) / sound * FRAMES_PER_WINDOW
        question = layout.is_modality(Modality.TEXT) & (layout.position >= len(layout) - self.text + before)
        return replace(layout, grid=grid, shapes=self.shapes, seconds=seconds, question=question)


PAPER = Clip()


def accepted_ratio(method: Method, config: Any) -> float:
    """RATIO, or the first larger one that a method takes. Raises ValueError: none."""
    for ratio in (RATIO, *LARGER):
        try:
            method(config, ratio)
        except ValueError as error:
            refusal = error
        else:
            return ratio
    raise refusal


def given(layout: TokenLayout, schedule: Schedule, dim: int) -> dict[str, Any]:
    """What the stages of a schedule ask for, random, float32."""
    names = dict.fromkeys(name for _, stage in schedule.stages() for name in (*stage.inputs, "features"))
    found = tensors_for(layout, torch.float32, dim, names)
    if "keys" in found:
        found["keys"] = torch.randn(len(layout), 80, generator=torch.Generator().manual_seed(4))
    return found


def run_stages(
    schedule: Schedule, layout: TokenLayout, tensors: dict[str, Any], backend: str, *, count: Any = None
) -> TokenLayout:
    """One stage after the other, merges included; each sees what the one before has left.

    Args:
        count: a context to be in while stages work; dropping rows between them is not theirs.
    """
    for _, stage in schedule.stages():
        layout, tensors = _run_stage(stage, layout, tensors, backend, count)
    return layout


def _run_stage(
    stage: Any, layout: TokenLayout, tensors: dict[str, Any], backend: str, count: Any
) -> tuple[TokenLayout, dict[str, Any]]:
    asked = {**tensors, **generators_for(stage, layout)}
    if count is not None:
        count.__enter__()
    try:
        answer = call_stage(stage, layout, asked, backend)
        name = type(stage).__name__
        selection = check_result(name, answer, layout, tensors["features"])
        values = selection.values
        if selection.merge is not None:
            values = F.merge_rows(tensors["features"], *selection.merge, backend=backend)
    finally:
        if count is not None:
            count.__exit__(None, None, None)
    tensors = tensors if values is None else {**tensors, "features": values}
    keep_mask = selection.keep_mask.cpu()
    index = (keep_mask.nonzero().squeeze(1) if selection.order is None else selection.order).to(keep_mask.device)
    index = index.to(layout.modality.device)

    def thinned(name: str, value: Any) -> Any:
        return value[index] if isinstance(value, Tensor) and parse_input(name).kind != "counts" else value

    left = layout.plan().select(keep_mask, int(keep_mask.sum())).to(layout.modality.device)
    return left, {name: thinned(name, value) for name, value in tensors.items()}


def methods(
    names: Annotated[list[str] | None, typer.Argument(help="methods; all by default")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = METHODS,
) -> None:
    """Every published method's own work on a prompt of the paper's size, with what it asks for given."""
    known(names or [], list(all_methods()), "names")
    place = machine.place(device)
    context = {**machine.describe(place), **busy(place)}
    for row in timed(names, place, repeats):
        row["again"] += into(output, METHODS)
        append(output, {**context, **row})
        Console().print(f"{row['name']}: {row['seconds']['median'] * 1e3:.0f} ms")


def timed(names: list[str] | None, device: torch.device, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per method, at the ratio that it accepts."""
    from seats_ops.cli.model import qwen2_5_omni_7b_config  # Loads transformers.

    config, layout = qwen2_5_omni_7b_config(), PAPER.layout()
    backend = "reference" if device.type == "cpu" else "triton"
    for name, method in all_methods().items():
        if names and name not in names:
            continue
        ratio = accepted_ratio(method, config)
        schedule = method(config, ratio)
        tensors = {key: value.to(device) for key, value in given(layout, schedule, HIDDEN_SIZE).items()}
        on_device = layout.to(device)

        def ours(schedule: Schedule = schedule, layout: TokenLayout = on_device, tensors: Any = tensors) -> object:
            return run_stages(schedule, layout, tensors, backend)

        seconds = measure([{OURS: ours}], device, repeats)[OURS]
        yield {
            "name": name,
            "again": f"python -m benchmarks methods {name} --device {machine.named(device)} --repeats {repeats}",
            "clock": Clock(device).name,
            "backend": backend,
            "dtype": "float32",
            "hidden_size": HIDDEN_SIZE,
            "ratio": ratio,
            "seconds": spread(seconds),
            "repeats": repeats,
        }
