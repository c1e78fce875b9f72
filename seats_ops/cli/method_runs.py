"""Methods that the command line names: "divprune=0.1", or with options, "fastvid=0.2,release=qwen"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from seats_ops import Schedule
from seats_ops.methods import method

RATIO = 0.25


def named_methods(texts: Sequence[str], config: Any) -> dict[str, Schedule]:
    """Schedules for a model by what was typed; a method without a ratio gets 0.25.

    Raises:
        ValueError: a method or an option that nobody knows, a ratio out of range or out of reach, one typed twice.
    """
    found: dict[str, Schedule] = {}
    for text in texts:
        name, ratio, options = parsed(text)
        label = text if "=" in text else f"{name}={ratio:g}"
        if label in found:
            raise ValueError(f"--method: expected each once, got {text} twice")
        try:
            found[label] = method(name)(config, ratio, **options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--method {text}: {error}") from error
    return found


def parsed(text: str) -> tuple[str, float, dict[str, Any]]:
    """Name, ratio and options of NAME[=RATIO][,OPTION=VALUE]...; values are read as JSON where they are some.

    Raises:
        ValueError: what does not read so.
    """
    first, *rest = text.split(",")
    name, _, given = first.partition("=")
    try:
        ratio = float(given) if given else RATIO
    except ValueError:
        raise ValueError(f"--method: expected NAME=RATIO, such as divprune=0.1, got {text!r}") from None
    options = {}
    for part in rest:
        option, equals, value = part.partition("=")
        if not equals or not option:
            raise ValueError(f"--method: expected OPTION=VALUE after a comma, got {part!r} in {text!r}")
        try:
            options[option.strip()] = json.loads(value)
        except ValueError:
            options[option.strip()] = value
    return name.strip(), ratio, options
