"""What docs/performance.md shows of the GPUs whose folders lie in benchmarks/results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.record import FILE, tests_of
from benchmarks.report.numbers import NOTHING, Times, table
from benchmarks.report.page import PAGE
from benchmarks.report.speed import PAPER_PREFILL, predicted_decoder, prediction
from benchmarks.results import RESULTS, latest

NOBODY = "Nobody has sent one in yet: no number of ours in this section was measured."


def sent_in(results: Path = RESULTS) -> str:
    """One row per folder `gpu-NAME`, at R = 10 %, below the paper's own figure."""
    times = Times(rehearsed=False)
    paper = " -> ".join(times.ms(seconds) for seconds in PAPER_PREFILL)
    body = [["as the paper reports", *[NOTHING] * 3, paper, *[NOTHING] * 3]]
    for file in sorted(results.glob(f"gpu-*/{FILE}")):
        body.append(_row(latest(file), f"[page](../benchmarks/results/{file.parent.name}/{PAGE})", times))
    heads = [
        *("Device", "Revision", "Tests", "Width", "whole prefill, ms", "of it towers, ms", "decoder, ms"),
        "predicted floor of the decoder, ms",
    ]
    return table(heads, body) + ("" if len(body) > 1 else f"\n\n{NOBODY}")


def _row(rows: dict[str, dict[str, Any]], page: str, times: Times) -> list[Any]:
    """The widest prefill of a folder.

    Raises:
        ValueError: its rows are of a rehearsal, which belongs nowhere.
    """
    last = list(rows.values())[-1]
    if any(row.get("rehearsed") for row in rows.values()):
        raise ValueError(f"{page}: found a rehearsal, expected measurements")
    prefills = sorted((row for row in rows.values() if row["name"] == "prefill/10"), key=lambda row: row["width"])
    revision = last["revision"] or f"sources {last['sources']}"
    cells = [f"{last['device']} ({page})", revision, tests_of(rows.values())]
    if not prefills:
        return [*cells, *[NOTHING] * 5]
    widest, gpu = prefills[-1], prediction(last["device"])
    pairs = [
        " -> ".join(times.ms(widest[f"{part}{side}"]["median"]) for side in ("_unpruned", ""))
        for part in ("seconds_with_towers", "seconds_towers", "seconds")
    ]
    floor = " -> ".join(map(times.ms, predicted_decoder(gpu))) if gpu and widest["width"] == 3584 else NOTHING
    return [*cells, widest["width"], *pairs, floor]
