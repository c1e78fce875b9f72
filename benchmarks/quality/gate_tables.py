"""Which models passed which gates, and at which layers everybody acts in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality import layers
from benchmarks.quality.formats import percent
from benchmarks.quality.gates import Gate
from benchmarks.quality.outcomes import Results
from benchmarks.report.numbers import NOTHING, table
from seats_ops.horizon import Horizon
from seats_ops.horizon.curves import Cell


@dataclass(frozen=True)
class Passed:
    """What was found of a model before any method was asked.

    Attributes:
        gates: all of them.
        horizon: from which its layers were chosen.
        layers: what the file of layers says.
    """

    gates: list[Gate]
    horizon: Horizon
    layers: dict[str, Any]


def read_all(models: Iterable[str], results: Path, checkpoints: Path) -> dict[str, Passed]:
    """By model. Raises ValueError: a file is missing."""
    return {model: _read(model, results, checkpoints) for model in models}


def _read(model: str, results: Path, checkpoints: Path) -> Passed:
    said = []
    files = (results / f"gates-{model}.json", results / f"horizon-{model}.json")
    for file in (*files, layers.file_of(checkpoints / f"{model}.safetensors")):
        if not file.exists():
            raise ValueError(f"{file}: expected what was found of {model}, got none; {layers.GATES}")
        said.append(json.loads(file.read_text(encoding="utf-8")))
    gates, horizon, chosen = said
    return Passed([Gate(**gate) for gate in gates], horizon_from(horizon), chosen)


def horizon_from(said: Mapping[str, Any]) -> Horizon:
    """What `Horizon.to_dict` gave, read from JSON."""
    cells = {(one.pop("way"), one.pop("layer")): one for one in map(dict, said["cells"])}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    made = {key: Cell(**{name: tuple(value) for name, value in one.items()}) for key, one in cells.items()}
    return Horizon(**{**fields, "cells": made})


def gate_table(found: Mapping[str, Passed]) -> str:
    """How many tasks pass each gate, and the one that is nearest to failing or fails most."""
    names = dict.fromkeys(gate.name for one in found.values() for gate in one.gates)
    rows = [
        [name, *(_passed([gate for gate in one.gates if gate.name == name]) for one in found.values())]
        for name in names
    ]
    return table(["gate", *found], rows)


def _passed(gates: list[Gate]) -> str:
    if not gates:
        return NOTHING

    def spare(gate: Gate) -> float:
        over = gate.right / gate.items - gate.bound
        return -over if gate.at_most else over

    worst = min(gates, key=spare)
    passed = sum(gate.passed for gate in gates)
    asked = f"{'at most' if worst.at_most else 'at least'} {percent(worst.bound)}"
    return f"{passed} of {len(gates)}; {worst.task} {percent(worst.right / worst.items)}, {asked}"


def failed(found: Mapping[str, Passed]) -> list[str]:
    """Sentences, one a gate that a model does not pass."""
    lines = [
        f"- {model} fails {gate.name} on {gate.task}: {gate.right} of {gate.items} right,"
        f" {'at most' if gate.at_most else 'at least'} {percent(gate.bound)} % expected"
        for model, one in found.items()
        for gate in one.gates
        if not gate.passed
    ]
    return lines or ["All models pass all gates."]


def unpublished(results: Results) -> list[str]:
    """Sentences, one a task that a model does not know well enough."""
    return [
        f"- not published: {task} of {model}, whose full accuracy is {percent(share)} %"
        for (model, task), share in results.unpublished.items()
    ]


def layer_table(found: Mapping[str, Passed]) -> str:
    rows = [
        [model, ", ".join(map(str, one.layers["drops"])), one.layers["drops_are"], one.layers["late"]]
        for model, one in found.items()
    ]
    return table(["model", "drops after", "which are", "late drop: first layer without media"], rows)
