"""Adapters that run a schedule inside an unmodified Hugging Face model: `from seats_ops.integrations import attach`."""

from __future__ import annotations

# The folder is reachable as `integrations` from the repository root. Imported so, every class in it would exist twice.
if __name__ != "seats_ops.integrations":
    raise ImportError(f"this package is imported as 'seats_ops.integrations', got {__name__!r}")

from seats_ops.integrations.versions import unsupported_transformers

if problem := unsupported_transformers():
    raise ImportError(problem)

from seats_ops.integrations.attach import Attachment, attach, detach
from seats_ops.integrations.family import Family, family_of
from seats_ops.integrations.generic import Pruning
from seats_ops.integrations.saliency import set_saliency
from seats_ops.integrations.tower_kinds import AudioTower, ConformerTower, CropTower, VisionTower

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
