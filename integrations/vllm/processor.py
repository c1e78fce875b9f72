"""Requests to prompts: as many placeholders as tokens will stay, and names for caches that tell what they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from vllm.model_executor.models.qwen2_5_omni_thinker import Qwen2_5OmniThinkerMultiModalProcessor
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo, PromptUpdateDetails

from seats_ops.integrations.vllm.channels import LONGEST
from seats_ops.integrations.vllm.features import SECONDS, SOUND, SOUND_FRAMES, clock_of, item_of_grid, seconds_as_int
from seats_ops.integrations.vllm.items import Item, Unit
from seats_ops.integrations.vllm.served import ENTRY, Served, read_schedule
from seats_ops.layout import Modality

FPS = 2.0
"""Frames a second that the processor takes for granted where nobody says."""


class SeatsProcessor(Qwen2_5OmniThinkerMultiModalProcessor):
    """Of Qwen2.5-Omni. A video and its sound are one unit: the video's item carries the sound, the sound's is empty."""

    _profiling = False

    @property
    def served(self) -> Served:
        return read_schedule(getattr(self.info.ctx.model_config.hf_config, ENTRY, None))

    def get_dummy_mm_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Of the largest request by number of items, which nobody answers."""
        self._profiling = True
        try:
            return super().get_dummy_mm_inputs(*args, **kwargs)
        finally:
            self._profiling = False

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        if not self._profiling:
            counts = dict(inputs.mm_data_items.get_all_counts())
            kinds = [{name} for name, n in counts.items() for _ in range(n)]
            if _together(inputs.hf_processor_mm_kwargs, counts):
                kinds = [{"video", "audio"}] * counts["video"] + [{"image"}] * counts.get("image", 0)
            self.served.check_request(kinds)
        return super().apply(inputs, timing_ctx)

    # Names

    def _get_mm_hashes(self, inputs: Any) -> Any:
        hashes = {modality: list(names) for modality, names in super()._get_mm_hashes(inputs).items()}
        if _together(inputs.hf_processor_mm_kwargs, inputs.mm_data_items.get_all_counts()):
            hashes |= self._pair_names(hashes["video"], hashes["audio"])
        return {modality: [_name(self.served.name, name) for name in names] for modality, names in hashes.items()}

    def _pair_names(self, videos: list[str], sounds: list[str]) -> dict[str, list[str]]:
        """What is kept of a video with its sound, and where it stands, depends on both."""
        pairs = list(zip(videos, sounds, strict=False))
        rest = sounds[len(pairs) :]
        return {
            "video": [_name("with sound", *pair) for pair in pairs] + videos[len(pairs) :],
            "audio": [_name("of video", *pair) for pair in pairs] + rest,
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
        fps = float(scoped.get("fps") or merged.get("fps") or FPS)
        together = self.info.get_hf_config().vision_config.temporal_patch_size / fps
        data[SECONDS] = seconds_as_int([together] * len(grids))
        if hf_kwargs.get("use_audio_in_video") and "input_audio_features" in data:
            data[SOUND] = data["input_audio_features"]
            data[SOUND_FRAMES] = data["audio_feature_lengths"].flatten()
        return data

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        fields = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))
        frames = hf_inputs.get(SOUND_FRAMES, torch.empty(0, dtype=torch.int64, device="cpu"))
        return fields | {
            SECONDS: MultiModalFieldConfig.batched("video", keep_on_cpu=True),
            SOUND: MultiModalFieldConfig.flat_from_sizes("video", frames, dim=1),
            SOUND_FRAMES: MultiModalFieldConfig.batched("video", keep_on_cpu=True),
        }

    # Placeholders

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Any:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        data = out_mm_kwargs.get_data()
        config = self.info.get_hf_config()
        clock, merge = clock_of(config), config.vision_config.spatial_merge_size
        together = _together(hf_processor_mm_kwargs, mm_items.get_all_counts())
        ids = {
            Modality.VIDEO: config.video_token_index,
            Modality.AUDIO: config.audio_token_index,
            Modality.IMAGE: config.image_token_index,
        }

        def item(modality: str, index: int) -> Item:
            if modality == "audio":
                return Item.sound(int(data["audio_feature_lengths"].flatten()[index]))
            seconds = data[SECONDS][index] if modality == "video" else None
            return item_of_grid(
                Modality[modality.upper()], data[f"{modality}_grid_thw"][index].tolist(), merge, seconds
            )

        def shortened(modality: str, whole: Any) -> Any:
            def replacement(index: int) -> Any:
                if modality == "video" and together:
                    unit = Unit((item("video", index), item("audio", index)), clock)
                    found = [ids[kind] for kind in self._checked(unit)]
                    found = [config.audio_start_token_id, *found, config.audio_end_token_id]
                    return PromptUpdateDetails.select_token_ids(found, [ids[Modality.VIDEO], ids[Modality.AUDIO]])
                whole(index)  # refuses a sound that is too short for a token
                return [ids[kind] for kind in self._checked(Unit((item(modality, index),), clock))]

            return replacement

        return [replace(update, replacement=shortened(update.modality, update.replacement)) for update in updates]

    def _checked(self, unit: Unit) -> list[Modality]:
        """Placeholders of a unit. Raises ValueError: nothing to show, or too long."""
        names = [item.modality.name.lower() for item in unit.items]
        if not all(item.num_tokens for item in unit.items):
            raise ValueError(f"{names[0]}: expected media that last, got {' and '.join(names)} of no token")
        last = int(unit.positions().max())
        if last >= LONGEST:
            raise ValueError(f"{names[0]}: expected less than {LONGEST} positions in an item, got {last + 1}")
        return self.served.placeholders(unit)

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


def _together(hf_kwargs: Mapping[str, object], counts: Mapping[str, int]) -> bool:
    return bool(hf_kwargs.get("use_audio_in_video")) and bool(counts.get("video")) and bool(counts.get("audio"))


def _name(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
