"""Options of methods that cannot be are refused when a method is called, by name, not in the middle of a run."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.methods import method
from tests.methods.table import own_methods

CONFIG = Qwen2_5OmniThinkerConfig()
RATIOS = {"seats-pruner": 0.75}
OF_NONE: dict[str, list[Any]] = {
    "cell": [3, "ab", [1], [2, -2]],
    "drop_layers": [3, "ab", [1.5], [40]],
    "layers": [3, "ab", [1.5], [40], []],
    "temperature": ["a", -1.0, float("nan")],
    "theta": ["a", 1.0, -0.5, float("nan")],
    "reduction": ["nonsense", 3, ["sum"]],
}
"""What cannot be where None stands for a default; where there is one, its type tells."""
WRONG: dict[type, list[Any]] = {
    bool: ["no", 1, None],
    int: ["a", -1, 1.5, True, None, [1]],
    float: ["a", -1.0, float("nan"), None, [1.0]],
    str: ["nonsense", 3, None, ["a"]],
}
POSSIBLE: list[tuple[str, str, Any]] = [
    ("holitom", "layer", 3),
    ("holitom", "layer", None),
    ("pyramiddrop", "layers", []),
    ("seats", "late_layer", 3),
    ("seats", "late_layer", None),
]
CASES = [
    (name, option, wrong)
    for name, one in own_methods().items()
    for option, default in one.options.items()
    for wrong in (OF_NONE[option] if default is None else WRONG[type(default)])
    if (name, option, wrong) not in POSSIBLE
]


@pytest.mark.parametrize(("name", "option", "wrong"), CASES, ids=str)
def test_a_wrong_option_is_refused_by_name(name: str, option: str, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{option}: expected "):
        method(name)(CONFIG, RATIOS.get(name, 0.25), **{option: wrong})


@pytest.mark.parametrize("name", ["dycoke", "evs", "fastvid", "flashvid", "flashvid-adts", "holitom", "vidcom2"])
def test_methods_of_video_alone_take_a_ratio_by_name(name: str) -> None:
    assert method(name)(CONFIG, {"video": 0.3}) == method(name)(CONFIG, 0.3)
    with pytest.raises(ValueError, match=r"^ratio: expected a number, or one for video alone, got"):
        method(name)(CONFIG, {"video": 0.3, "audio": 0.3})
