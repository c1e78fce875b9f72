"""Every kernel beside its reference on the CPU and beside the recorded numbers, dtype by dtype."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from benchmarks.gpu.parity_cases import CASES, GREEDY, MOST_TIES
from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.machine import ROOT
from seats_ops.testing.golden import golden_cases
from seats_ops.testing.replay import REPLAYS
from seats_ops.testing.selection import NEAR_TIE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# As in tests/gpu: of the sum of what a token receives, of the order of 1.
SCORE_ERROR = 1e-5
SCORES = ("attention_received", "attention_received_encoder", "query_scores")


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
    return [_judged({"name": f"parity/{name}/{dtype}", "beside": "reference", **case.judge(got.cpu(), expected)})]


def against_goldens(name: str, dtype: str, setting: Setting) -> Rows:
    """The same, over all recorded calls of a kind, which were made in float32.

    Rounded inputs choose otherwise at near-ties: what the reference does with them on the CPU says how often.
    """
    kind, replay = REPLAYS[name]
    place = {"device": setting.device, "backend": "triton", "dtype": DTYPES[dtype]}
    cases = golden_cases(ROOT / "tests" / "golden", kind)[: setting.goldens]
    outcomes = [replay(case, place) for case in cases]
    on_cpu = {**place, "device": torch.device("cpu"), "backend": "reference"}
    expected = [replay(case, on_cpu) for case in cases]
    row = {
        "name": f"parity/goldens/{kind}/{dtype}",
        "beside": "recorded numbers",
        "cases": len(outcomes),
        "decided": sum(outcome.decided for outcome in outcomes),
    }
    if kind in SCORES:
        error = max((o.error for o in outcomes), key=_nan_first)
        off = max((abs(o.error - e.error) for o, e in zip(outcomes, expected, strict=True)), key=_nan_first)
        return [_judged(row | {"error": error, "off": off, "allowed": {"off": SCORE_ERROR}})]
    (differing, margin), (cpu_differing, cpu_margin) = (
        (sum(o.differing for o in each), max((o.margin for o in each), key=_nan_first)) for each in (outcomes, expected)
    )
    allowed = {
        "differing": cpu_differing + row["decided"] // MOST_TIES,
        "margin": max(cpu_margin, NEAR_TIE, torch.finfo(DTYPES[dtype]).eps),
    }
    return [_judged(row | {"differing": differing, "margin": margin, "allowed": allowed})]


def _nan_first(value: float) -> tuple[bool, float]:
    """`max` alone loses a NaN."""
    return math.isnan(value), value


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """With what is wrong, if something is: a number that is not at most what is allowed, no greedy selection."""
    found = [
        f"{key} {row[key]:.3g}, expected at most {most:.3g}"
        for key, most in row["allowed"].items()
        # A NaN is above nothing.
        if not row[key] <= most
    ]
    if row.get("certificate", GREEDY) != GREEDY:
        found.append(f"certificate: {row['certificate']}")
    return {**row, "wrong": f"{row['name']}: {'; '.join(found)}"} if found else row
