"""Methods that the command line names: "divprune=0.1", or with options, "v2drop=0.3,layers=[3,16,22]"."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from seats_ops import Schedule
from seats_ops.methods import method

RATIO = 0.25
OUTSIDE_LISTS = re.compile(r",(?![^\[]*\])")
"""A comma between options, not one between the entries of a list."""


def named_methods(texts: Sequence[str], config: Any) -> dict[str, Schedule]:
    """Schedules for a model by what was typed; a method without a ratio gets 0.25.

    Raises:
        ValueError: a method or an option that nobody knows, a ratio out of range or out of reach, one typed twice.
    """
    found: dict[str, Schedule] = {}
    for text in texts:
        name, ratio, options = parsed(text)
        label = text if "=" in text else f"{name}={RATIO:g}"
        if label in found:
            raise ValueError(f"--method: expected each once, got {text} twice")
        try:
            found[label] = method(name)(config, ratio, **options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--method {text}: {error}") from error
    return found


def parsed(text: str) -> tuple[str, float | dict[str, float], dict[str, Any]]:
    """Name, ratio and options of NAME[=RATIO][,OPTION=VALUE]...; values are read as JSON where they are some.

    A ratio is a number, or one for each modality it names: "video:0.06/audio:0.35".

    Raises:
        ValueError: what does not read so, an option typed twice.
    """
    first, *rest = OUTSIDE_LISTS.split(text)
    name, _, given = first.partition("=")
    try:
        ratio = _ratio(given.strip()) if given else RATIO
    except ValueError:
        expected = "NAME=RATIO, such as divprune=0.1 or seats=video:0.06/audio:0.35"
        raise ValueError(f"--method: expected {expected}, got {text!r}") from None
    options: dict[str, Any] = {}
    for part in rest:
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not option:
            raise ValueError(f"--method: expected OPTION=VALUE after a comma, got {part!r} in {text!r}")
        if option in options:
            raise ValueError(f"--method: expected each option once, got {option} twice in {text!r}")
        try:
            options[option] = json.loads(value)
        except ValueError:
            options[option] = value
    return name.strip(), ratio, options


def _ratio(given: str) -> float | dict[str, float]:
    if ":" not in given:
        return float(given)
    pairs = [part.split(":") for part in given.split("/")]
    if any(len(pair) != 2 for pair in pairs) or len({pair[0].strip() for pair in pairs}) < len(pairs):
        raise ValueError(given)
    return {name.strip(): float(share) for name, share in pairs}
