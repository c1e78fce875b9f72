"""One entry of the launch table over its grid: what is right, fits and spills nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch

from benchmarks.timing import measure, spread
from benchmarks.tune.cases import Case
from seats_ops.ops.launch import keep_launches
from seats_ops.ops.tile_grid import candidates, grid_of
from seats_ops.ops.tile_tables import hold_tiles
from seats_ops.ops.tiles import Table, Tile

# Less than what repeated runs differ by is no gain.
GAIN = 0.03
# Launches that are timed together: a host takes longer to launch many small ones than they run.
MOST_LAUNCHES = 4
Row = dict[str, Any]


class Broken(RuntimeError):
    """The device answers nothing any more; what broke it is in `row`."""

    def __init__(self, row: Row, error: BaseException) -> None:
        super().__init__(f"the device failed under {row['values']} and has to be asked anew: {error}")
        self.row = row


def sweep(
    case: Case,
    table: Table,
    device: torch.device,
    repeats: int,
    known: list[Row],
    begin: Callable[[Row], None],
    most: int | None = None,
) -> Iterator[Row]:
    """A row per candidate that is not among the `known`: its values, and its seconds or why it was refused.

    Args:
        case: of an entry of `table`.
        begin: is told a candidate before it is tried, as the process may not outlive that.
        most: candidates of the grid that are looked at, the table's own first; all by default.
    """
    seen = [row["values"] for row in known]
    for candidate in islice(candidates(case.entry, table[case.entry]), most):
        row: Row = {"values": values_of(case.entry, candidate)}
        if row["values"] in seen:
            continue
        begin(row)
        try:
            with hold_tiles({**table, case.entry: candidate}):
                row |= _measured(case, device, repeats)
        except AssertionError:
            raise
        except Exception as error:
            row["refused"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            if device.type == "cuda" and not _answers(device):
                raise Broken(row, error) from error
        yield row


def values_of(entry: str, tile: Tile) -> dict[str, int]:
    """The fields that the grid varies."""
    return {field: tile.options[field] for field in grid_of(entry)}


def best(rows: list[Row], own: dict[str, int]) -> dict[str, int]:
    """The fastest values; the table's own unless others gain more than noise."""
    seconds = [(row["seconds"]["median"], row["values"]) for row in rows if "seconds" in row]
    mine = next((taken for taken, values in seconds if values == own), float("inf"))
    least, values = min(seconds, key=lambda timed: timed[0], default=(mine, own))
    return values if least < (1 - GAIN) * mine else own


def _measured(case: Case, device: torch.device, repeats: int) -> Row:
    with keep_launches() as launches:
        result = case.run()
    again = [run for name, run in launches if name in case.kernels][-MOST_LAUNCHES:]
    assert again, f"{case.entry}: launched {[name for name, _ in launches]}, expected {case.kernels}"
    fault = case.fault(result)
    if fault:
        return {"refused": fault}
    # The interpreter compiles nothing.
    spilled = max(compiled.n_spills for compiled in map(_launch, again) if compiled) if device.type == "cuda" else 0
    if spilled:
        return {"refused": f"spills {spilled} registers a thread"}

    def kernels() -> None:
        for run in again:
            run()

    return {"seconds": spread(measure([{"": kernels}], device, repeats)[""])}


def _launch(run: Callable[[], Any]) -> Any:
    return run()


def _answers(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
