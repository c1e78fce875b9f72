"""What every shipped kernel looks like compiled, per Triton version, in a file that changes are reviewed in.

`python -m tests.kernels.snapshot` compiles all variants anew whose inputs have changed and writes the file;
`--all` compiles everything, and sees what is compiled to something else than was recorded. Ends with an error if there
is a problem.
"""

from __future__ import annotations

import functools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, fields
from pathlib import Path

import triton
from triton.errors import TritonError

from seats_ops.testing.aot import Variant, compile_variant, problems, variants
from seats_ops.testing.machine_code import CodeReport
from seats_ops.testing.shipped import shipped_configs

FOLDER = Path(__file__).parent / "snapshots"
FILE = FOLDER / f"triton-{triton.__version__}.json"
VERSIONS = ("3.6.0", "3.7.1", "3.8.0", "3.9.0")
"""Of Triton, every one with a file."""
COLUMNS = ("key", *(field.name for field in fields(CodeReport)))
WORKERS = 2

Entries = dict[str, tuple[str, CodeReport]]


def recorded(file: Path = FILE) -> Entries:
    """Key and report of every variant by name, empty if there is no file."""
    if not file.exists():
        return {}
    rows = json.loads(file.read_text())
    assert tuple(rows.pop("columns")) == COLUMNS, f"{file.name}: expected the columns {COLUMNS}"
    return {name: (key, CodeReport(*numbers)) for name, (key, *numbers) in rows.items()}


def all_variants() -> dict[str, Variant]:
    return {variant.name: variant for variant in variants(shipped_configs)}


_variants = functools.cache(all_variants)


def fresh(name: str) -> CodeReport | str:
    """Compile one variant, or say why not; takes a name because kernels do not travel between processes."""
    try:
        return compile_variant(_variants()[name])
    except TritonError as error:
        return f"{name}: does not compile: {error.__cause__ or error}"


def refresh(everything: bool) -> int:
    """Bring the file up to date, say what is wrong with what was compiled, and count it."""
    old, wanted = recorded(), all_variants()
    keys = {name: variant.key() for name, variant in wanted.items()}
    current = {} if everything else {n: old[n] for n, key in keys.items() if n in old and old[n][0] == key}
    stale = [name for name in wanted if name not in current]
    print(f"triton {triton.__version__}: compiling {len(stale)} of {len(wanted)} variants", flush=True)
    wrong = 0
    with ProcessPoolExecutor(max_workers=WORKERS) as pool:
        for name, report in zip(stale, pool.map(fresh, stale), strict=True):
            if isinstance(report, str):
                found = [report]
            else:
                found = problems(wanted[name], report)
                if name in old and old[name][0] == keys[name] and old[name][1] != report:
                    found.append(f"{name}: recorded {old[name][1]}, compiled {report}")
                current[name] = keys[name], report
                # Written as we go: an interrupted run is taken up where it stopped.
                write(current)
            wrong += len(found)
            print("".join(f"{problem}\n" for problem in found), end="", flush=True)
    write(current)
    return wrong


def write(entries: Entries) -> None:
    rows = {"columns": COLUMNS, **{name: (key, *astuple(report)) for name, (key, report) in sorted(entries.items())}}
    lines = [f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in rows.items()]
    FILE.parent.mkdir(exist_ok=True)
    half = FILE.with_suffix(".part")
    half.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    half.replace(FILE)


if __name__ == "__main__":
    count = refresh("--all" in sys.argv[1:])
    sys.exit(f"{FILE.name}: {count} problems" if count else None)
