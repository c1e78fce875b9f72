"""Two engines of vLLM in this process, with the same settings, of which one serves what stays of a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import torch
import vllm

from benchmarks.serving_rounds import Asked, Round, run_round
from seats_ops import DiversitySelector, Schedule
from seats_ops.measure.stopwatch import now
from tests.integrations.vllm import checkpoint as tiny
from tests.integrations.vllm.cases import VIDEO, Case, asked, clip, tone
from tests.integrations.vllm.engines import close, engine, model_of, request

PARTS = {"embed_multimodal": "encoders", "chosen": "choosing", "forward": "decoder"}
"""Methods of a model, and what is done in them."""


def random_checkpoint(folder: Path, width: int, layers: int) -> Path:
    """The checkpoint of the plugin's tests with a decoder of another width, in heads of 32, and depth."""
    thinker = tiny.config()
    thinker.text_config.update(
        {
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": width // 32,
            "num_key_value_heads": width // 64,
            "layer_types": ["full_attention"] * layers,
            "max_position_embeddings": 16384,
        }
    )
    thinker.vision_config.out_hidden_size = thinker.audio_config.output_dim = width
    with mock.patch.object(tiny, "config", lambda: thinker):
        return tiny.write(folder)


class Served:
    """An engine as `run_round` wants it."""

    def __init__(self, llm: Any, tokens: int) -> None:
        self.llm, self.tokens = llm, tokens

    def add(self, name: str, prepared: Any) -> None:
        greedy = vllm.SamplingParams(temperature=0.0, max_tokens=self.tokens, ignore_eos=True)
        self.llm.llm_engine.add_request(name, prepared, greedy)

    def step(self) -> Sequence[tuple[str, int, bool]]:
        return [(out.request_id, len(out.outputs[0].token_ids), out.finished) for out in self.llm.llm_engine.step()]

    def forget(self) -> None:
        """Encode anew."""
        self.llm.reset_mm_cache()
        self.llm.llm_engine.reset_encoder_cache()


class Engines:
    """Both, while the block lasts.

    Args:
        checkpoint: folder of a Qwen2.5-Omni.
        ratios: kept shares of Stage I, weighted.
        asked: of every round.
        device: where they run.
        random: whether the checkpoint is that of `random_checkpoint`.
    """

    version = vllm.__version__

    def __init__(
        self, checkpoint: Path, ratios: Mapping[str, float], asked: Asked, device: torch.device, *, random: bool
    ) -> None:
        self.asked, self.device = asked, device
        self.options: dict[str, Any] = {"max_model_len": 16384, "max_num_batched_tokens": 16384}
        if not random:
            self.options["mm_processor_kwargs"] = {}
        if device.type != "cpu":
            # Half of the memory each.
            self.options |= {"dtype": "auto", "enforce_eager": False, "gpu_memory_utilization": 0.45}
        self.checkpoint, self.random = checkpoint, random
        self.schedules = {"pruned": Schedule(DiversitySelector(dict(ratios))), "unpruned": None}
        self.requests = [request(case) for case in _cases(asked)]
        self.served: dict[str, Served] = {}

    def __enter__(self) -> Engines:
        for name, schedule in self.schedules.items():
            self.served[name] = Served(engine(self.checkpoint, schedule, **self.options), self.asked.tokens)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self.served:
            close(self.served.popitem()[1].llm)

    def describe(self) -> dict[str, Any]:
        """Of the engines, for every row."""
        config = self.served["pruned"].llm.llm_engine.vllm_config
        text, model = config.model_config.hf_text_config, config.model_config
        return {
            "engine": {
                "dtype": str(model.dtype).removeprefix("torch."),
                "eager": model.enforce_eager,
                "batched_tokens": config.scheduler_config.max_num_batched_tokens,
                "prefix_cache": config.cache_config.enable_prefix_caching,
            },
            "schedule": self.schedules["pruned"].to_dict(),
            "weights": "random" if self.random else self.checkpoint.name,
            "width": text.hidden_size,
            "layers": text.num_hidden_layers,
            "clip": {"seconds": self.asked.seconds, "side": self.asked.side},
        }

    def rounds(self, concurrency: int, repeats: int) -> dict[str, list[Round]]:
        """`repeats` rounds of each side, which take turns, after one that warms up."""
        found: dict[str, list[Round]] = {name: [] for name in self.served}
        for number in range(repeats + 1):
            # Forth and back: no side always runs after the same one.
            for name in list(self.served)[:: -1 if number % 2 else 1]:
                found[name].append(self._round(name, concurrency))
        return {name: rounds[1:] for name, rounds in found.items()}

    def parts(self, concurrency: int) -> dict[str, dict[str, float]]:
        """Shares of one more round of each side, by `PARTS` and the rest; none on a GPU, which would wait."""
        if self.device.type != "cpu":
            return {name: {} for name in self.served}
        found = {}
        for name, side in self.served.items():
            with watched(model_of(side.llm), self._now) as seconds:
                whole = self._round(name, concurrency).seconds
            shares = {part: own / whole for part, own in seconds.items()}
            found[name] = {**shares, "rest": 1 - sum(shares.values())}
        return found

    def _now(self) -> float:
        return now(self.device)

    def _round(self, name: str, concurrency: int) -> Round:
        side = self.served[name]
        side.forget()
        start = self._now()
        prepared = [side.llm._preprocess_cmpl_one(one) for one in self.requests]
        preparing = self._now() - start
        found = run_round(side, prepared, concurrency, self._now)
        found.preparing, found.prompt_tokens = preparing, len(prepared[0]["prompt_token_ids"])
        return found


@contextmanager
def watched(model: Any, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds inside some methods of a model, by part, filled in while the block lasts; choosing is no encoder's."""
    seconds = dict.fromkeys(PARTS.values(), 0.0)

    def timed(call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            inside, start = seconds["choosing"], clock()
            result = call(*args, **kwargs)
            seconds[part] += clock() - start - (seconds["choosing"] - inside if part == "encoders" else 0.0)
            return result

        return wrapper

    with ExitStack() as stack:
        for name, part in PARTS.items():
            if hasattr(model, name):
                stack.enter_context(mock.patch.object(model, name, timed(getattr(model, name), part)))
        yield seconds


def _cases(round_of: Asked) -> list[Case]:
    """Clips with their sound, each another one."""
    frames, side = 2 * round_of.seconds, round_of.side
    return [
        Case(
            asked(VIDEO, "What happens?"),
            videos=[clip(number, frames, side, side)],
            sounds=[tone(number, float(round_of.seconds))],
            together=True,
        )
        for number in range(round_of.requests)
    ]
