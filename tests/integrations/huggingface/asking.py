"""A stage that writes down what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from seats_ops import TokenLayout
from seats_ops.operators.inputs import parse_inputs


def everything(layout: TokenLayout) -> Tensor:
    """Keeps all tokens."""
    return layout.position >= 0


@dataclass(frozen=True)
class Asks:
    """Asks for inputs by any names.

    Attributes:
        inputs: their names.
        choose: tokens that it keeps.
        seen: of every call, inputs by their full names; the layout under "layout".
    """

    inputs: tuple[str, ...]
    choose: Callable[[TokenLayout], Any] = everything
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> Any:
        passed = [item for item in parse_inputs(self.inputs) if not item.is_fact]
        *first, layout = args
        given = {item.name: kwargs[item.keyword] for item in passed[1:]}
        self.seen.append({"layout": layout, **given, **{item.name: x for item, x in zip(passed, first, strict=False)}})
        return self.choose(layout)

    def to_dict(self) -> dict[str, Any]:
        return {}
