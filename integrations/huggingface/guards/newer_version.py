"""A transformers that is newer than all that was tested: a family is tried before it is used."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.families.family import FAMILIES, Family
from seats_ops.integrations.huggingface.guards.probe import Attach, Untried, problem_with
from seats_ops.integrations.huggingface.guards.versions import NEWEST_TESTED, newer_than_tested
from seats_ops.ops.primitive import full_precision

_lock = threading.RLock()
# By class and what is said of it: what is wrong; empty if nothing is.
_found: dict[tuple[type, Family], str] = {}


def check_newer_version(family: Family, thinker: Any, attach: Attach) -> None:
    """Try a class of models, once per process and `Family`, if transformers is newer than the newest tested.

    Args:
        family: of the model.
        thinker: the model.
        attach: see `problem_with`.

    Raises:
        UnsupportedModelState: pruning does not come out right; names the check that failed and what was found. Or a
            model of a known class could not be tried, which the next one is again.

    Warns:
        UserWarning: the version is newer, and what was tried comes out right; or the class, one of a family of the
            caller's own, could not be tried.
    """
    version = newer_than_tested()
    if version is None:
        return
    cls = next(base for base in type(thinker).__mro__ if base.__name__ == family.thinker)
    known = next((known for known in FAMILIES if known.thinker == family.thinker), None)
    # The tiny model has the rates of its family, the caller's may have others.
    tried = replace(family, audio_rate=known.audio_rate, audio_block=known.audio_block) if known else family
    key = cls, tried
    with _lock:
        if key not in _found:
            _found[key] = ""  # what is tried is attached, and comes here, too
            newer = f"transformers {version} is newer than {NEWEST_TESTED}, the newest tested"
            outcome = f"pruning a tiny {cls.__name__} comes out right, more was not tried"
            try:
                with _neutral():
                    _found[key] = problem_with(tried, cls, attach)
            except Untried as error:
                outcome = f"{cls.__name__} could not be tried, as a tiny one does not run on a CPU: {error}"
                if known:
                    del _found[key]
                    raise UnsupportedModelState(
                        f"transformers: expected a version that was tested, or one with which a model can be tried; "
                        f"{newer}, and {outcome}"
                    ) from error
            except BaseException:
                del _found[key]
                raise
            if not _found[key]:
                warnings.warn(f"{newer}: {outcome}", stacklevel=4)
        problem = _found[key]
    if problem:
        raise UnsupportedModelState(
            f"transformers: expected a version with which pruning a tiny {cls.__name__} comes out right, as with "
            f"{NEWEST_TESTED}, the newest tested, got {version}: {problem}"
        )


@contextlib.contextmanager
def _neutral() -> Iterator[None]:
    """Whatever the caller has set: on the CPU, in float32, without gradients, and nothing is moved.

    Random numbers of the CPU and filters of warnings are the process': another thread's, of this moment, are undone.
    """
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
        # A caller may have left kernels alone that run on a GPU only.
        stack.enter_context(sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]))
        yield
