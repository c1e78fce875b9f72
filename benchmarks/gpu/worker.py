"""The process that works on the device: what breaks in it breaks nothing else, and it can be ended."""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from benchmarks import ceilings, graphs, machine, timing
from benchmarks.gpu import processes
from benchmarks.gpu.day import all_steps
from benchmarks.gpu.record import DONE, FAILED
from benchmarks.gpu.requirements import old_versions
from benchmarks.gpu.steps import Setting, Step
from benchmarks.idle import unfit
from seats_ops.ops.tile_tables import tiles


@dataclass(frozen=True)
class Options:
    """What a worker is told."""

    device: str = "cuda"
    rehearse: bool = False
    revision: str = ""
    anyway: bool = False


class Worker:
    """Such a process, seen from outside."""

    def __init__(self, options: Options) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.group = context.RawValue("i", 0)
        self.process = context.Process(target=serve, args=(theirs, options, self.group), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self, seconds: float) -> Any:
        """What it says; None if it says nothing for so long. EOFError if it is gone."""
        return self.pipe.recv() if self.pipe.poll(max(seconds, 0)) else None

    def end(self) -> None:
        """At once, with whatever it started."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        processes.end(self.group.value)
        self.process.join(processes.GRACE)


def serve(pipe: Any, options: Options, group: Any) -> None:
    """Says what there is to do, or why there is nothing; then does what it is told, step by step."""
    os.setsid()
    processes.group = group
    processes.follow_parent()
    with contextlib.ExitStack() as stack:
        try:
            problems = old_versions()
            _refuse(problems, options)
            if options.rehearse:
                stack.enter_context(rehearsal())
            context, steps = _prepare(options, problems)
        except Exception as error:
            pipe.send({"refused": str(error) or type(error).__name__})
            return
        pipe.send({"context": context, "steps": [(step.name, step.seconds) for step in steps.values()]})
        while (name := pipe.recv()) is not None:
            pipe.send(_outcome(steps[name], options.rehearse))


def _refuse(problems: list[str], options: Options) -> None:
    if problems and not options.anyway:
        raise RuntimeError("; ".join(problems) + " (--anyway goes on and says so in every row)")


def _prepare(options: Options, problems: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Step]]:
    if options.device.partition(":")[0] != "cuda":
        raise ValueError(f"device: got {options.device}, expected cuda or cuda:N; --rehearse walks the paths on a CPU")
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"device: found none (torch {torch.__version__}), expected a GPU; --rehearse walks the paths without one"
        )
    place = machine.place(options.device)
    problems = [*problems, *unfit(place)]
    _refuse(problems, options)
    # A table of the user's is looked at now, not by the first kernel of every step.
    tiles(place)
    setting = Setting.rehearsal(place) if options.rehearse else Setting(place)
    context = {**machine.describe(place, options.revision), "rehearsed": options.rehearse}
    return {**context, **({"anyway": problems} if problems else {})}, {s.name: s for s in all_steps(setting)}


def _outcome(step: Step, rehearsed: bool) -> dict[str, Any]:
    """Rows and status; "lost" if this process should do no more: the device does not answer, or a capture broke off."""
    start = time.perf_counter()
    rows, error = [], None
    try:
        rows = step.run()
    except Exception as raised:
        place = traceback.extract_tb(raised.__traceback__)[-1]
        error = f"{type(raised).__name__}: {raised} ({place.filename.rpartition('/')[2]}:{place.lineno})"
    error = error or "; ".join(row["wrong"] for row in rows if row.get("wrong")) or None
    lost = bool(graphs.failures)
    try:
        torch.cuda.synchronize()
        # Models hold themselves by circles.
        gc.collect()
        torch.cuda.empty_cache()
    except RuntimeError as raised:
        error, lost = error or str(raised), True
    if rehearsed:
        # A row's own command would measure.
        rows = [{k: v for k, v in row.items() if k != "again"} for row in rows]
    return {
        "rows": rows,
        "status": FAILED if error else DONE,
        "error": error,
        "took": time.perf_counter() - start,
        "lost": lost,
    }


@contextlib.contextmanager
def rehearsal() -> Iterator[None]:
    """A stand-in for a device, and sizes for it."""
    from benchmarks import prefill_model  # Loads transformers.
    from benchmarks.gpu.strict_cuda import strict_cuda

    with contextlib.ExitStack() as stack:
        small = functools.partial(mock.patch.object, new=2**12)
        stack.enter_context(small(ceilings, "COPY_BYTES"))
        stack.enter_context(small(timing, "FLUSH_BYTES"))
        stack.enter_context(mock.patch.object(ceilings, "MATRIX", {"cpu": 16, "cuda": 16}))
        # Most CPUs take their time for bfloat16.
        stack.enter_context(mock.patch.object(prefill_model, "ON_A_GPU", torch.float32))
        stack.enter_context(strict_cuda())
        # More would wait for each other wherever the machine is shared.
        torch.set_num_threads(1)
        yield
