"""Every method goes to a model as it is named, and asks the caller for what it says."""

from __future__ import annotations

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.integrations.huggingface.families.family import FAMILIES, Family
from seats_ops.integrations.huggingface.guards.refusals import check_inputs
from seats_ops.methods import method
from seats_ops.methods.method import inputs_of
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


@pytest.mark.parametrize("family", QWEN, ids=lambda family: family.thinker)
@pytest.mark.parametrize("release", ["llava", "qwen"])
def test_towers_give_what_fastvid_asks_for(release: str, family: Family) -> None:
    schedule = method("fastvid")(CONFIG, 0.25, release=release)
    check_inputs(family, schedule, ())
