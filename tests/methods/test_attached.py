"""Every method goes to a model as it is named, and asks the caller for what it says."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.integrations.huggingface.families.family import FAMILIES, Family
from seats_ops.integrations.huggingface.guards.refusals import check_inputs
from seats_ops.layout import MediaShape, Modality
from seats_ops.methods import method
from seats_ops.methods.method import count_kinds, inputs_of
from tests.methods.table import own_methods

CONFIG = Qwen2_5OmniThinkerConfig()
QWEN = [family for family in FAMILIES if family.thinker.startswith("Qwen")]
RATIOS = {"seats-pruner": 0.75}


@pytest.mark.parametrize("family", QWEN, ids=lambda family: family.thinker)
@pytest.mark.parametrize("name", own_methods())
def test_towers_give_what_is_asked_for_by_default(name: str, family: Family) -> None:
    schedule = method(name)(CONFIG, RATIOS.get(name, 0.25))
    asked = [item.removeprefix("external:") for item in inputs_of(schedule) if item.startswith("external:")]
    said = method(name).protocol.supplied.split(":")[0]
    assert said == (", ".join(asked) or "-")
    check_inputs(family, schedule, asked)


@pytest.mark.parametrize("name", own_methods())
def test_protocols_say_what_stages_do(name: str) -> None:
    schedule, said = method(name)(CONFIG, RATIOS.get(name, 0.25)), method(name).protocol
    rules = {getattr(stage, "kv_rule", "sliced") for layer, stage in schedule.stages() if layer}
    assert said.kv.split(";")[0] == ("/".join(rules) or "-")
    assert said.count.split(";")[0] == ", ".join(count_kinds(schedule))
    assert (said.merge == "none") == (said.row_sum == "-")
    assert (said.merge != "none") == any(getattr(stage, "merges", False) for _, stage in schedule.stages())
    assert (said.positions == "renumbered") == any(getattr(stage, "renumbers", False) for _, stage in schedule.stages())
    if said.audio == "stays":
        sound = PromptLengths(10, audio_blocks=(50,), shapes=(MediaShape(Modality.AUDIO, 50),))
        assert prefill_cost(CONFIG, schedule, sound).stages[-1].tokens == 60


@pytest.mark.parametrize(
    ("name", "options"), [("vidcom2", {"variant": "reconciled"}), ("dart", {"layer": 2})], ids=lambda value: str(value)
)
def test_protocols_say_what_options_change(name: str, options: dict[str, Any]) -> None:
    schedule, said = method(name)(CONFIG, 0.25, **options), method(name).protocol
    assert said.count.split(": ")[-1] == ", ".join(count_kinds(schedule))
    assert said.kv.split(": ")[-1] == ("sliced" if schedule.after_layer else "-")


@pytest.mark.parametrize("family", QWEN, ids=lambda family: family.thinker)
@pytest.mark.parametrize("release", ["llava", "qwen"])
def test_towers_give_what_fastvid_asks_for(release: str, family: Family) -> None:
    schedule = method("fastvid")(CONFIG, 0.25, release=release)
    check_inputs(family, schedule, ())
