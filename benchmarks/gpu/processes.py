"""Processes that a step starts: none, nor what it starts, may outlive its time or its worker on the device."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawValue
from typing import Any

# Even SIGKILL waits for a driver that does not answer.
GRACE = 10.0

group: Any = RawValue("i", 0)
"""The process group that runs now, 0 if none does; a worker shares it with who started it, which ends both."""


def run(command: Sequence[str], seconds: float, **options: Any) -> int | None:
    """The exit code; None if the time was up. Nothing of its group is left."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    group.value = process.pid
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        group.value = 0


def end(number: int) -> None:
    """Every process of a group, at once; 0 is none."""
    if number:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(number, signal.SIGKILL)


def follow_parent() -> None:
    """This process and the group that it runs end when the one that started it does, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        end(group.value)
        end(os.getpgid(0))

    threading.Thread(target=watch, daemon=True).start()
