"""One call at a time: which thread uses an attached model, and until when."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Container
from types import FrameType
from typing import Any

import transformers
from torch import nn

from seats_ops.errors import UnsupportedModelState

_TRANSFORMERS = os.path.dirname(transformers.__file__) + os.sep


def frame_of_forward() -> FrameType:
    """For a hook: the frame that lasts as long as the forward of its module."""
    code = nn.Module._call_impl.__code__
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        # By name, as compiled code has another object.
        if (frame.f_code.co_name, frame.f_code.co_filename) == (code.co_name, code.co_filename):
            return frame
        frame = frame.f_back
    return sys._getframe(1)


def runs_forward_of(module: nn.Module) -> bool:
    """For a hook: whether a forward of `module`, or of another one of its source file, is under way further out."""
    file = inspect.unwrap(type(module).forward).__code__.co_filename
    frame: FrameType | None = frame_of_forward().f_back
    while frame is not None:
        # Compiled code goes on in functions that have the name in theirs.
        if frame.f_code.co_filename == file and "forward" in frame.f_code.co_name:
            return True
        frame = frame.f_back
    return False


def methods_run_of(modules: Container[int]) -> bool:
    """Whether code of transformers is at work, in any thread, as a method of one of these modules, given by `id`."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code.co_filename.startswith(_TRANSFORMERS) and id(_self_of(frame)) in modules:
                return True
            frame = frame.f_back
    return False


def _self_of(frame: FrameType) -> Any:
    """What a frame, of any thread, is a method of; None if it is none."""
    code = frame.f_code
    if not code.co_flags & inspect.CO_OPTIMIZED or code.co_varnames[:1] != ("self",):
        return None
    found = frame.f_locals
    owner = found.get("self")
    if isinstance(found, dict):
        # Before Python 3.13 the frame keeps this copy and brings it up to date for the next one who asks. A tensor that
        # only the copy held would be freed by that, another thread would go on meanwhile, and the frame could be gone
        # in the middle of it.
        found.clear()
    return owner


class _Turn:
    """A call: it lasts until its frame is gone from the stack of its thread."""

    def __init__(self, frame: FrameType | None) -> None:
        self.thread = threading.get_ident()
        self.frame = frame
        self.next: dict[None, _Turn] = {}

    def is_mine(self) -> bool:
        return self.thread == threading.get_ident()

    def is_running(self) -> bool:
        if self.frame is None:
            return False
        first = end = None
        while True:
            frame = sys._getframe() if self.is_mine() else sys._current_frames().get(self.thread)
            while frame is not None:
                if frame is self.frame:
                    return True
                end, frame = frame, frame.f_back
            # While it is walked a stack goes on, and may seem to end in a frame that has just returned: but not twice.
            if end is first:
                return False
            first = end


class Turns:
    """Whose turn it is: a call that has begun, with everything it calls, until its frame is gone.

    No hook runs after a KeyboardInterrupt, so that nobody can be trusted to say that a call is over, nor to give back a
    lock: turns follow each other, and of all who want to be the next the first one is.
    """

    def __init__(self) -> None:
        self._latest = _Turn(None)

    def take(self, frame: FrameType) -> None:
        """Begin the call of `frame`, or go on with the one that it is a part of.

        Raises:
            UnsupportedModelState: another thread's call is under way.
        """
        mine, turn = _Turn(frame), self._latest
        while turn is not mine:
            if turn.is_running():
                if turn.is_mine():
                    return
                raise UnsupportedModelState(
                    "model: expected one call at a time of a model that is attached, got one while another thread's is "
                    "under way; let threads take turns, or give each a model"
                )
            turn = turn.next.setdefault(None, mine)
        self._latest = mine

    def end(self, frame: FrameType) -> None:
        """The call of `frame` is over; nothing happens if it was a part of another one."""
        if self._latest.frame is frame:
            self._latest.frame = None

    def is_taken(self) -> bool:
        """A call is under way, in any thread."""
        return self._latest.is_running()

    def is_mine(self) -> bool:
        """A call is under way in this thread."""
        return self._latest.is_mine() and self._latest.is_running()
