"""Every kernel beside its reference on the CPU and beside the recorded numbers, dtype by dtype."""

from __future__ import annotations

import functools

import torch

from benchmarks.gpu.parity_cases import CASES
from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.machine import ROOT
from seats_ops.testing.golden import golden_cases
from seats_ops.testing.replay import REPLAYS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def steps(setting: Setting) -> list[Step]:
    reference = [
        Step(f"parity/{name}/{dtype}", 4, functools.partial(against_reference, name, dtype, setting))
        for name in CASES
        for dtype in DTYPES
    ]
    recorded = [
        Step(f"parity/goldens/{kind}/{dtype}", 3, functools.partial(against_goldens, name, dtype, setting))
        for name, (kind, _) in REPLAYS.items()
        for dtype in DTYPES
    ]
    return [*reference, *recorded]


@torch.no_grad()
def against_reference(name: str, dtype: str, setting: Setting) -> Rows:
    """One row: "decided", "differing" and "margin" of selections, "error" of scores."""
    case = CASES[name](setting.size, DTYPES[dtype])
    expected = case.call(**case.inputs, backend="reference")
    moved = {key: tensor.to(setting.device) for key, tensor in case.inputs.items()}
    got = case.call(**moved, backend="triton")
    return [{"name": f"parity/{name}/{dtype}", "beside": "reference", **case.judge(got.cpu(), expected)}]


def against_goldens(name: str, dtype: str, setting: Setting) -> Rows:
    """The same, over all recorded calls of a kind, which were made in float32."""
    kind, replay = REPLAYS[name]
    place = {"device": setting.device, "backend": "triton", "dtype": DTYPES[dtype]}
    cases = golden_cases(ROOT / "tests" / "golden", kind)[: setting.goldens]
    outcomes = [replay(case, place) for case in cases]
    row = {
        "name": f"parity/goldens/{kind}/{dtype}",
        "beside": "recorded numbers",
        "cases": len(outcomes),
        "decided": sum(outcome.decided for outcome in outcomes),
    }
    if kind == "attention_received":
        return [row | {"error": max(outcome.error for outcome in outcomes)}]
    differing, margin = sum(o.differing for o in outcomes), max(o.margin for o in outcomes)
    return [row | {"differing": differing, "margin": margin}]
