"""Whether the vLLM that can be imported is one that this package knows, and has what it relies on."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import Signature, isfunction, signature
from typing import Any

from seats_ops.integrations.vllm.internals import EVERY, FAMILIES, VERSIONS, Needs


def check_version(version: str) -> None:
    """Raise ImportError for a version of vLLM that is not among `VERSIONS`."""
    if not version.startswith(tuple(f"{known}." for known in VERSIONS)):
        known = ", ".join(f"{known}.*" for known in VERSIONS)
        raise ImportError(f"vllm: expected a version among {known}, got {version}")


def check_internals(family: str) -> None:
    """Raise ImportError for another version, or with all that is missing in it or has other parameters, by name.

    Args:
        family: of `FAMILIES`.
    """
    import vllm

    check_version(vllm.__version__)
    wrong = list(differences({**EVERY, **FAMILIES[family]}))
    if wrong:
        raise ImportError(f"vLLM {vllm.__version__}: {'; '.join(wrong)}")


def differences(needs: Needs) -> Iterator[str]:
    """A phrase for each line of `needs` that does not hold."""
    for place, lines in needs.items():
        owner = _found(place)
        if owner is None:
            yield f"expected {place}, got none"
            continue
        for line in lines:
            got = _as_written(owner, line)
            if got != line:
                yield f"expected {line} in {place}, got {got}"


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _as_written(owner: Any, line: str) -> str:
    """`line` if it holds, or what there is instead."""
    name, bracket, _ = line.partition("(")
    if not bracket:
        return line if name in _attributes(owner) else "none"
    call = getattr(owner, name, None)
    if not callable(call):
        return "none"
    written = name + _parameters(call)
    first = line.removesuffix(", ...)")
    return line if first != line and written.startswith((f"{first},", f"{first})")) else written


def _parameters(call: Callable[..., Any]) -> str:
    """Without defaults and annotations, "(self, *, prefix)"."""
    parameters = signature(call).parameters.values()
    return str(Signature([p.replace(annotation=p.empty, default=p.empty) for p in parameters]))


def _attributes(owner: Any) -> set[str]:
    """Of a class: what it has, what it declares, and what its `__init__` sets, a decorator around that or not."""
    found = set(dir(owner))
    for base in owner.__mro__:
        made = vars(base).get("__init__")
        wrapped = [cell.cell_contents for cell in getattr(made, "__closure__", None) or ()]
        steps = [step for call in (made, *wrapped) if isfunction(call) for step in dis.get_instructions(call)]
        found |= {step.argval for step in steps if step.opname == "STORE_ATTR"}
        found |= set(getattr(base, "__annotations__", ()))
    return found
