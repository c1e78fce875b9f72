"""Published methods as schedules of the operators, one a file, and the registry that knows them by name."""

from __future__ import annotations

from seats_ops.methods.equal_cost import AtCost, at_equal_cost
from seats_ops.methods.method import Method, Protocol, at_layer, method, methods, register_method

__all__ = ["AtCost", "Method", "Protocol", "at_equal_cost", "at_layer", "method", "methods", "register_method"]
