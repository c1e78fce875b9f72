"""The demo: one prompt about a real clip, with all tokens and with SEATS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from seats_ops.cost import PromptLengths
from seats_ops.integrations.token_layout import MediaTokens, build_token_layout

from . import model as models
from .clip import Clip, bundled_clip, load_clip
from .device import pick_device
from .inputs import DEFAULT_FRAME_TOKENS, load_processor, own_inputs, processor_inputs
from .options import Options
from .own_runs import check_runs, own_runs
from .report import CREDIT, make_folder, write_files
from .run import Run, measure, paper_runs
from .screen import RANDOM_WEIGHTS, headline, print_answers, progress_of
from .tables import layer_flops, paper_flops, result_note, result_table

DEMO_FRAME_TOKENS = 200
"""11 x 21 tokens for a 16:9 frame: a prompt of some 1,350 tokens, and five runs in less than a minute of one core."""

PICTURE_NOTE = "Random weights: this shows how selection works, not what a trained model would look at."


def run_demo(options: Options, console: Console) -> list[Run]:
    """Run everything, print the table, write pages, pictures, traces and `report.json` to `options.out`.

    How far it is goes to the standard error, so that a pipe or a file gets the result alone.
    """
    random = options.model is None
    if random and options.dtype != "auto":
        raise ValueError(f"--dtype: expected auto, as there is no --model whose weights it is for, got {options.dtype}")
    own = own_runs(options.schedules, options.out) if options.schedules else None
    clip = load_clip(options.video or bundled_clip(), fps=options.fps, max_frames=options.max_frames)
    if options.video is None:
        clip = replace(clip, name="Big Buck Bunny")
    device = pick_device(options.device)
    progress = Console(stderr=True, highlight=False)
    with progress.status("building the model" if random else f"loading {escape(options.model or '')}"):
        if options.model is None:
            thinker = models.random_model(models.demo_config(), seed=options.seed, device=device)
        else:
            thinker = models.load_checkpoint(options.model, device=device, dtype=options.dtype)
    config = thinker.config
    runs = own or paper_runs(config)
    check_runs(runs, config)
    inputs, prepared_by = _inputs(options, clip, config)
    layout = build_token_layout(
        inputs["input_ids"], MediaTokens.from_config(config), video_grid_thw=inputs["video_grid_thw"]
    )
    lengths = PromptLengths.from_layout(layout)

    # Before what takes a while.
    make_folder(options.out)
    clock = "CPU s" if device.type == "cpu" else "s"
    on_device = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
    threads = one_thread() if random else contextlib.nullcontext()
    with threads, progress_of(progress, len(runs) * (1 + options.repeats)) as advance:
        measure(
            thinker,
            on_device,
            runs,
            repeats=options.repeats,
            max_new_tokens=options.max_new_tokens or (8 if random else 64),
            kv_policy=options.kv_policy,
            backend=options.backend,
            progress=advance,
        )

    flops = {"here": layer_flops(config, runs, lengths.total)}
    if random:
        flops["on a 7B"] = paper_flops(models.qwen2_5_omni_7b_config(), runs, lengths.total)
    num_layers = config.text_config.num_hidden_layers
    console.print(headline(options, clip, lengths), style="bold", markup=False)
    console.print(result_table(runs, lengths, num_layers, flops, clock))
    console.print(result_note(runs, clock), style="dim")
    if random:
        console.print(RANDOM_WEIGHTS, style="yellow")
    else:
        console.print(f"The prompt was prepared by {prepared_by}.", style="dim", markup=False)
        print_answers(console, options.question, runs)
    notes = [PICTURE_NOTE] * random + [CREDIT] * (options.video is None)
    asked = {
        "model": options.model,
        "question": options.question,
        "prepared_by": prepared_by,
        "prompt_tokens": {name: getattr(lengths, name) for name in ("text", "video", "audio")},
    }
    files = write_files(
        options.out, runs, clip=clip, inputs=inputs, config=config, flops=flops, clock=clock, notes=notes, asked=asked
    )
    kinds = "a page, a picture and a trace (.html, .png, .json) of every schedule, and report.json"
    kinds += "" if random else " with the answers in full"
    console.print(f"In {options.out}: {kinds}.", markup=False)
    pages = [file for file in files if file.suffix == ".html"]
    if pages:
        console.print(f"Open {pages[-1].absolute()} in a browser.", markup=False, soft_wrap=True, style="bold")
    return runs


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A small model gains little by threads, and what they spend waiting for each other is CPU time that varies."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _inputs(options: Options, clip: Clip, config: Any) -> tuple[dict[str, Any], str]:
    """Model inputs, and in words who prepared them."""
    reason = ""
    if options.model is not None and options.frame_tokens is None:
        try:
            processor = load_processor(options.model)
        except (ImportError, OSError, ValueError) as error:
            reason = f", as the model's own processor does not load ({str(error).strip().splitlines()[0]})"
        else:
            return processor_inputs(processor, clip, options.question), "the model's own processor"
    default = DEMO_FRAME_TOKENS if options.model is None else DEFAULT_FRAME_TOKENS
    frame_tokens = options.frame_tokens or default
    return own_inputs(clip, options.question, config, frame_tokens=frame_tokens), f"the demo's preparation{reason}"
