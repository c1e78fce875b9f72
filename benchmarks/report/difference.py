"""Two sets of measurements of the same things: how many times as long, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.entry import OURS
from benchmarks.gpu.record import FILE
from benchmarks.results import FORMAT, read, require, timings

# Fewer measurements say nothing about how much they vary.
LEAST = 5
# What two rows must have in common to be of the same thing.
SAME = ("name", "kind", "size", "width", "prompt_tokens", "clock")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """One timing in both sets.

    Attributes:
        name: of the row and of the timing in it.
        ours: whether code of this package decides it.
        before, after: medians, in seconds.
        low, high: the interval of after / before; None where there are fewer than LEAST measurements. Of ours that took
            turns with other code it is that of the time beside the other's: a slow moment of the machine is both's.
    """

    name: str
    ours: bool
    before: float
    after: float
    low: float | None
    high: float | None

    @property
    def judged(self) -> bool:
        """Whether there are enough measurements."""
        return self.low is not None

    def slower(self, threshold: float) -> bool:
        """By more than the threshold, and surely so."""
        return self.ours and self.low is not None and self.low > threshold


def differences(before: str, after: str, confidence: float = 0.95) -> list[Difference]:
    """Of everything that both hold. Measurements of several runs at one revision are put together.

    Args:
        before, after: a file of rows or the folder of a GPU, and, after an @, the revision; else that of the last row.

    Raises:
        RuntimeError: no scipy.
        ValueError: rows of another format, of several states of the sources, of a rehearsal, on a CPU of another
            number of threads; nothing in common.
    """
    sets = [_rows(before), _rows(after)]
    # Of the host, which on a GPU computes nothing.
    threads = [sorted({row["threads"] for row in rows if row["kind"] == "cpu"}) for rows in sets]
    if all(threads) and threads[0] != threads[1]:
        raise ValueError(f"threads: found {threads[0]} in {before} and {threads[1]} in {after}, expected the same")
    first, second = map(_measurements, sets)
    both = [key for key in first if key in second]
    if not both:
        raise ValueError(f"{before}, {after}: found no row in both, expected some of the same {', '.join(SAME)}")
    return [_difference(key, first[key], second[key], confidence) for key in both]


def _rows(source: str) -> list[dict[str, Any]]:
    name, revision = source, ""
    if not Path(source).exists() and "@" in source:
        name, _, revision = source.rpartition("@")
    file = Path(name) / FILE if Path(name).is_dir() else Path(name)
    if not file.exists():
        raise ValueError(f"{source}: found no {file}, expected a file of results or a folder with {FILE}")
    rows = read(file)
    known = list(dict.fromkeys(str(row.get("revision")) for row in rows))
    revision = revision or (known[-1] if known else "")
    rows = [row for row in rows if str(row.get("revision")) == revision]
    if not rows:
        raise ValueError(f"{source}: found no rows of revision {revision!r}, expected one of {', '.join(known)}")
    old = sorted({row["name"] for row in rows if row.get("format") != FORMAT})
    if old:
        raise ValueError(
            f"{source}: found rows without single measurements ({', '.join(old[:3])}), expected format {FORMAT}; "
            "run them again"
        )
    require(file, rows, "kind", "threads")
    for what, key in (("states of the sources", "sources"), ("launch tables", "tiles")):
        several = sorted({str(row.get(key)) for row in rows})
        if len(several) > 1:
            raise ValueError(
                f"{source}: found several {what} at revision {revision} ({', '.join(several)}), expected one; "
                "keep each in a file of its own"
            )
    if any(row.get("rehearsed") for row in rows):
        raise ValueError(f"{source}: found a rehearsal, expected measurements")
    return rows


def _measurements(rows: list[dict[str, Any]]) -> dict[Key, list[tuple[float, float]]]:
    """By timing: every measurement in seconds, and over that of the same round beside which it is judged, else 1."""
    found: dict[Key, list[tuple[float, float]]] = {}
    for row in rows:
        raws = dict(timings(row))
        for path, raw in raws.items():
            rival = raws.get(_rival(path, raws), [])
            beside = rival if len(rival) == len(raw) else [1.0] * len(raw)
            pairs = [(own, own / other) for own, other in zip(raw, beside, strict=True)]
            found.setdefault((*(row.get(key) for key in SAME), path), []).extend(pairs)
    return found


def _rival(path: tuple[str, ...], paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What took turns with a timing of ours: the first other side, or the model without pruning; () if nothing did."""
    if path[0] == "sides":
        others = (other for other in paths if other[0] == "sides" and other[1] != OURS and other[2:] == path[2:])
        return next(others, ()) if path[1] == OURS else ()
    return (f"{path[0]}_unpruned", *path[1:]) if _ours(path) else ()


Pairs = list[tuple[float, float]]


def _difference(key: Key, before: Pairs, after: Pairs, confidence: float) -> Difference:
    import numpy as np

    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise RuntimeError("scipy: found none, expected it for intervals; pip install 'seats_ops[bench]'") from error

    def ratio(a: Any, b: Any, axis: int = -1) -> Any:
        return np.median(b, axis=axis) / np.median(a, axis=axis)

    low = high = None
    if min(len(before), len(after)) >= LEAST:
        beside = [[relative for _, relative in side] for side in (before, after)]
        sample = bootstrap(
            beside, ratio, confidence_level=confidence, method="percentile", rng=np.random.default_rng(0)
        )
        low, high = map(float, sample.confidence_interval)
    name, path = key[0], key[-1]
    widths = f" at width {key[SAME.index('width')]}" if key[SAME.index("width")] else ""
    return Difference(
        f"{name}{widths}: {' '.join(path)}",
        _ours(path),
        *(float(np.median([seconds for seconds, _ in side])) for side in (before, after)),
        low,
        high,
    )


def _ours(path: tuple[str, ...]) -> bool:
    """Others' code, models without pruning and their towers, and the device itself are shown, and judge nobody."""
    if path[0] == "sides":
        return path[1] == OURS
    return path[0] != "launch" and not path[0].endswith("_unpruned") and not path[0].startswith("seconds_towers")


def lines(found: list[Difference], threshold: float) -> Iterator[list[str]]:
    """Cells of a table: name, medians in ms, how many times as long, the interval, a verdict."""
    for each in found:
        interval = "too few" if each.low is None else f"{each.low:.3f} to {each.high:.3f}"
        if each.slower(threshold):
            verdict = "SLOWER"
        elif each.high is not None and each.high < 1 / threshold:
            verdict = "faster"
        else:
            verdict = ""
        medians = [f"{1e3 * seconds:.4g}" for seconds in (each.before, each.after)]
        yield [each.name, *medians, f"{each.after / each.before:.3f}", interval, verdict]
