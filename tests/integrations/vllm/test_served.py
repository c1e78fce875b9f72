"""Schedules that an engine can serve, and what it is told of those that it cannot."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.cost import PromptLengths, token_counts
from seats_ops.integrations.vllm import overrides, register
from seats_ops.integrations.vllm.clocks import Clock
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.refusals import check_engine, check_inputs
from seats_ops.integrations.vllm.selection import choose
from seats_ops.integrations.vllm.served import Served, read_schedule, served
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality
from seats_ops.methods import method

VIDEO = Item(Modality.VIDEO, 7, 2, 4, 1.0)
SOUND = Item(Modality.AUDIO, 130, seconds=0.04)


REFUSED: list[tuple[Any, str]] = [
    (Schedule(DiversitySelector(0.5), {4: StagePruner(0.5)}), r"got stages after layers \(4\)"),
    (Schedule(), "got no stage"),
    (method("omniselect")(None, 0.3), "whose counts depend on data"),
    (method("vidcom2")(None, 0.3), "whose counts depend on data"),
    (method("cdpruner")(None, 0.3), "which asks for 'question'"),
    (method("dart")(None, 0.3), "other media tokens where the text around them is another"),
    (Schedule(ModalityDropper(("video",))), "leaves no token of video"),
]


@pytest.mark.parametrize(("schedule", "reason"), REFUSED)
def test_a_schedule_that_cannot_be_served_is_refused_with_the_reason(schedule: Schedule, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        overrides(schedule)


@pytest.mark.parametrize("data", [None, 3, {"type": "DiversitySelector"}, {"before_llm": [{"type": "Nobody"}]}, {}])
def test_what_is_no_schedule(data: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_schedule(data)


def test_a_stage_alone_is_a_schedule() -> None:
    stage = DiversitySelector(0.3)
    alone = read_schedule({"type": "DiversitySelector", **stage.to_dict()})
    assert alone.stages == read_schedule(Schedule(stage).to_dict()).stages == (stage,)


def test_other_arguments() -> None:
    with pytest.raises(ValueError, match="architecture: expected one of"):
        overrides(Schedule(DiversitySelector(0.5)), "Qwen2_5OmniModel")
    with pytest.raises(TypeError, match="schedule: expected a Schedule"):
        overrides(DiversitySelector(0.5))  # type: ignore[arg-type]


def marks_of(served: Served, unit: Unit) -> list[Modality]:
    """Placeholder by placeholder."""
    return [kind for kind, n in served.per_run(unit) for _ in range(n)]


@pytest.mark.parametrize("name", ["evs", "dycoke", "visionzip", "divprune", "flashvid-adts", "uniform"])
def test_what_is_said_to_stay_is_what_stays(name: str) -> None:
    schedule = method(name)(None, 0.3)
    unit = Unit((VIDEO, SOUND), Clock())
    served = read_schedule(schedule.to_dict())
    blocks = {"video_blocks": VIDEO.blocks(), "audio_blocks": SOUND.blocks()}
    counted = token_counts(schedule, PromptLengths(5, **blocks, shapes=(VIDEO.shape, SOUND.shape)))[-1]
    generator = torch.Generator().manual_seed(1)
    values = {name: torch.rand(unit.num_tokens, generator=generator) for name in served.asked - {"keys"}}
    values |= {"keys": torch.randn(unit.num_tokens, 8, generator=generator)} if "keys" in served.asked else {}
    chosen = choose(schedule.before_llm, [unit], torch.randn(unit.num_tokens, 8, generator=generator), values)
    assert served.kept(unit) == chosen.counts == {"video": counted.video, "audio": counted.audio, "image": 0}
    marks = marks_of(served, unit)
    assert (marks.count(Modality.VIDEO), marks.count(Modality.AUDIO)) == (counted.video, counted.audio)


def test_placeholders_of_runs_are_what_stays_of_them_where_groups_end_with_runs() -> None:
    # Two grids of a second each are a block, and a chunk.
    stage = DiversitySelector({"video": 0.5, "audio": 0.5}, weighted=False)
    marks = marks_of(read_schedule(Schedule(stage).to_dict()), Unit((VIDEO, SOUND), Clock()))
    v, a = Modality.VIDEO, Modality.AUDIO
    assert marks == [v] * 8 + [a] * 25 + [v] * 8 + [a] * 25 + [v] * 8 + [a] * 15 + [v] * 4


class Halves:
    """Every other token of an item; of a video beside a sound one less than it says."""

    inputs: ClassVar[tuple[str, ...]] = ("grid",)
    count_kind: ClassVar[str] = "shape"

    def __call__(self, layout: Any, **_: Any) -> Any:
        place = layout.grid[:, 1] * 1000 + layout.grid[:, 2] * 100 + layout.grid[:, 3]
        keep = (place % 2 == 0) | layout.is_modality(Modality.TEXT)
        if len({shape.modality for shape in layout.shapes}) > 1:
            keep[layout.is_modality(Modality.VIDEO).nonzero()[0]] = False
        return keep

    def count_tokens(self, found: Any) -> dict[str, int]:
        return {name: n if name == "text" else (n + 1) // 2 for name, n in found.items()}

    def to_dict(self) -> dict[str, Any]:
        return {}


def test_a_stage_that_miscounts_a_video_with_its_sound_alone_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match=r"Halves: expected .* tokens of .*VIDEO.*AUDIO"):
        served(Schedule(Halves()))


def test_items_that_share_out_tokens_are_refused_in_one_request() -> None:
    served = read_schedule(method("divprune")(None, 0.3).to_dict())
    served.check_request([{"video"}, {"audio"}, {"image"}])
    with pytest.raises(ValueError, match=r"decides on them together, got \{'video': 2\}"):
        served.check_request([{"video"}, {"video"}])
    exact = read_schedule(Schedule(DiversitySelector(0.3, exact_total=True)).to_dict())
    with pytest.raises(ValueError, match="decides on them together"):
        exact.check_request([{"video", "audio"}, {"video", "audio"}])
    read_schedule(Schedule(DiversitySelector(0.3)).to_dict()).check_request([{"video"}, {"video"}, {"audio"}])


def engine_config(**changes: Any) -> SimpleNamespace:
    """What is looked at of a `VllmConfig`."""
    groups = {
        "parallel_config": {
            **{f"{kind}_parallel_size": 1 for kind in ("pipeline", "tensor", "prefill_context", "decode_context")},
            "enable_expert_parallel": False,
            "distributed_executor_backend": "mp",
            "use_ubatching": False,
        },
        "compilation_config": {"compile_mm_encoder": False, "cudagraph_mm_encoder": False},
        "media": {"video_pruning_rate": None, "enable_mm_embeds": False, "mm_encoder_tp_mode": "weights"},
        "model": {"enable_prompt_embeds": False},
        "": {"speculative_config": None, "lora_config": None},
    }
    for values in groups.values():
        values.update({name: value for name, value in changes.items() if name in values})
    media = SimpleNamespace(**groups.pop("media"))
    model = SimpleNamespace(multimodal_config=media, **groups.pop("model"))
    plain = groups.pop("")
    return SimpleNamespace(
        **plain, model_config=model, **{name: SimpleNamespace(**values) for name, values in groups.items()}
    )


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"speculative_config": object()}, "speculative decoding"),
    ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
    ({"tensor_parallel_size": 2, "enable_expert_parallel": True}, "expert parallelism.*beside tensor parallelism"),
    ({"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}, "another executor.*than 'mp'"),
    ({"tensor_parallel_size": 2, "mm_encoder_tp_mode": "data"}, "mm_encoder_tp_mode='data'.*saliency"),
    ({"prefill_context_parallel_size": 2}, "prefill context parallelism"),
    ({"decode_context_parallel_size": 2}, "decode context parallelism"),
    ({"use_ubatching": True}, "dual batch overlap"),
    ({"video_pruning_rate": 0.5}, "video_pruning_rate"),
    ({"enable_mm_embeds": True}, "embedding inputs .enable_mm_embeds"),
    ({"enable_prompt_embeds": True}, "embedding inputs .enable_prompt_embeds"),
    ({"lora_config": object()}, "LoRA"),
    ({"compile_mm_encoder": True}, "compiled encoder.*saliency"),
    ({"cudagraph_mm_encoder": True}, "CUDA graphs.*selects"),
]


@pytest.mark.parametrize(("changes", "named"), SETTINGS)
def test_settings_that_cannot_be_served_with_are_named(changes: dict[str, Any], named: str) -> None:
    weighted, unweighted = (
        read_schedule(Schedule(DiversitySelector(0.5, weighted=w)).to_dict()) for w in (True, False)
    )
    check_engine(engine_config(), weighted)
    with pytest.raises(ValueError, match=named):
        check_engine(engine_config(**changes), weighted)
    if "compile_mm_encoder" in changes:
        check_engine(engine_config(**changes), unweighted)


def test_a_stage_that_asks_for_what_a_family_lacks_is_named() -> None:
    served = read_schedule(method("evs")(None, 0.3).to_dict())
    check_inputs(served, frozenset({"seconds"}))
    with pytest.raises(ValueError, match=r"served with this model, got .*, which asks for 'grid'"):
        check_inputs(served, frozenset({"grid"}))


def test_the_frontend_in_rust_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    served = read_schedule(Schedule(DiversitySelector(0.5)).to_dict())
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "0")
    check_engine(engine_config(), served)
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    with pytest.raises(ValueError, match="frontend in Rust"):
        check_engine(engine_config(), served)


def test_importing_needs_neither_vllm_nor_transformers() -> None:
    code = (
        "import sys, seats_ops.integrations.vllm as v; v.overrides; import seats_ops.integrations.vllm.features; "
        "print(sorted({'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_is_the_function_that_registers() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = project["entry-points"]["vllm.general_plugins"].values()
    module, name = entry.split(":")
    assert getattr(import_module(module), name) is register
