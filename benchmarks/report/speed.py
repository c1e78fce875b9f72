"""What a page says of times, beside what data sheets let expect and what the paper reports."""

from __future__ import annotations

from typing import Any

from benchmarks import paper_model as model
from benchmarks.entry import OURS, PAPER
from benchmarks.report.numbers import NOTHING, Times, significant, table
from seats_ops import Schedule

Rows = dict[str, dict[str, Any]]
MIB = 2**20
PAPER_PREFILL = (0.935, 0.215)
"""Seconds without pruning and at R = 10 %, selection included, as arXiv 2605.20035 reports them (docs/method.md)."""


def prediction(device: str) -> model.Gpu | None:
    """The data sheet that docs/performance.md predicts from, if it is of this device."""
    return next((gpu for gpu in model.GPUS if gpu.known_as == device), None)


def kernel_seconds(side: dict[str, Any]) -> float:
    """Seconds of the kernels; on a CPU there is only one time."""
    return float(side.get("kernel", side)["median"])


def waits(found: dict[str, Any]) -> str:
    """Waits of the host that sync debug mode sees, and copies from pageable memory, some of which it does not."""
    copies = found.get("pageable_copies")
    return f"{found.get('host_reads', NOTHING)}{f', {copies} pageable copies' if copies else ''}"


def ceilings(rows: Rows, times: Times) -> str:
    row = rows.get("ceilings")
    if row is None or times.rehearsed:
        return ""
    gpu = prediction(row["device"])
    body = [
        ["copy, TB/s", f"{row['bytes_per_s'] / 1e12:.2f}", f"{gpu.memory / 1e12:.2f}" if gpu else NOTHING],
        ["matrix product, TFLOP/s", f"{row['flops_per_s'] / 1e12:.0f}", f"{gpu.bf16 / 1e12:.0f}" if gpu else NOTHING],
        ["from launch to launch, µs", f"{1e6 * row['launch']['median']:.2f}", f"{1e6 * model.LAUNCH_SECONDS:.0f}"],
    ]
    return table(["", "measured", "data sheet or assumed"], body)


def kernels(rows: Rows, times: Times) -> str:
    """Every side of every entry: a caller's time, the kernels' own, what they ask, and their share of the ceilings."""
    body = []
    for row in rows.values():
        gpu = prediction(row["device"]) if row.get("size") == PAPER.name else None
        work = model.primitives().get(row["name"]) if gpu else None
        for name, side in row.get("sides", {}).items():
            ours = name == OURS
            best = row["ceilings"]
            body.append(
                [
                    f"`{row['name']}`" if ours else "",
                    "ours" if ours else name,
                    times.ms(side.get("caller", side)["median"]),
                    times.ms(kernel_seconds(side)),
                    side.get("kernel_clock", row.get("clock", NOTHING)),
                    times.ms(work.seconds(gpu)) if ours and gpu and work else NOTHING,
                    times.share(row["flops"] / kernel_seconds(side) / best["flops_per_s"]),
                    times.share(row["bytes"] / kernel_seconds(side) / best["bytes_per_s"]),
                    side.get("launches", NOTHING),
                    waits(side),
                    side.get("capture", NOTHING),
                    f"{side['peak_bytes'] / MIB:.1f}",
                    times.ms(side.get("kernel_durations")),
                ]
            )
    heads = [
        *("Entry", "side", "for a caller, ms", "kernels alone, ms", "measured by", "predicted floor, ms"),
        *("of FLOP/s", "of bytes/s", "launches", "host waits", "CUDA graph", "peak, MiB"),
        "kernels' durations added up, ms",
    ]
    return table(heads, body) if body else ""


def prefill(rows: Rows, times: Times) -> str:
    """By retention; predictions where there are some, and the paper's figure."""
    found = [row for name, row in rows.items() if name.startswith("prefill/")]
    if not found:
        return ""
    body = []
    for row in sorted(found, key=lambda row: (row["width"], -int(row["name"].partition("/")[2]))):
        sides = [times.ms(row[f"seconds_with_towers{side}"]["median"]) for side in ("_unpruned", "")]
        decoder = [times.ms(row[f"seconds{side}"]["median"]) for side in ("_unpruned", "")]
        alone = [times.ms(row[key]) for key in ("kernel_seconds_unpruned", "kernel_seconds") if key in row]
        peaks = [f"{row[key] / MIB:,.0f}" for key in ("peak_bytes_unpruned", "peak_bytes") if key in row]
        body.append(
            [
                row["width"],
                f"{row['name'].partition('/')[2]} %",
                " -> ".join(sides),
                " -> ".join(decoder),
                times.ratio(row["speedup"]),
                times.share(row["realised_of_executed"]),
                times.share(row["own_share_of_prefill"]),
                " -> ".join(alone) or NOTHING,
                row.get("launches", NOTHING),
                waits(row),
                " -> ".join(peaks) or NOTHING,
            ]
        )
    heads = [
        *("Width", "R", "whole, ms", "decoder, ms", "decoder's speed-up", "of executed FLOPs", "ours, of all"),
        *("kernels alone, ms", "launches", "host waits", "peak, MiB"),
    ]
    return table(heads, body) + "\n\n" + beside(found[-1]["device"])


def beside(device: str) -> str:
    """The paper's figure, and the predictions of docs/performance.md for this device."""
    paper = " -> ".join(f"{1e3 * seconds:.0f}" for seconds in PAPER_PREFILL)
    lines = [f"The paper reports about {paper} ms at R = 10 %, selection included, on its own prompts and machine."]
    gpu = prediction(device)
    if gpu:
        seconds = (*predicted_decoder(gpu), model.tower_flops() / gpu.bf16, *model.own_seconds(gpu))
        values = [1e3 * each for each in seconds]
        first, second, towers, ours, exposed = map(significant, values)
        lines.append(
            f"Predicted floors at width 3584 and R = 10 %: decoder {first} -> {second} ms, towers {towers} ms, "
            f"ours {ours} ms and {exposed} ms of launches."
        )
    return "\n".join(lines)


def predicted_decoder(gpu: model.Gpu) -> tuple[float, float]:
    """Seconds at least, without pruning and at R = 10 %, for the prompt of the tables."""
    full, pruned = (model.decoder_flops(stages) / gpu.bf16 for stages in (Schedule(), model.schedule()))
    return full, pruned
