"""What the support table tries with each model family.

A check returns if the feature works, raises one of the errors by which the library refuses, or raises `NotApplicable`;
anything else is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from transformers import TextIteratorStreamer

from seats_ops import DiversitySelector, ModalityDropper, Schedule
from seats_ops.integrations import attach
from tests.integrations.huggingface import flash_stand_in, probes
from tests.integrations.huggingface.agreement import TOLERANCE, assert_agrees, next_in_forward, next_in_generate
from tests.integrations.huggingface.batching import alone, answers, assert_kept_alike, assert_rows_alike, batch_of
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.oracle_decoder import decoder_of
from tests.integrations.huggingface.prompt.prompt_tokens import visual_tokens
from tests.integrations.huggingface.prompts import Image, Part, Text, Video, build_prompt, columns_of, moving, stills
from tests.integrations.huggingface.schedules import DEEP_SCHEDULES
from tests.integrations.huggingface.speech_models import SPEAKERS
from tests.integrations.huggingface.upstream import CACHE, recompute


class NotApplicable(Exception):
    """The family has nothing that this feature could be about."""


@dataclass(frozen=True)
class Case:
    """One family, and the prompts it is asked."""

    family: str

    def model(self, attention: str = "sdpa") -> Any:
        return SMALL[self.family](attention)

    @property
    def config(self) -> Any:
        return pristine_of(self.family).config

    @property
    def hears(self) -> bool:
        return hasattr(self.config, "audio_config")

    def prompt(self, *parts: Part, seed: int = 3) -> dict[str, Any]:
        """A clip between pieces of text, with sound where the family hears, unless told otherwise.

        In place of a clip, a family without video gets a picture and a sound.
        """
        clip = Video((5, 4, 6), 1.0, mel_frames=430 if self.hears else None)
        return build_prompt(self.config, *stills(self.config, *(parts or (Text(6), clip, Text(7)))), seed=seed)

    def schedule(self) -> Schedule:
        return DEEP_SCHEDULES["preset"](self.config)


def agrees(
    case: Case, attention: str = "sdpa", kv_policy: str = "uniform", inputs: dict[str, Any] | None = None
) -> None:
    """A generation equals the full-length oracle."""
    model, inputs = case.model(attention), inputs or case.prompt()
    with attach(model, case.schedule(), kv_policy=kv_policy) as trace:
        answer = probes.generate(model, inputs, 4)
    start = next_in_generate(model, inputs)
    positions = list(range(start, start + 3))
    kept = probes.kept_sets(trace)
    assert_agrees(pristine_of(case.family), inputs, kept, kv_policy, [answer], answer.ids[:-1], positions)


def loop(case: Case) -> None:
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()) as trace:
        answer = probes.loop(model, inputs, 4)
    start = next_in_forward(model, inputs)
    positions = list(range(start, start + 3))
    kept = probes.kept_sets(trace)
    assert_agrees(pristine_of(case.family), inputs, kept, "uniform", [answer], answer.ids[:-1], positions)


def several_videos(case: Case) -> None:
    if moving(case.config) != "video":
        raise NotApplicable
    agrees(case, inputs=case.prompt(Text(5), Video((4, 4, 6)), Text(3), Video((3, 6, 8), 0.5), Text(6)))


def images(case: Case) -> None:
    """Kept by default; thinned and dropped where a schedule says so."""
    model, inputs = case.model(), case.prompt(Text(5), Image((1, 4, 6)), Text(3), Video((4, 4, 6)), Text(6))
    each = visual_tokens(case.config, (1, 4, 6))
    pictures = len(columns_of(case.config, inputs, "image")) // each
    schedule = Schedule(DiversitySelector({"image": 0.5}), {3: ModalityDropper(("image",))})
    with attach(model, case.schedule()) as trace:
        probes.generate(model, inputs, 2)
        assert trace.stages[-1].counts["image"] == pictures * each > 0
    with attach(model, schedule) as trace:
        probes.generate(model, inputs, 2)
    assert [stage.counts["image"] for stage in trace.stages] == [pictures * round(0.5 * each), 0]


def batches(case: Case) -> None:
    model = case.model()
    rows = [case.prompt(), case.prompt(Text(3), Video((3, 6, 4)), Text(9), seed=4), case.prompt(Text(4), seed=5)]
    if case.hears and moving(case.config) == "video":
        rows = [row | {"use_audio_in_video": True} for row in rows]
    expected = alone(model, rows, case.schedule())
    batch = batch_of(rows)
    with attach(model, case.schedule()) as trace:
        ids, logits = answers(model, batch)
    assert_kept_alike(trace, batch, expected)
    assert_rows_alike(ids, logits, expected)


def several_answers(case: Case, **options: Any) -> None:
    """All of them start from the prompt that one alone starts from."""
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()):
        one = probes.generate(model, inputs, 3)
        output = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True, output_logits=True, **options)
    assert len(output.sequences) > 1 or options["num_beams"] > 1
    assert (output.logits[0] - one.logits[:1]).abs().max() < TOLERANCE


def sampling(case: Case) -> None:
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()):
        greedy = probes.generate(model, inputs, 3)
        torch.manual_seed(0)
        sampled = probes.generate(model, inputs, 3, do_sample=True, top_k=0)
    assert torch.equal(sampled.logits[0], greedy.logits[0])
    torch.manual_seed(0)
    assert sampled.ids[0] == int(torch.multinomial(greedy.logits[:1].softmax(-1), 1))


def streaming(case: Case) -> None:
    class Ids(TextIteratorStreamer):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def put(self, value: Any) -> None:
            self.seen += value.flatten().tolist()

        def end(self) -> None:
            pass

    model, inputs, streamer = case.model(), case.prompt(), Ids()
    with attach(model, case.schedule()):
        answer = probes.generate(model, inputs, 3, streamer=streamer)
    assert streamer.seen[-3:] == answer.ids


def later_turn(case: Case) -> None:
    model, inputs, question = case.model(), case.prompt(), [21, 150, 33]
    with attach(model, case.schedule()) as trace:
        first = probes.loop(model, inputs, 3)
        kept = probes.kept_sets(trace)
        second = probes.decode(model, torch.tensor([first.ids[-1], *question]), first.cache, 3)
    fed = [*first.ids, *question, *second.ids[:-1]]
    start = next_in_forward(model, inputs)
    positions = list(range(start, start + len(fed)))
    assert_agrees(pristine_of(case.family), inputs, kept, "uniform", [first, second], fed, positions)


def media_in_a_later_turn(case: Case) -> None:
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()):
        first = probes.loop(model, inputs, 2)
        turn = case.prompt(Text(2), Video((2, 4, 4)), Text(3))
        model(**turn | {"attention_mask": None}, **{CACHE: first.cache})


def same_as_fused(case: Case, other: Any) -> None:
    """Another attention gives the logits of the fused one."""
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()):
        expected = probes.generate(model, inputs, 3)
    with attach(other, case.schedule()):
        assert (probes.generate(other, inputs, 3).logits - expected.logits).abs().max() < TOLERANCE


def flash(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        flash_stand_in.install(patch)
        same_as_fused(case, case.model("flash_attention_2"))


def flex(case: Case) -> None:
    other = case.model()
    encoders = {"audio_config": "sdpa", "vision_config": "sdpa"}
    whole = {"": "flex_attention"} | encoders
    other.set_attn_implementation({"text_config": "flex_attention"} if hasattr(case.config, "text_config") else whole)
    if decoder_of(other)[1]._attn_implementation != "flex_attention":
        raise ValueError("transformers does not offer it")
    with torch.compiler.set_stance("force_eager"):
        same_as_fused(case, other)


def bfloat16(case: Case) -> None:
    """As many tokens as in float32, and finite logits."""
    counts = []
    for dtype in (torch.float32, torch.bfloat16):
        model, inputs = case.model().to(dtype), case.prompt()
        inputs |= {name: inputs[name].to(dtype) for name in ("pixel_values_videos", "input_features") if name in inputs}
        with attach(model, case.schedule()) as trace:
            assert probes.generate(model, inputs, 2).logits.isfinite().all()
        counts.append([stage.num_tokens for stage in trace.stages])
    assert counts[0][0] == counts[1][0] and counts[0][-1] == counts[1][-1]


def training(case: Case) -> None:
    model, inputs = case.model().train(), case.prompt()
    with attach(model, case.schedule()):
        model(**inputs).logits[:, -1].square().sum().backward()
        plain = model.lm_head.weight.grad.clone()
        model.zero_grad()
        recompute(model)
        model(**inputs).logits[:, -1].square().sum().backward()
    assert plain.abs().max() > 0
    torch.testing.assert_close(model.lm_head.weight.grad, plain)


def hidden_states(case: Case) -> None:
    """One entry per layer, as long as what the layer saw."""
    model = case.model()
    with torch.no_grad(), attach(model, case.schedule()) as trace:
        output = model(**case.prompt(), output_hidden_states=True, use_cache=False)
    lengths = [states.shape[1] for states in output.hidden_states]
    left = {stage.layer: stage.num_tokens for stage in trace.stages}
    assert len(lengths) == len(decoder_of(model)[0].layers) + 1
    assert lengths[0] == left[0] and lengths[-1] == trace.stages[-1].num_tokens


def clock(case: Case) -> None:
    model = case.model()
    with attach(model, case.schedule(), windows="time") as trace:
        probes.generate(model, case.prompt(Text(4), Video((6, 4, 6)), Text(5)), 1)
    budgets = next(stage.budgets for stage in trace.stages if stage.budgets is not None)
    assert len(budgets) == 3


def replay(case: Case) -> None:
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()) as trace:
        answer = probes.generate(model, inputs, 3)
    with attach(model, trace.as_schedule()):
        assert torch.equal(probes.generate(model, inputs, 3).logits, answer.logits)


def speech(case: Case) -> None:
    if case.family not in SPEAKERS:
        raise NotApplicable
    speaker = SPEAKERS[case.family]()
    with attach(speaker.model, case.schedule()):
        _, wave = speaker.speak()
    assert wave.isfinite().all()


def generation_option(case: Case, **options: Any) -> None:
    model = case.model()
    if "assistant_model" in options:
        options = {"assistant_model": case.model()}
    with attach(model, case.schedule()):
        probes.generate(model, case.prompt(), 2, **options)


def compiled(case: Case) -> None:
    model: nn.Module = torch.compile(case.model(), backend="eager")
    with attach(model, case.schedule()):
        pass


def labels(case: Case) -> None:
    model, inputs = case.model(), case.prompt()
    with attach(model, case.schedule()):
        model(**inputs, labels=inputs["input_ids"])
