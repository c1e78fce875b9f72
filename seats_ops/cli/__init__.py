"""The `seats-ops` command; see `seats-ops --help`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command. Says which packages to install where the command line's own are missing."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"seats-ops needs the package {error.name}: pip install 'seats_ops[demo]'")
    app()
