"""What else an entry of the launch table is launched with: other dtypes and options than those that were timed."""

from __future__ import annotations

import torch

from seats_ops.ops.tile_tables import device_kind
from seats_ops.ops.tiles import Table, Tile


def fault(entry: str, tile: Tile, table: Table, device: torch.device) -> str:
    """Why an entry must not be `tile`: a kernel that spills or does not fit; empty if none does.

    Everything that is launched otherwise than under `table` is compiled, half a second each. Nothing is on a CPU, nor
    for a kind of device whose limits we do not know: there only what was timed is known to fit.
    """
    if device.type != "cuda" or tile == table[entry]:
        return ""
    # Asks for a process that compiles.
    from seats_ops.testing.aot import TARGETS, Variant, compile_variant, problems
    from seats_ops.testing.shipped import shipped_configs

    kind = device_kind(device)
    shipped = shipped_configs(table)
    for config in shipped_configs({**table, entry: tile}) if kind in TARGETS else ():
        for aligned in (True, False) if config not in shipped else ():
            variant = Variant(config, kind, aligned)
            found = problems(variant, compile_variant(variant))
            if found:
                return found[0]
    return ""
