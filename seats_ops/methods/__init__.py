"""Published methods as schedules of the operators, one a file, and the registry that knows them by name.

Example:
    >>> from seats_ops.methods import method
    >>> print(method("uniform")(None, 0.1))
    * prompt          all tokens
    * before the LLM  Select(scorer=None, budget=Ratio(0.1), selector=Strided())
    | layers 1 to the last
"""

from __future__ import annotations

from seats_ops.methods.equal_cost import AtCost, at_equal_cost
from seats_ops.methods.method import Method, Protocol, at_layer, method, methods, register_method

__all__ = ["AtCost", "Method", "Protocol", "at_equal_cost", "at_layer", "method", "methods", "register_method"]
