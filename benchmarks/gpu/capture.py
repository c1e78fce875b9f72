"""Whether a CUDA graph can hold the operators; the primitives' own rows say it of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.kernel_time import capture_of
from benchmarks.observe import host_waits, kernels, launches, pageable
from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner, WindowBudgetAllocator
from seats_ops.testing import layout_of_runs
from seats_ops.testing.stage_inputs import tensors_for

CLIP = [(Modality.TEXT, 20), *[(Modality.VIDEO, 288), (Modality.AUDIO, 50)] * 6, (Modality.TEXT, 12)]
OPERATORS = ("DiversitySelector", "WindowBudgetAllocator", "StagePruner", "ModalityDropper")


def steps(setting: Setting) -> list[Step]:
    return [Step(f"capture/{name}", 3, functools.partial(_rows, name, setting)) for name in OPERATORS]


def _rows(name: str, setting: Setting) -> Rows:
    run = calls(setting.device)[name]
    run()
    waits = host_waits(run)
    done = kernels(run, setting.device)
    counts = {"launches": launches(done), "host_reads": waits, "pageable_copies": pageable(done)}
    return [{"name": f"capture/{name}", **counts, "capture": capture_of(run, waits)}]


def calls(device: torch.device) -> dict[str, Callable[[], Any]]:
    """Every operator on a clip of twelve seconds."""
    host = layout_of_runs([CLIP], block_length={Modality.VIDEO: 288, Modality.AUDIO: 50})
    given = {name: x.to(device) for name, x in tensors_for(host, torch.bfloat16, dim=256).items()}
    layout, scores = host.to(device), given["scores"]
    select, allocate, prune, drop = (
        DiversitySelector(0.2),
        WindowBudgetAllocator(),
        StagePruner(0.5),
        ModalityDropper(),
    )
    return {
        "DiversitySelector": lambda: select(given["features"], layout, saliency=given["saliency"]),
        "WindowBudgetAllocator": lambda: allocate(scores, layout, 0.5),
        "StagePruner": lambda: prune(scores, layout),
        "ModalityDropper": lambda: drop(layout),
    }
