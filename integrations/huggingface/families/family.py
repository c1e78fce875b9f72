"""What differs between model families, as far as pruning goes: names, towers, rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from seats_ops.integrations.huggingface.compat import part
from seats_ops.integrations.huggingface.families.tower_kinds import AudioTower, ConformerTower, CropTower, VisionTower
from seats_ops.validation import check_int, check_positive, describe


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        thinker: class name of the model that takes `input_ids` and media.
        full_model: class name of a model that holds one as `.thinker`.
        vision, audio: its towers.
        text_path: from the model to its decoder.
        seconds_per_grid: argument that says how many seconds a temporal grid of each video lasts.
        audio_rate: audio tokens per second.
        audio_block: audio tokens in one Stage I block, two seconds in SEATS section 3.1; the authors' code has 50 for
            Qwen3-Omni too.
        embedding: the decoder's own module that writes media into token embeddings, where the model leaves that to its
            decoder.
        arguments: what its forward takes beside the arguments that are known (docs/adapter.md), none of which counts
            columns of the prompt.

    Example:
        >>> from seats_ops.integrations import Family, VisionTower
        >>> mine = Family(thinker="MyVideoModel", vision=VisionTower(("qkv",), window_order=False))
        >>> mine.text_path  # attach(model, schedule, family=mine) looks for the decoder there
        'model.language_model'
    """

    thinker: str
    full_model: str | None = None
    vision: VisionTower | CropTower | None = None
    audio: AudioTower | ConformerTower | None = None
    text_path: str = "model.language_model"
    seconds_per_grid: str | None = None
    audio_rate: float = 25.0
    audio_block: int = 50
    embedding: str | None = None
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_positive("audio_rate", self.audio_rate)
        check_int("audio_block", self.audio_block, 1)

    def text_model(self, thinker: nn.Module) -> Any:
        """The decoder.

        Example:
            >>> from seats_ops.integrations import family_of
            >>> len(family_of(model).text_model(model).layers)
            28
        """
        return part(thinker, self.text_path)


FAMILIES = (
    Family(
        thinker="Qwen2_5OmniThinkerForConditionalGeneration",
        full_model="Qwen2_5OmniForConditionalGeneration",
        vision=VisionTower(("q", "k"), window_order=True),
        audio=AudioTower(halvings=1, window=100, pooled=2),
        seconds_per_grid="video_second_per_grid",
    ),
    Family(
        thinker="Qwen3OmniMoeThinkerForConditionalGeneration",
        full_model="Qwen3OmniMoeForConditionalGeneration",
        vision=VisionTower(("qkv",), window_order=False),
        audio=AudioTower(halvings=3, window=52, pooled=1),
        seconds_per_grid="video_second_per_grid",
        audio_rate=13.0,
    ),
    Family(
        thinker="Qwen2_5_VLForConditionalGeneration",
        vision=VisionTower(("qkv",), window_order=True),
        seconds_per_grid="second_per_grid_ts",
    ),
    Family(thinker="Qwen3VLForConditionalGeneration", vision=VisionTower(("qkv",), window_order=False)),
    Family(thinker="Qwen3VLMoeForConditionalGeneration", vision=VisionTower(("qkv",), window_order=False)),
    Family(
        thinker="Phi4MultimodalForCausalLM",
        vision=CropTower(),
        audio=ConformerTower(window=25),
        text_path="model",
        audio_rate=12.5,
        audio_block=25,
        embedding="embed_tokens_extend",
    ),
)

_SLIDING = "sliding-window layers do not see the whole prompt"
_RECURRENT = "recurrent layers keep dropped tokens in their state"
IMPOSSIBLE = {
    "gemma3n": f"{_SLIDING}, and its last layers reuse the keys of earlier ones",
    "gemma4": f"{_SLIDING}, and layers share keys",
    "gemma4_unified": _SLIDING,
    "dots3_note": f"{_SLIDING}, and its keys are compressed",
    "muse_spark": _SLIDING,
    "inkling_mm_model": f"convolutions mix neighbouring tokens, and {_SLIDING}",
    "nemotron_h_omni": _RECURRENT,
    "qwen3_5": _RECURRENT,
    "qwen3_5_moe": _RECURRENT,
    "qwen4_exp": _RECURRENT,
}
"""Model type -> why pruning inside the LLM cannot be right for it (as of transformers 5.23)."""


def family_of(model: object) -> Family:
    """The family of a model, e.g. to change an entry: `attach(..., family=dataclasses.replace(family_of(model), ...))`.

    Raises:
        TypeError: the model is of none that is known.

    Example:
        >>> from dataclasses import replace
        >>> from seats_ops.integrations import family_of
        >>> family_of(model).thinker
        'Qwen2_5OmniThinkerForConditionalGeneration'
        >>> slower = replace(family_of(model), audio_rate=12.5, audio_block=25)
    """
    return find_family(model)[0]


def find_family(model: object, given: Family | None = None) -> tuple[Family, Any]:
    """The family of a model and the thinker in it, by class name so that no other family's code is imported.

    Raises:
        TypeError: the model is not of the family given, or of none that is known.
    """
    if given is not None and not isinstance(given, Family):
        raise TypeError(f"family: expected a Family or None, got {describe(given)}")
    families = FAMILIES if given is None else (given,)
    classes = {cls.__name__ for cls in type(model).__mro__}
    for family in families:
        if family.thinker in classes:
            return family, model
        if family.full_model in classes:
            return family, model.thinker  # type: ignore[attr-defined]
    reason = IMPOSSIBLE.get(str(getattr(getattr(model, "config", None), "model_type", "")))
    if reason:
        raise TypeError(
            f"model: expected one whose layers all see the whole prompt, got {type(model).__name__}: {reason}"
        )
    known = [name for family in families for name in (family.thinker, family.full_model) if name]
    raise TypeError(f"model: expected one of {', '.join(known)}, got {type(model).__name__}")
