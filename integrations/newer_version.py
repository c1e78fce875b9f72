"""A transformers that is newer than all that was tested: a family is tried before it is used."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.family import FAMILIES, Family
from seats_ops.integrations.probe import Attach, Untried, problem_with
from seats_ops.integrations.versions import NEWEST_TESTED, newer_than_tested
from seats_ops.ops.primitive import full_precision

_lock = threading.RLock()
# By class: what is wrong; empty if nothing is.
_found: dict[type, str] = {}


def check_newer_version(family: Family, thinker: Any, attach: Attach) -> None:
    """Try a class of models, once per process, if transformers is newer than the newest tested.

    Args:
        family: of the model.
        thinker: the model.
        attach: see `problem_with`.

    Raises:
        UnsupportedModelState: pruning does not come out right; names the check that failed and what was found.

    Warns:
        UserWarning: the version is newer, and what was tried comes out right; or the class, one of a family of the
            caller's own, could not be tried.
    """
    version = newer_than_tested()
    if version is None:
        return
    cls = next(base for base in type(thinker).__mro__ if base.__name__ == family.thinker)
    known = next((known for known in FAMILIES if known.thinker == family.thinker), None)
    with _lock:
        if cls not in _found:
            _found[cls] = ""  # what is tried is attached, and comes here, too
            outcome = f"pruning a tiny {cls.__name__} comes out right, more was not tried"
            try:
                with _neutral():
                    _found[cls] = problem_with(known or family, cls, attach)
            except Untried as error:
                outcome = f"{cls.__name__} could not be tried, as a tiny one does not run: {error}"
                _found[cls] = outcome if known else ""
            except BaseException:
                del _found[cls]
                raise
            if not _found[cls]:
                newer = f"transformers {version} is newer than {NEWEST_TESTED}, the newest tested"
                warnings.warn(f"{newer}: {outcome}", stacklevel=4)
        problem = _found[cls]
    if problem:
        raise UnsupportedModelState(
            f"transformers: expected a version with which pruning a tiny {cls.__name__} comes out right, as with "
            f"{NEWEST_TESTED}, the newest tested, got {version}: {problem}"
        )


@contextlib.contextmanager
def _neutral() -> Iterator[None]:
    """Whatever the caller has set, for this thread: on the CPU, in float32, without gradients, and nothing is moved."""
    dtype, cpu = torch.get_default_dtype(), torch.device("cpu")
    with contextlib.ExitStack() as stack:
        # The process' own: no longer than it takes, and only where another one is set.
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.get_default_device() != cpu:
            stack.enter_context(torch.device(cpu))
        stack.enter_context(full_precision(cpu))
        yield
