"""Requests to prompts: as many placeholders as tokens will stay, and names for caches that tell what they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, ClassVar

from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing.processor import BaseMultiModalProcessor

from seats_ops.integrations.vllm.channels import LONGEST
from seats_ops.integrations.vllm.features import SECONDS, unit_of
from seats_ops.integrations.vllm.reach import Reach
from seats_ops.integrations.vllm.served import ENTRY, Served, read_schedule
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality

PROFILING: ContextVar[bool] = ContextVar("seats_ops_profiling", default=False)
"""Of each thread that runs a processor."""


class SeatsProcessor(BaseMultiModalProcessor[Any]):
    """What stands before a processor of vLLM among the bases of one that selects.

    Attributes:
        table: how far vLLM's model can number tokens, in contexts of the model's config.
    """

    table: ClassVar[int] = 4

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reach = Reach(self.table)

    @property
    def served(self) -> Served:
        return read_schedule(getattr(self.info.ctx.model_config.hf_config, ENTRY, None))

    def get_dummy_mm_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Of the largest request by number of items, which nobody answers."""
        token = PROFILING.set(True)
        try:
            return super().get_dummy_mm_inputs(*args, **kwargs)
        finally:
            PROFILING.reset(token)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        if PROFILING.get():
            return super().apply(inputs, timing_ctx)
        kinds = self.kinds(inputs)
        self.served.check_request(kinds)
        made = super().apply(inputs, timing_ctx)
        # The item of a video carries its sound.
        bearers = {"video" if "video" in kind else min(kind) for kind in kinds}
        self.reach.check(self.info.get_hf_config(), self.info.ctx.model_config.max_model_len, made, bearers)
        return made

    def _apply_hf_processor(self, inputs: Any, timing_ctx: Any) -> Any:
        made = super()._apply_hf_processor(inputs, timing_ctx)
        self._note(made.hashes, made.kwargs)
        return made

    def _merge_mm_kwargs(
        self, cache: Any, mm_hashes: Any, mm_is_cached: Any, mm_missing_kwargs: Any, mm_missing_prompt_updates: Any
    ) -> Any:
        """What comes out of a cache may be an address: the last place where items that were new to it are at hand."""
        new = {
            modality: [name for name, known in zip(names, mm_is_cached[modality], strict=True) if not known]
            for modality, names in mm_hashes.items()
        }
        self._note(new, mm_missing_kwargs)
        return super()._merge_mm_kwargs(cache, mm_hashes, mm_is_cached, mm_missing_kwargs, mm_missing_prompt_updates)

    def _note(self, names: Any, items: Any) -> None:
        if not PROFILING.get():
            self.reach.note(self.info.get_hf_config(), names, items)

    def kinds(self, inputs: Any) -> list[set[str]]:
        """Modalities of every unit of a request."""
        return [{name} for name, n in inputs.mm_data_items.get_all_counts().items() for _ in range(n)]

    def _get_mm_hashes(self, inputs: Any) -> Any:
        hashes = super()._get_mm_hashes(inputs)
        return {modality: [named(self.served.name, name) for name in names] for modality, names in hashes.items()}

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        fields = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))
        return fields | {SECONDS: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    # Placeholders

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Any:
        config = self.info.get_hf_config()

        def shortened(modality: str, whole: Any) -> Callable[[int], Any]:
            def replacement(index: int) -> Any:
                data = {name: field.data for name, field in out_mm_kwargs[modality][index].items()}
                if modality == "audio":
                    whole(index)  # refuses a sound that is too short for a token
                return self.written(unit_of(config, modality, data))

            return replacement

        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        return [replace(update, replacement=shortened(update.modality, update.replacement)) for update in updates]

    def written(self, unit: Unit) -> Any:
        """Ids of the prompt for what stays of a unit."""
        return [placeholder for kind, n in self.per_run(unit) for placeholder in [self.id_of(kind)] * n]

    def id_of(self, kind: Modality) -> int:
        """Of a placeholder."""
        return int(getattr(self.info.get_hf_config(), f"{kind.name.lower()}_token_id"))

    def per_run(self, unit: Unit) -> list[tuple[Modality, int]]:
        """Placeholders of every run of a unit. Raises ValueError: nothing to show, or too long."""
        names = [item.modality.name.lower() for item in unit.items]
        if not all(item.num_tokens for item in unit.items):
            raise ValueError(f"{names[0]}: expected media that last, got {' and '.join(names)} of no token")
        if unit.top > LONGEST:
            raise ValueError(f"{names[0]}: expected less than {LONGEST} positions in an item, got {unit.top}")
        found = self.served.per_run(unit)
        if not {item.modality for item in unit.items} <= {kind for kind, n in found if n}:
            raise ValueError(f"{names[0]}: expected media of which a token stays, got {unit.items}")
        return found


def named(*parts: str) -> str:
    """A name that tells all of them."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
