"""Faults that tests plant in a running model, to see whether an answer tells of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest


def plant(fault: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the patches are undone.

    Args:
        fault: "off by one" or "renumbered" positions of media; "another token" in place of the first of each unit;
            "another token's levels", what the first layers add, in place of its own.
        model: that runs.
    """
    import torch

    from seats_ops.integrations.vllm import channels

    load, choose = channels.load, type(model).chosen

    def shifted(rows: Any, positions: Any) -> Any:
        return load(rows, positions + 1)

    def renumbered(rows: Any, positions: Any) -> Any:
        return load(rows, torch.arange(positions.shape[1]).expand(3, -1))

    def another(unit: Any, items: Any) -> Any:
        found = choose(model, unit, items)
        index, rows = found.index.clone(), found.rows.clone()
        dropped = next(i for i in range(unit.num_tokens) if i not in set(index.tolist()))
        order = torch.cat(unit.columns()).argsort()
        index[0], rows[0] = dropped, torch.cat([rows for rows, _ in items])[order][dropped]
        return replace(found, index=index, rows=rows)

    def levels(unit: Any, items: Any) -> Any:
        found = choose(model, unit, items)
        width = model.config.get_text_config().hidden_size
        return replace(found, rows=torch.cat([found.rows[:, :width], found.rows[:, width:].roll(1, 0)], 1))

    if fault in ("another token", "another token's levels"):
        monkeypatch.setattr(model, "chosen", another if fault == "another token" else levels, raising=False)
    else:
        fake = {"off by one": shifted, "renumbered": renumbered}[fault]
        monkeypatch.setattr("seats_ops.integrations.vllm.channels.load", fake)
