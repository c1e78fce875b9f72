"""`seats-ops methods`: what is known by name, and what each one's numbers mean."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seats_ops.methods import Method, Protocol, method, methods

from .tables import new_table


def list_methods(console: Console, *, as_json: bool) -> None:
    """Every method with its protocol line, without what is said once for all of them."""
    known = methods()
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in known.values()], indent=1))
        return
    table = new_table("Methods", ["name", "protocol"])
    for column in table.columns:
        column.justify, column.vertical = "left", "top"
    table.padding = (0, 2, 0, 0)
    for one in known.values():
        said = one.protocol.said(usual=False)
        table.add_row(escape(one.name), escape(" | ".join(f"{title}: {text}" for title, text in said.items())))
    console.print(table)
    usual = (f"{item.name.replace('_', ' ')}: {item.default}" for item in fields(Protocol) if item.default != MISSING)
    console.print(f"Where nothing else is said: {' | '.join(usual)}.", markup=False)
    console.print("seats-ops methods NAME shows all that is to know of one.", style="dim")


def show_method(console: Console, name: str, *, as_json: bool) -> None:
    """The protocol line, the source and the options of one method. Raises ValueError: nobody knows it."""
    one = method(name)
    if as_json:
        typer.echo(json.dumps(_plain(one), indent=1))
        return
    console.print(one.name, style="bold", markup=False)
    options = ", ".join(f"{option}={default!r}" for option, default in one.options.items())
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for title, text in {**one.protocol.said(), "options": options or "none", "source": one.source}.items():
        table.add_row(f"  {title}:", escape(text))
    console.print(table)


def _plain(one: Method) -> dict[str, Any]:
    options = {name: repr(default) for name, default in one.options.items()}
    return {"name": one.name, "protocol": asdict(one.protocol), "options": options, "source": one.source}
