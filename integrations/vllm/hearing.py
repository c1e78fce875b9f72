"""Models of vLLM that hear."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

from torch.nn.functional import pad

from seats_ops.integrations.vllm.features import SOUND, SOUND_FRAMES
from seats_ops.integrations.vllm.model import Encoded, SeatsModel
from seats_ops.integrations.vllm.saliency import QWEN2_5, AudioTower, AudioValues, of_items


class HearingModel(SeatsModel):
    """A model with an audio tower. A video's sound comes with the video.

    Attributes:
        audio_tower_kind: of the family.
    """

    audio_tower_kind: ClassVar[AudioTower] = QWEN2_5

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        asked = self.served.asked
        kind, group = self.audio_tower_kind, self.tp_group
        self.audio_values = AudioValues(self.audio_tower, asked, "auto", kind, group) if asked else None

    def encoded(self, modality: str, inputs: Any, kwargs: Mapping[str, Any]) -> list[Encoded]:
        if modality == "audio":
            return self._sounds(inputs)
        found = super().encoded(modality, inputs, kwargs)
        if modality == "video" and kwargs.get(SOUND) is not None:
            frames = kwargs[SOUND_FRAMES].flatten()
            sounds = self._sounds({"input_features": kwargs[SOUND], "audio_feature_lengths": frames})
            return [video + sound for video, sound in zip(found, sounds, strict=True)]
        return found

    def _sounds(self, inputs: Any) -> list[Encoded]:
        frames = inputs["audio_feature_lengths"].flatten().tolist()
        with self.audio_values.watching() if self.audio_values else nullcontext():
            rows = self._process_audio_input(inputs)
        values = self.audio_values.values(frames) if self.audio_values else {}
        # As wide as the rows of pictures: sound adds nothing to later layers (DeepStack).
        wide = self.config.get_text_config().hidden_size * (1 + getattr(self, "deepstack_num_level", 0))
        rows = [pad(x, (0, wide - x.shape[1])) for x in rows]
        return [[item] for item in zip(rows, of_items(values, [len(x) for x in rows]), strict=True)]
