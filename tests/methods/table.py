"""The tables of docs/methods.md: `python -m tests.methods.table` writes them anew."""

from __future__ import annotations

import ast
import functools
import inspect
import io
import token
import tokenize
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.methods import HIDDEN_SIZE, METHODS, PAPER, RATIO, Clip, accepted_ratio, given, run_stages
from benchmarks.report.marks import replaced
from benchmarks.results import read
from seats_ops import Schedule
from seats_ops.cli.model import qwen2_5_omni_7b_config
from seats_ops.cost import prefill_cost
from seats_ops.methods import AtCost, Method, Protocol, at_equal_cost, methods
from seats_ops.methods.method import count_kinds, inputs_of
from seats_ops.testing.device_work import CountDeviceWork
from seats_ops.testing.stand_in_device import Device

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
PACKAGE = "seats_ops.methods"
CONFIG = qwen2_5_omni_7b_config()
USUAL = ("features", "saliency", "scores")
NOT_CODE = (token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER, tokenize.NL, tokenize.COMMENT)


def own_methods() -> dict[str, Method]:
    """Those of this package; a test or a reader may have registered others."""
    return {name: one for name, one in methods().items() if str(one.build.__module__).startswith(f"{PACKAGE}.")}


def lines_of_code(source: str) -> int:
    """Lines that hold code, without docstrings, comments and imports."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.stmt)
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held: set[int] = set()
    for part in tokenize.generate_tokens(io.StringIO(source).readline):
        if part.type not in NOT_CODE:
            held.update(range(part.start[0], part.end[0] + 1))
    return len(held - left_out)


@functools.cache
def device_work(schedule: Schedule, clip: Clip) -> tuple[int, int]:
    """(launches, reads) of a schedule's stages, merges included, on a device without hardware."""
    layout, device, count = clip.layout(), Device(insides=False), CountDeviceWork()
    tensors = device.put(given(layout, schedule, 32))
    with device:
        run_stages(schedule, layout.to(torch.device("meta")), tensors, "triton", count=count)
    return count.work.launches, len(device.reads) + count.work.reads


@functools.cache
def equal_cost() -> dict[str, AtCost]:
    """Every method where layers see RATIO of the media on average."""
    return {one.name: one for one in at_equal_cost(own_methods(), CONFIG, PAPER.lengths, retention=RATIO)}


def recorded() -> dict[str, dict[str, Any]]:
    """The last row of every method."""
    return {row["name"]: row for row in read(METHODS)} if METHODS.exists() else {}


def numbers() -> list[str]:
    """One row per method."""
    rows = [
        ["method", "counted", "lines", "asks further for", "FLOPs", "own", "own ratio", "launches", "reads", "own ms"],
        ["---", "---", "---:", "---", "---:", "---:", "---:", "---:", "---:", "---:"],
    ]
    rows += [_numbers_of(name, one) for name, one in own_methods().items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def _numbers_of(name: str, one: Method) -> list[str]:
    at, timed, ratio = equal_cost()[name], recorded().get(name), accepted_ratio(one, CONFIG)
    asked = one(CONFIG, ratio)
    kinds = ", ".join(count_kinds(asked))
    further = ", ".join(f"`{item}`" for item in inputs_of(asked) if item not in USUAL) or "-"
    cost = prefill_cost(CONFIG, asked, PAPER.lengths)
    launches, reads = device_work(asked, PAPER)
    return [
        f"[{name}](#{name})",
        kinds,
        str(lines_of_code(inspect.getsource(inspect.getmodule(one.build) or one.build))),
        further,
        "~" * ("data" in kinds) + f"{cost.flops_share:.3f}" + f" at {ratio}" * (ratio != RATIO),
        _percent(cost.selection_flops / cost.full_flops) + "+" * bool(cost.unsaid),
        "-" if at.ratio is None else f"{at.ratio:.3f}",
        f"{launches:,}",
        str(reads),
        "-" if timed is None else f"{timed['seconds']['median'] * 1e3:,.0f}",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share >= 5e-5 else "< 0.01 %" if share else "0"


def notes() -> list[str]:
    """What the table cannot say in a cell."""
    lines = []
    for name, at in equal_cost().items():
        if at.ratio is None:
            lines.append(f"- {name}: no own ratio, as it {_escaped(at.reason.removeprefix('ratio: '))}")
    for name, one in own_methods().items():
        try:
            one(CONFIG, RATIO)
        except ValueError as error:
            ratio = accepted_ratio(one, CONFIG)
            lines.append(f"- {name}: its row is of {ratio}, as it refuses {RATIO}: {_escaped(str(error))}")
    timed = recorded()
    places = dict.fromkeys(f"{row['device']} ({row['time'][:10]})" for n, row in timed.items() if n in own_methods())
    if places:
        lines.append(f"- own ms: recorded on {'; '.join(places)}, one thread, D = {HIDDEN_SIZE}, float32, reference")
    return lines


def sections() -> list[str]:
    """What every method means by its numbers."""
    lines: list[str] = []
    for name, one in own_methods().items():
        options = ", ".join(f"`{option}={default!r}`" for option, default in one.options.items())
        lines += [f"### {name}", "", f"{_escaped(one.source)}.", ""]
        lines += [f"- {title}: {_escaped(text)}" for title, text in one.protocol.said(usual=False).items()]
        lines += [f"- options: {options}"] * bool(options) + [""]
    return lines[:-1]


def _escaped(text: str) -> str:
    return text.replace("*", r"\*").replace("_", r"\_").replace("|", r"\|").replace("<", r"\<")


def usual() -> list[str]:
    """The defaults, which sections leave out."""
    said = [item for item in fields(Protocol) if isinstance(item.default, str)]
    text = "; ".join(f"{item.name.replace('_', ' ')}: {_escaped(str(item.default))}" for item in said)
    return [f"Where nothing else is said: {text}."]


PARTS = {"numbers": numbers, "notes": notes, "usual": usual, "protocols": sections}


def made() -> str:
    """The page as it should be."""
    return replaced(PAGE.read_text(encoding="utf-8"), {name: make() for name, make in PARTS.items()})


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
