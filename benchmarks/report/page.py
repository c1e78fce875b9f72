"""The page that a stranger can send in: `report.md` and its pictures, beside the file of results or elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import FILE
from benchmarks.report import breakdown, roofline
from benchmarks.report.checks import Rows, capture, parity, sanitizer, tests
from benchmarks.report.longer import decode, growth
from benchmarks.report.numbers import Times, table
from benchmarks.report.speed import ceilings, kernels, prefill
from benchmarks.results import latest, read, require

PAGE = "report.md"
BANNER = """# ⚠ REHEARSAL ⚠
# NOTHING ON THIS PAGE WAS MEASURED ON A GPU
A stand-in walked the paths of the command on a CPU, at small sizes. No time is shown, because none is one.
"""


def write(results: Path, target: Path | None = None) -> Path:
    """The page of a file, or of the folder of a GPU.

    Raises:
        ValueError: there is nothing to show.
    """
    file = results / FILE if results.is_dir() else results
    target = target or (results if results.is_dir() else file.with_suffix(""))
    if not file.exists():
        raise ValueError(f"results: found no {file}, expected a file of results or a folder with {FILE}")
    every = read(file)
    rows = latest(file) if every else {}
    if not rows:
        raise ValueError(f"{file}: found no rows")
    require(file, rows.values(), "time", "versions", "cores", "threads")
    target.mkdir(parents=True, exist_ok=True)
    rehearsed = any(row.get("rehearsed") for row in rows.values())
    times = Times(rehearsed)
    try:
        pictures = {
            name: module.draw(rows, target / f"{name}.png", rehearsed)
            for name, module in (("roofline", roofline), ("breakdown", breakdown))
        }
        sections = _sections(rows, times, pictures)
    except KeyError as error:
        raise ValueError(f"{file}: found a row without {error}, expected rows as `benchmarks` writes them") from error
    text = "\n\n".join([_head(rows, rehearsed), *(f"## {title}\n{body}" for title, body in sections.items() if body)])
    (target / PAGE).write_text(text + "\n", encoding="utf-8")
    return target / PAGE


def _sections(rows: Rows, times: Times, pictures: dict[str, bool]) -> dict[str, str]:
    return {
        "Steps": _steps(rows),
        "Tests on the device": tests(rows),
        "Kernels beside their references": parity(rows),
        "Memory errors": sanitizer(rows),
        "What the device can do at best": ceilings(rows, times),
        "Primitives and stages": kernels(rows, times) + _picture("roofline", pictures),
        "Operators in CUDA graphs": capture(rows),
        "Whole prefill": prefill(rows, times) + _picture("breakdown", pictures),
        "Growth: ms (MiB at the peak)": _of("growth/", rows, growth, times),
        "Decoding": _of("decode/", rows, decode, times),
        "How to repeat a row": _again(rows),
    }


def _picture(name: str, pictures: dict[str, bool]) -> str:
    return f"\n\n![{name.capitalize()}]({name}.png)" if pictures[name] else ""


def _head(rows: dict[str, dict[str, Any]], rehearsed: bool) -> str:
    last = list(rows.values())[-1]
    facts = {
        "device": last["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items()),
        "revision": "; ".join(dict.fromkeys(map(_revision, rows.values()))),
        "measured": f"{min(row['time'] for row in rows.values())} to {max(row['time'] for row in rows.values())}",
        "cores, threads": f"{last['cores']}, {last['threads']}",
    }
    device = rows.get("device", {})
    if device:
        memory = f"{device['memory_bytes'] / 2**30:.0f} GiB"
        facts["compute capability"] = f"{device['capability']}, {device['multiprocessors']} multiprocessors, {memory}"
        facts["driver"] = ", ".join(f"{k} {v}" for k, v in device["nvidia_smi"].items()) or "unknown"
        facts["CUDA or HIP"] = device["cuda"] or device["hip"] or "none"
    anyway = dict.fromkeys(said for row in rows.values() for said in row.get("anyway", ()))
    if anyway:
        facts["not as expected"] = "; ".join(anyway)
    title = BANNER if rehearsed else f"# seats_ops on {last['device']}\n"
    return title + table(["", ""], list(facts.items()))


def _of(prefix: str, rows: Rows, show: Callable[[list[dict[str, Any]]], str], times: Times) -> str:
    """A table of rows that no stand-in gives."""
    found = [row for name, row in rows.items() if name.startswith(prefix)]
    return show(found) if found and not times.rehearsed else ""


def _revision(row: dict[str, Any]) -> str:
    state = {True: ", changed since", None: ", not checked by git"}.get(row.get("dirty"), "")
    return f"{row.get('revision') or 'unknown'}{state}, sources {row.get('sources', 'unknown')}"


def _steps(rows: dict[str, dict[str, Any]]) -> str:
    marks = {row["step"]: row for name, row in rows.items() if name.startswith("step/")}
    if not marks:
        return ""
    failed = [f"- `{name}` failed: {row['error']}" for name, row in marks.items() if row["status"] != "done"]
    return "\n".join([f"{len(marks) - len(failed)} done, {len(failed)} failed.", *failed])


def _again(rows: dict[str, dict[str, Any]]) -> str:
    found = [[f"`{name}`", f"`{row['again']}`"] for name, row in rows.items() if "again" in row]
    return table(["Row", "Command"], found) if found else ""
