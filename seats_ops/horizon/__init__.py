"""Up to which layer a model's answers need its audio and video, and where relevance finds what they need.

`measure_horizon(model, prompts)` needs no labels: it asks what the answers of the model itself lose.

Example:
    >>> from seats_ops.horizon import measure_horizon
    >>> horizon = measure_horizon(model, [inputs], layers=[0, 14, 27])
    >>> horizon.mean("media", 27).value <= 1
    True
"""

from seats_ops.horizon.curves import MEDIA, RELEVANCE, SHUFFLED, Cell, Curves
from seats_ops.horizon.measure import measure_horizon
from seats_ops.horizon.result import Horizon
from seats_ops.horizon.suggestion import Suggestion

__all__ = ["MEDIA", "RELEVANCE", "SHUFFLED", "Cell", "Curves", "Horizon", "Suggestion", "measure_horizon"]
