"""What share of the tokens that a stage finds it was asked to keep, before anything is rounded."""

from __future__ import annotations

from seats_ops.operators.composed import PerModality
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.stage import MEDIA_MODALITIES, KeepRatio, Stage, ratio_of
from seats_ops.operators.stage_pruner import StagePruner


def asked_of(stage: Stage) -> dict[str, float]:
    """Modality -> share, 1 where the stage lets it be; without those of which it does not say."""
    # A subclass may do anything, and a ratio of another stage may mean anything.
    kind = type(stage)
    if kind in (DiversitySelector, StagePruner):
        return _shares(stage.keep_ratio)  # type: ignore[attr-defined]
    if isinstance(stage, Select) and kind is Select and type(stage.budget) is Ratio:
        return _shares(stage.budget.keep_ratio)
    if isinstance(stage, ModalityDropper) and kind is ModalityDropper:
        return _shares(dict.fromkeys(stage.modalities, 0.0))
    if isinstance(stage, PerModality) and kind is PerModality:
        said = {name: asked_of(part).get(name) for name, part in stage.stages}
        return {name: share for name, share in (_shares({}) | said).items() if share is not None}
    return {}


def _shares(keep_ratio: KeepRatio) -> dict[str, float]:
    ratios = ((modality.name.lower(), ratio_of(keep_ratio, modality)) for modality in MEDIA_MODALITIES)
    return {name: 1.0 if ratio is None else ratio for name, ratio in ratios}
