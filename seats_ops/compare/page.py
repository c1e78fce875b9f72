"""A comparison as one page: means first, then the prompts, the worst first, each linked to its inspector pages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jinja2

from seats_ops.compare import figures
from seats_ops.compare.outcome import Comparison
from seats_ops.compare.records import ALL_TOKENS
from seats_ops.version import __version__


def page(result: Comparison, settings: dict[str, Any], link: Callable[[str, str], str | None]) -> str:
    """The page as text.

    Args:
        result: of the comparison.
        settings: what was asked for.
        link: prompt and schedule -> address of the inspector's page, or None.
    """
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(autoescape=True, **options)
    template = environment.from_string(files("seats_ops.compare").joinpath("assets", "page.html").read_text("utf-8"))
    plain = {name: value for name, value in settings.items() if name != "schedules"}
    return template.render(
        version=__version__, result=result, settings=plain, link=link, figures=figures, ALL_TOKENS=ALL_TOKENS
    )
