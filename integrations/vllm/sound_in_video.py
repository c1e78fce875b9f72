"""Requests whose sounds belong to their videos (Qwen-Omni)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo, PromptUpdateDetails

from seats_ops.integrations.vllm.features import SECONDS, SOUND, SOUND_FRAMES, seconds_as_int
from seats_ops.integrations.vllm.processor import SeatsProcessor, named
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality


class SoundProcessor(SeatsProcessor):
    """A video and its sound are one unit: the video's item carries the sound, the sound's is empty.

    Attributes:
        fps: frames a second that the processor takes for granted where nobody says.
    """

    fps: ClassVar[float] = 2.0

    def kinds(self, inputs: Any) -> list[set[str]]:
        counts = inputs.mm_data_items.get_all_counts()
        if _together(inputs):
            return [{"video", "audio"}] * counts["video"] + [{"image"}] * counts.get("image", 0)
        return super().kinds(inputs)

    # Names

    def _get_mm_hashes(self, inputs: Any) -> Any:
        hashes = super()._get_mm_hashes(inputs)
        return hashes | self._pair_names(hashes["video"], hashes["audio"]) if _together(inputs) else hashes

    def _pair_names(self, videos: list[str], sounds: list[str]) -> dict[str, list[str]]:
        """What is kept of a video with its sound, and where it stands, depends on both."""
        pairs = list(zip(videos, sounds, strict=False))
        rest = sounds[len(pairs) :]
        return {
            "video": [named("with sound", *pair) for pair in pairs] + videos[len(pairs) :],
            "audio": [named("of video", *pair) for pair in pairs] + rest,
        }

    def _get_cache_missing_items(self, cache: Any, mm_data_items: Any, mm_hashes: Any) -> Any:
        # The sound of a video is read together with it: neither comes from the cache alone.
        return super()._get_cache_missing_items(_Pairs(cache, mm_hashes), mm_data_items, mm_hashes)

    # What encoders are given

    def _postprocess_hf_mm_data(self, hf_data: Any, hf_kwargs: Mapping[str, object], processed_data: Any) -> Any:
        data = super()._postprocess_hf_mm_data(hf_data, hf_kwargs, processed_data)
        grids = data.get("video_grid_thw")
        if grids is None:
            return data
        merged = self.info.ctx.get_merged_mm_kwargs(hf_kwargs)
        scoped: Any = merged.get("videos_kwargs") or {}
        fps = float(scoped.get("fps") or merged.get("fps") or self.fps)
        together = self.info.get_hf_config().vision_config.temporal_patch_size / fps
        data[SECONDS] = seconds_as_int([together] * len(grids))
        if hf_kwargs.get("use_audio_in_video") and "input_audio_features" in data:
            data[SOUND] = data["input_audio_features"]
            data[SOUND_FRAMES] = data["audio_feature_lengths"].flatten()
        return data

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        frames = hf_inputs.get(SOUND_FRAMES, torch.empty(0, dtype=torch.int64, device="cpu"))
        return super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs) | {
            SOUND: MultiModalFieldConfig.flat_from_sizes("video", frames, dim=1),
            SOUND_FRAMES: MultiModalFieldConfig.batched("video", keep_on_cpu=True),
        }

    # Placeholders

    def written(self, unit: Unit) -> Any:
        found = super().written(unit)
        if len(unit.items) == 1:
            return found
        config = self.info.get_hf_config()
        found = [config.audio_start_token_id, *found, config.audio_end_token_id]
        return PromptUpdateDetails.select_token_ids(found, [self.id_of(Modality.VIDEO), self.id_of(Modality.AUDIO)])

    def _maybe_apply_prompt_updates(self, mm_items: Any, mm_res: Any) -> Any:
        # vLLM asks a video whether its sound is its own, or counts placeholders where the video is in a cache. What a
        # cache in shared memory gives for a video is an address, which neither answers nor counts as cached.
        known = {
            modality: [None if item and "address" in item else item for item in items]
            for modality, items in mm_res.kwargs.items()
        }
        return super()._maybe_apply_prompt_updates(mm_items, mm_res._replace(kwargs=known))

    def _derive_audio_from_video_placeholders(self, placeholders: Any, mm_prompt_updates: Any) -> Any:
        """The video's item fills all placeholders between the sound's begin and end, and the sound's own fills none."""
        derived = dict(super()._derive_audio_from_video_placeholders(placeholders, mm_prompt_updates))
        videos: Sequence[PlaceholderFeaturesInfo] = derived["video"]
        sounds: Sequence[PlaceholderFeaturesInfo] = derived["audio"]
        derived["video"] = [replace(v, is_embed=v.is_embed | s.is_embed) for v, s in zip(videos, sounds, strict=True)]
        derived["audio"] = [replace(s, is_embed=torch.zeros_like(s.is_embed)) for s in sounds]
        return derived


class _Pairs:
    """A processor cache that has a video and its sound, or neither."""

    def __init__(self, cache: Any, hashes: Mapping[str, Sequence[str]]) -> None:
        self.cache = cache
        self.missing: set[str] = set()
        for pair in zip(hashes.get("video", ()), hashes.get("audio", ()), strict=False):
            if not all(cache.is_cached(list(pair))):
                self.missing |= set(pair)

    def is_cached(self, names: Sequence[str]) -> list[bool]:
        return [
            found and name not in self.missing for found, name in zip(self.cache.is_cached(names), names, strict=True)
        ]


def _together(inputs: Any) -> bool:
    counts = inputs.mm_data_items.get_all_counts()
    asked = bool(inputs.hf_processor_mm_kwargs.get("use_audio_in_video"))
    return asked and bool(counts.get("video")) and bool(counts.get("audio"))
