"""One row is one prompt: samples packed into a row are refused, whatever says that they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Schedule, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import find_family
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset

FIRST, SECOND = [Text(9), Video((5, 4, 6), 1.0), Text(7)], [Text(3), Video((3, 4, 6), 1.0), Text(4)]


def pruning(config: Any) -> Schedule:
    return small_preset(config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)


def prompts(config: Any) -> list[dict[str, Any]]:
    return [build_prompt(config, *stills(config, *parts), seed=seed) for seed, parts in enumerate((FIRST, SECOND))]


@torch.no_grad()
def positions_of(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """What the decoder would be given: [3, 1, S], or [1, S] where it counts text only."""
    seen: list[Tensor] = []
    text_model = find_family(model)[0].text_model(model)
    handle = text_model.register_forward_pre_hook(lambda m, a, k: seen.append(k["position_ids"]), with_kwargs=True)
    model(**inputs)
    handle.remove()
    return torch.arange(inputs["input_ids"].shape[1])[None] if seen[0] is None else seen[0][-3:]


def packed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The samples in one row, one behind the other."""
    by_column = ("input_ids", "mm_token_type_ids")
    return {
        name: torch.cat([row[name] for row in rows], 1 if name in by_column else 0) if torch.is_tensor(value) else value
        for name, value in rows[0].items()
        if name != "attention_mask"
    }


def counted(positions: Tensor) -> Tensor:
    """With a count of all tokens in front, where there are three axes."""
    if positions.ndim == 2:
        return positions
    return torch.cat([torch.arange(positions.shape[-1]).expand(1, *positions.shape[1:]).to(positions), positions])


@pytest.mark.parametrize("family", SMALL)
def test_packed_samples(family: str) -> None:
    model = SMALL[family]("sdpa")
    rows = prompts(model.config)
    inputs, single = packed(rows), [positions_of(model, row) for row in rows]
    length, first = inputs["input_ids"].shape[1], rows[0]["input_ids"].shape[1]
    ends = torch.tensor([0, first, length], dtype=torch.int32)
    numbered = 1 + (torch.arange(length) >= first).long()[None]
    signs: dict[str, dict[str, Any]] = {
        "counted anew": {"position_ids": torch.cat([counted(one) for one in single], -1)},
        "counted anew behind a mask": {
            "position_ids": torch.cat([counted(one) for one in single], -1),
            "attention_mask": torch.ones_like(inputs["input_ids"]),
        },
        "space and time anew": {"position_ids": torch.cat(single, -1)},
        "lengths": {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": first, "max_length_k": first},
        "one length": {"cu_seq_lens_k": ends},
        "numbers": {"attention_mask": numbered},
        "ids": {"seq_idx": numbered - 1},
    }
    with probes.produced_logits(model) as produced, attach(model, pruning(model.config)):
        for sign, arguments in signs.items():
            for use_cache in (False, True):
                with pytest.raises(UnsupportedModelState, match=next(iter(arguments)) + "|attention_mask"):
                    model(**inputs, **arguments, use_cache=use_cache)
                assert produced == [], sign


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("side", ["left", "right", None])
@torch.no_grad()
def test_positions_of_the_caller(family: str, side: str | None) -> None:
    """Those that the model works out itself change nothing, in every form; nor do later ones, as all turn alike."""
    model = SMALL[family]("sdpa")
    rows = prompts(model.config)
    inputs = rows[0] if side is None else batch_of(rows, side)
    schedule = pruning(model.config)
    if family == "phi4_multimodal":
        # It counts padding as well, as long as nobody else counts.
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    else:
        positions = positions_of(model, inputs)
    with attach(model, schedule) as trace:
        expected = model(**inputs).logits[:, -1]
        kept = [x.tolist() for x in trace.stages[-1].kept_indices]
        count = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        forms = [positions] if positions.ndim == 2 else [positions, torch.cat([count[None].to(positions), positions])]
        for form in forms:
            for shift in (0, 50):
                got = model(**inputs, position_ids=form + shift).logits[:, -1]
                assert [x.tolist() for x in trace.stages[-1].kept_indices] == kept
                assert (got - expected).abs().max() < 1e-3
        with pytest.raises(ValueError, match=r"^position_ids: expected \[B, S\]"):
            model(**inputs, position_ids=positions[..., :-1])


@pytest.mark.parametrize("family", SMALL)
def test_a_gap_in_the_count_without_a_mask(family: str) -> None:
    """transformers takes it for the start of another sample; behind a mask it is a gap."""
    model = SMALL[family]("sdpa")
    row = prompts(model.config)[0]
    positions = counted(positions_of(model, row))
    positions[..., -3:] += 4
    bare = {name: value for name, value in row.items() if name != "attention_mask"}
    with torch.no_grad(), attach(model, pruning(model.config)):
        with pytest.raises(UnsupportedModelState, match=r"^position_ids"):
            model(**bare, position_ids=positions)
        assert model(**row, position_ids=positions).logits.isfinite().all()


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("kv_policy", ["uniform", "per-layer"])
def test_hidden_tokens_between_others_are_no_part_of_a_prompt(family: str, kv_policy: str) -> None:
    model = SMALL[family]("sdpa")
    row = prompts(model.config)[0]
    length = row["input_ids"].shape[1]
    filler = {"input_ids": 7, "attention_mask": 0, "mm_token_type_ids": 0}

    def with_holes(name: str, value: Any) -> Any:
        if name not in filler:
            return value
        one = torch.full_like(value[:, :1], filler[name])
        return torch.cat([value[:, :4], one, value[:, 4 : length - 3], one, one, value[:, length - 3 :]], 1)

    holed = {name: with_holes(name, value) for name, value in row.items()}
    schedule = pruning(model.config)
    with attach(model, schedule, kv_policy=kv_policy):
        expected, got = probes.generate(model, row, 5), probes.generate(model, holed, 5)
    assert got.ids == expected.ids
    assert (got.logits - expected.logits).abs().max() < 1e-3
