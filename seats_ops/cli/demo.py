"""The demo: one prompt about a real clip, with all tokens and with SEATS."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import torch
from rich.console import Console

from seats_ops.cost import PromptLengths
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout

from . import model as models
from .clip import bundled_clip, load_clip
from .device import one_thread, pick_device
from .inputs import prompt_inputs
from .method_runs import named_methods
from .options import Options
from .own_runs import check_runs, own_runs
from .report import CREDIT, make_folder, write_files
from .run import Run, measure, paper_runs
from .screen import RANDOM_WEIGHTS, headline, print_answers, progress_of
from .tables import layer_flops, paper_flops, result_note, result_table
from .thinker import thinker_of

PICTURE_NOTE = "Random weights: this shows how selection works, not what a trained model would look at."


def run_demo(options: Options, console: Console) -> list[Run]:
    """Run everything, print the table, write pages, pictures, traces and `report.json` to `options.out`.

    How far it is goes to the standard error, so that a pipe or a file gets the result alone.
    """
    random = options.model is None
    own = own_runs(options.schedules, options.out)
    clip = load_clip(options.video or bundled_clip(), fps=options.fps, max_frames=options.max_frames)
    if options.video is None:
        clip = replace(clip, name="Big Buck Bunny")
    device = pick_device(options.device)
    progress = Console(stderr=True, highlight=False)
    thinker = thinker_of(options, device, progress)
    config = thinker.config
    own += [Run(name, schedule, retention=None) for name, schedule in named_methods(options.methods, config).items()]
    runs = own if len(own) > 1 else paper_runs(config)
    check_runs(runs, config)
    inputs, prepared_by = prompt_inputs(options, clip, config)
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
            max_new_tokens=options.answer_length,
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
    console.print(result_note(runs, num_layers, clock), style="dim")
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
