"""Tables of what takes longer than a prefill: ever longer clips, decoding, and serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.report.numbers import NOTHING, table

MIB = 2**20
Rows = Sequence[dict[str, Any]]


def growth(rows: Rows) -> str:
    """By axis: milliseconds and, in brackets, MiB at the peak."""
    parts = []
    for axis in ("tokens", "windows", "batch"):
        along = [row for row in rows if row["axis"] == axis]
        if not along:
            continue
        places = sorted({row["place"] for row in along})
        cells = {
            (row["entry"], row["place"]): f"{1e3 * row['seconds']['median']:,.1f} ({row['peak_bytes'] / MIB:,.0f})"
            for row in along
        }
        body = [
            [f"`{entry}`", *(cells.get((entry, p), NOTHING) for p in places)]
            for entry in sorted({row["entry"] for row in along})
        ]
        parts.append(table([axis, *(f"{place:,}" for place in places)], body))
    return "\n\n".join(parts)


def decode(rows: Rows) -> str:
    """By side, the model without pruning among them."""
    body = [
        [
            row["name"].removeprefix("decode/"),
            f"{row['seconds_to_first_token']['median']:.2f}",
            f"{1e3 * row['seconds_per_token']['median']:.1f}",
            f"{row['kv_bytes'] / MIB:.1f}",
            f"{(row['rss_peak'] - row['rss_loaded']) / MIB:.0f}",
            f"{(row['rss_with_cache'] - row['rss_loaded']) / MIB:.0f}",
        ]
        for row in rows
    ]
    heads = ("first token, s", "further token, ms", "KV, MiB", "peak RSS over the model, MiB", "RSS left, MiB")
    return table(["Side", *heads], body)


def serving(rows: Rows) -> str:
    """By requests at once: ratios of tokens a second, in brackets the least and the most of a pair of rounds."""
    heads = ("tokens a second, times as many", "first token, times sooner")
    parts = tuple(rows[0]["parts"])
    body = []
    for row in rows:
        pairs = zip(row["seconds_unpruned"]["raw"], row["seconds"]["raw"], strict=True)
        each = sorted(before / after for before, after in pairs)
        shares = [f"{row['parts_unpruned'][part]:.0%} -> {row['parts'][part]:.0%}" for part in parts]
        speed = f"{row['speedup']:.2f} ({each[0]:.2f} to {each[-1]:.2f})"
        body.append([row["concurrency"], speed, f"{row['speedup_first_token']:.2f}", *shares])
    return table(["At once", *heads, *parts], body)
