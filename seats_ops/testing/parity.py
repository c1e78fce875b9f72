"""One command that says how far this machine is from the recorded numbers: `python -m seats_ops.testing.parity`.

Every backend that runs here, in every dtype: how many of the tokens that the authors' implementation kept (in float32)
are not kept, and how wide a gap was crossed. In bfloat16 and float16 the inputs themselves are rounded, so some
near-ties must fall the other way.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import torch

import seats_ops
from seats_ops.testing.golden import golden_cases
from seats_ops.testing.replay import REPLAYS, Outcome, Place

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def places(only: str | None = None) -> Iterator[Place]:
    """Every (device, backend, dtype) that runs in this process, of one backend if `only` names it."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        from seats_ops.testing.interpreter import repair_interpreter

        repair_interpreter()
    pairs = [("cpu", "reference")]
    if os.environ.get("TRITON_INTERPRET") == "1":
        pairs.append(("cpu", "triton"))
    if torch.cuda.is_available():
        pairs += [("cuda", "reference"), ("cuda", "triton")]
    for device, backend in pairs:
        for dtype in DTYPES if only in (None, backend) else ():
            yield {"device": device, "backend": backend, "dtype": dtype}


def row(primitive: str, place: Place, outcomes: list[Outcome]) -> str:
    """One line of the report."""
    decided, differing = (sum(getattr(o, name) for o in outcomes) for name in ("decided", "differing"))
    where = f"{place['device']:<5} {place['backend']:<10} {str(place['dtype']).removeprefix('torch.'):<9}"
    line = f"{primitive:<29} {where} {len(outcomes):>3} cases"
    if any(outcome.error for outcome in outcomes):
        return f"{line}  largest error {max(o.error for o in outcomes):.1e} over {decided} scores"
    line += f"  {differing} of {decided} tokens differ"
    return f"{line}, widest gap crossed {max(o.margin for o in outcomes):.1e}" if differing else line


def revision() -> str:
    """The commit of the sources, "+" if they differ from it, or the version of an installed package."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not (root / ".git").exists():
            return seats_ops.__version__
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "seats_ops", "integrations")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return seats_ops.__version__


def header() -> str:
    """What the numbers below it were made with."""
    try:
        import triton

        version = triton.__version__
    except ModuleNotFoundError:
        version = "none"
    if os.environ.get("TRITON_INTERPRET") == "1":
        version += " (interpreter)"
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    names = ", ".join(devices) or "none but the CPU"
    return f"seats_ops {revision()}, torch {torch.__version__}, triton {version}, devices: {names}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="parity", description=__doc__)
    parser.add_argument("--golden", type=Path, default=Path("tests/golden"), help="folder with manifest.json")
    parser.add_argument("--limit", type=int, default=None, help="at most this many cases of each kind")
    parser.add_argument("--only", choices=("reference", "triton"), default=None, help="one backend")
    options = parser.parse_args(arguments)
    print(header(), flush=True)
    for place in places(options.only):
        for primitive, (kind, replay) in REPLAYS.items():
            outcomes = [replay(case, place) for case in golden_cases(options.golden, kind)[: options.limit]]
            print(row(primitive, place, outcomes), flush=True)


if __name__ == "__main__":
    main()
