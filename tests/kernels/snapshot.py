"""What every shipped kernel looks like compiled, per Triton version, in a file that changes are reviewed in.

`python -m tests.kernels.snapshot` compiles all variants anew whose inputs have changed and writes the file;
`--all` compiles everything.
"""

from __future__ import annotations

import functools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import triton
from triton.compiler.errors import CompilationError

from seats_ops.testing.aot import Variant, compile_variant, problems, variants
from tests.kernels.shipped import shipped_configs

FILE = Path(__file__).parent / "snapshots" / f"triton-{triton.__version__}.json"

Entry = dict[str, Any]


def recorded() -> dict[str, Entry]:
    """The file for the running Triton version, empty if there is none."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def fresh_entry(name: str) -> Entry | None:
    """Compile one variant, None if that fails; takes a name because kernels do not travel between processes."""
    variant = _variants()[name]
    try:
        report = compile_variant(variant)
    except CompilationError as error:
        print(f"{name}: does not compile: {error.__cause__ or error}", flush=True)
        return None
    for problem in problems(variant, report):
        print(problem, flush=True)
    return {"key": variant.key(), **asdict(report)}


@functools.cache
def _variants() -> dict[str, Variant]:
    return all_variants()


def all_variants() -> dict[str, Variant]:
    return {variant.name: variant for variant in variants(shipped_configs())}


def refresh(everything: bool) -> None:
    old, wanted = recorded(), all_variants()
    current = {} if everything else {n: old[n] for n, v in wanted.items() if old.get(n, {}).get("key") == v.key()}
    stale = sorted(wanted.keys() - current.keys())
    print(f"triton {triton.__version__}: compiling {len(stale)} of {len(wanted)} variants", flush=True)
    with ProcessPoolExecutor(max_workers=2) as pool:
        for name, entry in zip(stale, pool.map(fresh_entry, stale), strict=True):
            if entry is not None:
                current[name] = entry
                # Written as we go: an interrupted run is taken up where it stopped.
                write(current)


def write(entries: dict[str, Entry]) -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())]
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    refresh("--all" in sys.argv[1:])
