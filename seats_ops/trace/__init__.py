"""What a schedule did to one prefill."""

from __future__ import annotations

from seats_ops.trace.prune_trace import PruneTrace

__all__ = ["PruneTrace"]
