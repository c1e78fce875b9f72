"""Adapters that run a schedule inside an unmodified Hugging Face model, or inside a decoder of your own.

In the examples `model` is a Qwen2.5-Omni thinker, and `inputs` is what its processor returned.

Example:
    >>> from seats_ops import seats
    >>> from seats_ops.integrations import attach
    >>> with attach(model, seats(model.config, video=0.06, audio=0.35)) as trace:
    ...     answer = model.generate(**inputs, max_new_tokens=2)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# The folder is reachable as `integrations` from the repository root. Imported so, every class in it would exist twice.
if __name__ != "seats_ops.integrations":
    raise ImportError(f"this package is imported as 'seats_ops.integrations', got {__name__!r}")

from seats_ops.integrations.generic import Pruning

__all__ = [
    "Attachment",
    "AudioTower",
    "ConformerTower",
    "CropTower",
    "Family",
    "Pruning",
    "VisionTower",
    "attach",
    "detach",
    "family_of",
    "set_saliency",
]

if TYPE_CHECKING:
    from seats_ops.integrations.huggingface.attachment import Attachment, attach, detach
    from seats_ops.integrations.huggingface.families.family import Family, family_of
    from seats_ops.integrations.huggingface.families.tower_kinds import (
        AudioTower,
        ConformerTower,
        CropTower,
        VisionTower,
    )
    from seats_ops.integrations.huggingface.scores.saliency import set_saliency
else:
    # A decoder of one's own needs no transformers: what does is imported when it is first asked for.
    _MODULES = {
        "attachment": ("Attachment", "attach", "detach"),
        "families.family": ("Family", "family_of"),
        "scores.saliency": ("set_saliency",),
        "families.tower_kinds": ("AudioTower", "ConformerTower", "CropTower", "VisionTower"),
    }

    def __getattr__(name):
        from seats_ops.integrations.huggingface.guards.versions import (
            NEWEST_TESTED,
            check_transformers,
            newer_than_tested,
        )

        module = next((module for module, names in _MODULES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        check_transformers()
        try:
            value = globals()[name] = getattr(import_module(f"{__name__}.huggingface.{module}"), name)
        except Exception as error:
            if version := newer_than_tested():
                found = f"got {version}: {type(error).__name__}: {error}"
                raise ImportError(
                    f"transformers: expected what {NEWEST_TESTED}, the newest tested, has, {found}"
                ) from error
            raise
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
