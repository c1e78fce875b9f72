"""A worker that is replaced when it breaks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from benchmarks.gpu.record import FAILED
from benchmarks.gpu.worker import Options, Worker

# Until a worker has imported everything and found its device.
START = 300.0
# A step that takes this many times its guess, or so many seconds, hangs.
PATIENCE, LEAST_PATIENCE = 4, 60.0


class Steady:
    """Does one step after the other, in as many processes as it takes.

    Attributes:
        context: what every row says of device, versions and sources.
        known: seconds that a step is guessed to take, by name and in order.

    Raises:
        RuntimeError: the device or its environment is not as expected.
    """

    def __init__(self, options: Options) -> None:
        # Of those that follow nothing is expected anew: a device may take a while to let go of the one before.
        self._next = replace(options, anyway=True)
        self._worker: Worker | None
        self._worker, said = _started(options)
        self.context: dict[str, Any] = said["context"]
        self.known: dict[str, float] = dict(said["steps"])

    def do(self, name: str, left: float) -> dict[str, Any] | None:
        """What a step gave, in at most `left` seconds; None where these, and not the step, are what ended.

        "hung" says whether it had to be given up.
        """
        start = time.monotonic()
        if self._worker is None:
            try:
                self._worker, _ = _started(self._next, min(START, left))
            except TimeoutError:
                if left < START:
                    return None
                raise
            left -= time.monotonic() - start
        patience = self.patience(name)
        begun = time.monotonic()
        try:
            self._worker.pipe.send(name)
            outcome: dict[str, Any] | None = self._worker.hear(min(patience, left))
            error = f"expected an end within {patience:.0f} s"
        except (EOFError, BrokenPipeError):
            self._worker.process.join(10)
            outcome, left, error = None, patience, f"its process ended with code {self._worker.process.exitcode}"
        if outcome is None or outcome["lost"]:
            self.end()
        if outcome is None and left >= patience:
            took = time.monotonic() - begun
            return {"rows": [], "status": FAILED, "error": error, "took": took, "hung": took >= patience}
        return outcome

    def patience(self, name: str) -> float:
        """Seconds after which a step is taken for hanging."""
        return max(PATIENCE * self.known[name], LEAST_PATIENCE)

    def end(self) -> None:
        """Whatever runs is ended."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def _started(options: Options, seconds: float = START) -> tuple[Worker, dict[str, Any]]:
    worker = Worker(options)
    try:
        said = worker.hear(seconds)
    except EOFError:
        worker.process.join(10)
        said = {"refused": f"the worker ended with code {worker.process.exitcode} before it began"}
    except KeyboardInterrupt:
        worker.end()
        raise
    if said is None or "refused" in said:
        worker.end()
        if said is None:
            raise TimeoutError(f"the worker said nothing for {seconds:.0f} s")
        raise RuntimeError(said["refused"])
    return worker, said
