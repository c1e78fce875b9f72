"""Schedules: which stages act where, and the keep ratios that meet a retention target."""

from __future__ import annotations

from seats_ops.schedule.keep_ratios import average_retention, solve_keep_ratios
from seats_ops.schedule.schedule import Schedule

__all__ = ["Schedule", "average_retention", "solve_keep_ratios"]
