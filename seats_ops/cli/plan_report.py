"""What `seats-ops plan` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from seats_ops.cost import Cost, asked_retention, realised_retention
from seats_ops.cost.asked import beside
from seats_ops.retention import highest_retention

from .plan_found import Plan
from .plan_serving import Serving
from .tables import new_table

GIB, MIB = 2**30, 2**20


def print_plan(console: Console, plan: Plan) -> None:
    """The prompt, what the budget gave, the schedule by stage and its totals."""
    for line in (_prompt_line(plan), _budget_line(plan)):
        if line:
            console.print(line, soft_wrap=True)
    ratios = [""] + [getattr(stage, "keep_ratio", 0.0) for _, stage in plan.schedule.stages()]
    columns = ["stage", "keeps", "layers", "tokens", "TFLOPs", "own", "KV MiB"]
    table = new_table(f"Schedule on {escape(plan.model)}", columns)
    for stage, ratio in zip(plan.cost.stages, ratios, strict=True):
        table.add_row(
            stage.name,
            _ratio(ratio),
            f"{stage.layers.start}-{stage.layers.stop - 1}" if stage.layers else "-",
            f"{stage.tokens:,}",
            f"{stage.flops / 1e12:.2f}",
            f"{stage.selection_flops / 1e12:.2f}",
            f"{stage.kv_bytes / MIB:.1f}",
        )
    console.print(table)
    kept = beside(*_retention(plan))
    if kept:
        console.print(f"Kept, mean of {len(plan.cost.tokens_per_layer)} layers: {kept}.", soft_wrap=True)
    cost = plan.cost
    console.print(
        f"Prefill: {cost.flops / 1e12:.1f} of {cost.full_flops / 1e12:.1f} TFLOPs ({1 / cost.flops_share:.1f}x fewer). "
        f"KV cache, {plan.asked.kv_policy}, bfloat16: {cost.kv_bytes / MIB:.1f} of {cost.full_kv_bytes / MIB:.1f} MiB.",
        soft_wrap=True,
    )
    if plan.serving is not None:
        _print_serving(console, plan.serving)
    if plan.weights is not None:
        console.print(
            f"Memory: weights {plan.weights / GIB:.2f} + KV cache {cost.kv_bytes / GIB:.2f} = "
            f"{(plan.weights + cost.kv_bytes) / GIB:.2f} GiB in bfloat16; activations, the encoders' work and the "
            "runtime need more.",
            soft_wrap=True,
        )
    own = f"Choosing (own): {cost.selection_flops / 1e12:.2f} TFLOPs{_unsaid(cost)}"
    console.print(f"{own}; with it {1 / cost.executed_share:.1f}x fewer.", soft_wrap=True)
    console.print(
        "One FLOP per multiply-add, decoder layers and output head, and of choosing its leading terms; encoders are "
        "not counted. "
        "Computed, not measured; token counts after a drop may differ by a few from what a run keeps.",
        style="dim",
        soft_wrap=True,
    )
    if plan.checkpoint is not None:
        console.print(f"Sizes of the model: {plan.checkpoint.source}", style="dim", markup=False, soft_wrap=True)
    for path in (plan.asked.plot, plan.asked.schedule_json):
        if path is not None:
            console.print(f"Written to {path}", markup=False, soft_wrap=True)


def _print_serving(console: Console, serving: Serving) -> None:
    table = new_table("A request in vLLM", ["", "tokens", "blocks", "KV MiB", "fits", "at once"])
    for name, request in (("all tokens", serving.whole), ("pruned", serving.pruned)):
        table.add_row(
            name,
            f"{request.tokens:,}",
            f"{request.blocks:,}",
            f"{request.kv_bytes / MIB:.1f}",
            "yes" if request.fits else "no",
            "-" if request.at_once is None else f"{request.at_once:,}",
        )
    console.print(table)
    answer = f"{serving.answer:,} tokens of answer" if serving.answer > 1 else "one token of answer"
    console.print(
        f"With {answer}, in a context of {serving.context:,}; blocks of {serving.block_size} tokens, in bfloat16.",
        soft_wrap=True,
    )
    if serving.cache is not None:
        console.print(
            f"At once: in {serving.cache / GIB:.2f} GiB, of which vLLM leaves a block empty; prefixes are not shared.",
            soft_wrap=True,
        )


def _prompt_line(plan: Plan) -> str:
    lengths, clip = plan.lengths, plan.clip
    parts = [f"{lengths.text:,} text"]
    if lengths.video:
        grid = f" ({clip.grids} x {clip.height} x {clip.width})" if clip else ""
        parts.insert(0, f"{lengths.video:,} video{grid}")
    if lengths.audio:
        parts.insert(-1, f"{lengths.audio:,} audio")
    stamps = f", {clip.timestamps:,} of it timestamps" if clip and clip.timestamps else ""
    return f"[bold]Prompt[/bold]  {lengths.total:,} tokens: {', '.join(parts)}{stamps}"


def _budget_line(plan: Plan) -> str:
    if plan.fit is None:
        return ""
    if plan.fit.retention == 1.0:
        return "[bold]Budget[/bold]  all tokens fit: nothing has to go"
    named = zip(("--video", "--audio"), plan.ratios or (), strict=True)
    ratios = " ".join(f"{name} {value:.4f}" for name, value in named if value is not None)
    end = ", the highest there are ratios for" if plan.fit.retention == highest_retention(plan.config) else ""
    return f"[bold]Budget[/bold]  R = {plan.fit.retention:.2%} fits{end}: {ratios}"


def _retention(plan: Plan) -> tuple[dict[str, float], dict[str, float]]:
    """What the prompt's lengths make of the ratios, and what it was asked to be."""
    layers = len(plan.cost.tokens_per_layer)
    kept, asked = realised_retention(plan.schedule, plan.lengths, layers), asked_retention(plan.schedule, layers)
    return kept, {name: share for name, share in asked.items() if name in kept}


def as_dict(plan: Plan) -> dict[str, Any]:
    """All of it, for a program: FLOPs one per multiply-add, bytes in bfloat16, layers 1-based and inclusive."""
    cost, clip, lengths = plan.cost, plan.clip, plan.lengths
    kept, asked = _retention(plan)
    return {
        "model": plan.asked.model if plan.checkpoint is None else plan.checkpoint.id,
        "source": None if plan.checkpoint is None else plan.checkpoint.source,
        "kv_policy": plan.asked.kv_policy,
        "prompt": {"text": lengths.text, "video": lengths.video, "audio": lengths.audio, "total": lengths.total},
        "clip": None
        if clip is None
        else {
            "seconds": plan.asked.seconds,
            "temporal_patches": clip.grids,
            "height_tokens": clip.height,
            "width_tokens": clip.width,
            "timestamp_tokens": clip.timestamps,
        },
        "budget": plan.asked.budget or None,
        "retention": None if plan.fit is None else plan.fit.retention,
        "ratios": None if plan.ratios is None else dict(zip(("video", "audio"), plan.ratios, strict=True)),
        "mean_retention": kept,
        "mean_asked": asked,
        "flops": cost.flops,
        "selection_flops": cost.selection_flops,
        "unsaid": cost.unsaid,
        "full_flops": cost.full_flops,
        "kv_bytes": cost.kv_bytes,
        "full_kv_bytes": cost.full_kv_bytes,
        "weight_bytes": plan.weights,
        "serving": None if plan.serving is None else asdict(plan.serving),
        "lm_head_flops": cost.lm_head_flops,
        "tokens_per_layer": cost.tokens_per_layer,
        "flops_per_layer": cost.flops_per_layer,
        "kv_bytes_per_layer": cost.kv_bytes_per_layer,
        "stages": [
            {
                "name": stage.name,
                "layers": [stage.layers.start, stage.layers.stop - 1] if stage.layers else [],
                "tokens": stage.tokens,
                "flops": stage.flops,
                "selection_flops": stage.selection_flops,
                "kv_bytes": stage.kv_bytes,
            }
            for stage in cost.stages
        ],
        "schedule": plan.schedule.to_dict(),
    }


def _unsaid(cost: Cost) -> str:
    return f", and what is not known of {escape(', '.join(cost.unsaid))}" if cost.unsaid else ""


def _ratio(ratio: Any) -> str:
    if isinstance(ratio, str):
        return ratio
    if isinstance(ratio, float):
        return f"{ratio:.1%}"
    return ", ".join(f"{name} {value:.1%}" for name, value in ratio.items())
