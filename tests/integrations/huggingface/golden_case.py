"""One end-to-end case of the golden numbers: inputs, the schedule they were made with, and what came out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

import seats_ops
from seats_ops import Schedule

FAMILIES = ("qwen2_5", "qwen3")


@dataclass(frozen=True)
class GoldenCase:
    """`params` as in the manifest, `inputs` for the thinker, `numbers` by the names the manifest documents."""

    params: dict[str, Any]
    inputs: dict[str, Any]
    numbers: dict[str, Tensor]

    @classmethod
    def load(cls, golden_dir: Path, number: int, family: str = "qwen2_5") -> GoldenCase:
        manifest = json.loads((golden_dir / "manifest.json").read_text(encoding="utf-8"))
        case = next(case for case in manifest["cases"] if case["name"] == f"e2e_{family}_{number}")
        tensors = load_file(golden_dir / case["file"])
        inputs: dict[str, Any] = {
            name.removeprefix("inputs."): tensor for name, tensor in tensors.items() if name.startswith("inputs.")
        }
        inputs["use_audio_in_video"] = case["params"]["use_audio_in_video"]
        return cls(case["params"], inputs, tensors)

    def schedule(self, config: Any, windows: str = "runs", temperature: float | None = None) -> Schedule:
        """The preset with the parameters of this case; the authors rebuild windows from adjacency."""
        return seats_ops.seats(
            config,
            video=self.params["video_ratio"],
            audio=self.params["audio_ratio"],
            drop_layers=self.params["drop_layers_1_based"],
            late_layer=self.params["late_block_layer_1_based"],
            encoder_ratio_scale=self.params["encoder_ratio_scale"],
            windows=windows,
            temperature=temperature,
        )

    @property
    def kept(self) -> list[tuple[int, Tensor]]:
        """Kept columns stage by stage, as (layer, columns)."""
        layers = [kept["after_layer"] for kept in self.params["kept"][1:]]
        return [(0, self.numbers["seats.stage1_keep"])] + [
            (layer, self.numbers[f"seats.after_layer_{layer}_keep"]) for layer in layers
        ]
