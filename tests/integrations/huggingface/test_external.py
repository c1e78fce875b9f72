"""What a caller gives to stages by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Schedule, TokenLayout
from seats_ops.integrations import attach
from tests.custom_stages import every_other
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.prompts import Audio, Text, Video, build_prompt
from tests.integrations.huggingface.upstream import needs


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.fixture
def batch(thinker: nn.Module) -> dict[str, Any]:
    prompts = [Text(5), Video((3, 4, 6)), Text(3)], [Text(2), Audio(90), Text(3)]
    return batch_of([build_prompt(thinker.config, *parts, seed=seed) for seed, parts in enumerate(prompts)])


@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_tensors_and_functions(thinker: nn.Module, batch: dict[str, Any], entry: str) -> None:
    """A row for every token that is no padding, text included; later stages get those of the tokens left."""
    total = int(batch["attention_mask"].sum())
    clip, more = torch.randn(total), torch.randn(total, 3, requires_grad=True)
    layouts: list[TokenLayout] = []

    def made(layout: TokenLayout) -> Tensor:
        layouts.append(layout)
        return 2 * more

    first = Asks(("external:clip", "features"), every_other)
    later = Asks(("features", "external:clip", "external:more"))
    given = {"clip": clip, "more": made, "unused": clip[:3]}
    with attach(thinker, Schedule(first, {2: later}), external=given) as trace, torch.no_grad():
        thinker(**batch) if entry == "forward" else thinker.generate(**batch, max_new_tokens=3, do_sample=False)
    keep_mask = every_other(first.seen[0]["layout"])
    assert trace.stages[0].num_tokens == int(keep_mask.sum()) < total
    assert torch.equal(first.seen[0]["external:clip"], clip)
    assert torch.equal(later.seen[0]["external:clip"], clip[keep_mask])
    assert torch.equal(later.seen[0]["external:more"], 2 * more.detach()[keep_mask])
    assert not later.seen[0]["external:more"].requires_grad
    assert [len(layout) for layout in layouts] == [total] and layouts[0].num_rows == 2


@needs("copies of media")
def test_beams_take_one_copy(thinker: nn.Module, batch: dict[str, Any]) -> None:
    clip, stage = torch.randn(int(batch["attention_mask"].sum())), Asks(("external:clip",))
    with attach(thinker, Schedule(stage), external={"clip": clip}):
        thinker.generate(**batch, max_new_tokens=2, do_sample=False, num_beams=2)
    assert torch.equal(stage.seen[0]["external:clip"], clip)


def test_what_is_missing_is_named_when_attached(thinker: nn.Module) -> None:
    schedule = Schedule(after_layer={2: [Asks(("features", "external:clip"))]})
    for external in (None, {}, {"clips": torch.ones(3)}):
        with pytest.raises(ValueError, match="external: expected 'clip', which Asks after layer 2 asks for"):
            attach(thinker, schedule, external=external)


@pytest.mark.parametrize("external", [[torch.ones(3)], {3: torch.ones(3)}, {"clip": [1.0]}, {"clip": None}])
def test_what_is_no_tensor(thinker: nn.Module, external: Any) -> None:
    with pytest.raises(TypeError, match="external"):
        attach(thinker, Schedule(Asks(("external:clip",))), external=external)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (torch.ones(3), ValueError),
        (torch.tensor(1.0), ValueError),
        (lambda _: torch.ones(3), ValueError),
        (lambda layout: layout.modality.tolist(), TypeError),
    ],
)
def test_another_length_is_refused_before_a_layer_runs(
    thinker: nn.Module, batch: dict[str, Any], value: Any, error: type[Exception]
) -> None:
    stage = Asks(("external:clip",))
    refused = pytest.raises(error, match=r"external\['clip'\]: expected \[\d+, \.\.\.\]")
    attachment = attach(thinker, Schedule(stage), external={"clip": value})
    with probes.produced_logits(thinker) as produced, attachment, refused:
        thinker(**batch)
    assert produced == [] and not stage.seen
