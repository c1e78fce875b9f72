"""Watching the towers of a family: what stages ask of them, in the order of the LLM's tokens."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.integrations.encoder_values import paper_windows, sound_positions, told
from seats_ops.integrations.huggingface.compat import part
from seats_ops.integrations.huggingface.families.conformer import watch_conformer
from seats_ops.integrations.huggingface.families.crops import watch_crops
from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.tower_kinds import AudioTower, ConformerTower, CropTower, VisionTower
from seats_ops.integrations.huggingface.prompt.host_copies import HostCopies
from seats_ops.integrations.huggingface.scores.saliency import Captured, Encoded, SaliencyOptions, TowerWatch

Host = Callable[[], HostCopies]


def watch_towers(
    family: Family,
    thinker: Any,
    options: SaliencyOptions,
    host: Host,
    on_visual: Callable[[Encoded], None],
    on_audio: Callable[[Encoded], None],
) -> Iterator[TowerWatch]:
    """Hook the towers, one by one; the callbacks are told of every output, in order, `host` of the call under way."""
    if isinstance(family.vision, CropTower):
        yield watch_crops(family.vision, thinker, options, on_visual)
    elif family.vision is not None:
        visual = part(thinker, family.vision.path)
        names = family.vision.projections if options.needed else ()
        finish = functools.partial(_encode_vision, family.vision, visual, options, host)
        yield TowerWatch(visual, visual.blocks[-1].attn, names, finish, on_visual)
    if isinstance(family.audio, ConformerTower):
        yield watch_conformer(family.audio, thinker, options, on_audio)
    elif family.audio is not None:
        tower = part(thinker, family.audio.path)
        names = ("q_proj", "k_proj") if options.needed else ()
        finish = functools.partial(_encode_audio, family.audio, tower, options, host)
        yield TowerWatch(tower, tower.layers[-1].self_attn, names, finish, on_audio)


def _encode_vision(
    family: VisionTower, visual: Any, options: SaliencyOptions, host: Host, captured: Captured, output: Any
) -> Encoded:
    grid_thw = host().of(captured.arguments["grid_thw"])
    num_tokens = output.pooler_output.shape[0]
    if not options.needed:
        return Encoded(num_tokens, {}, grid_thw)
    attention = visual.blocks[-1].attn
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision
    merged = visual.spatial_merge_size**2
    q, k = _query_and_key(captured, attention, family.projections)
    turned, plain = (q, k), (q, k)
    if options.asked - {"saliency:pooled"}:
        turned = rotate(q, k, *captured.attention["position_embeddings"])
    shapes = grid_thw.tolist()
    # Window order moves tokens about inside a frame only.
    values = told(
        options.asked,
        turned,
        plain,
        shapes,
        paper_windows(shapes, options.grids_per_window),
        merged,
        attention.scaling,
        lambda q, k, windows: options.received(q, k, attention, windows, captured),
        options.backend,
    )
    if family.window_order:
        # The tower ran in window order: put the tokens back in reading order.
        window_index, _ = get_vision_window_index(
            grid_thw, visual.spatial_merge_size, visual.window_size, visual.patch_size, kwargs={}
        )
        order = window_index.argsort().to(q.device, non_blocking=True)
        values = {name: x[order] for name, x in values.items()}
    return Encoded(num_tokens, values, grid_thw)


def _encode_audio(
    family: AudioTower, tower: Any, options: SaliencyOptions, host: Host, captured: Captured, output: Any
) -> Encoded:
    num_tokens = output.last_hidden_state.shape[0]
    if not options.needed:
        return Encoded(num_tokens, {})
    attention = tower.layers[-1].self_attn
    q, k = _query_and_key(captured, attention, ("q_proj", "k_proj"))
    chunk = 2 * tower.n_window
    # The model works them out anew from the call's arguments: an equal tensor, but not the same one.
    known = host().audio_lengths
    frames = captured.arguments["feature_lens"] if known is None else known
    positions = [sound_positions(n, chunk, family.halvings) for n in frames.tolist()]
    values = told(
        options.asked,
        (q, k),
        (q, k),
        [[1, 1, n] for n in positions],
        [n for total in positions for n in split_blocks(total, family.window)],
        family.pooled,
        attention.scaling,
        lambda q, k, windows: options.received(q, k, attention, windows, captured),
        options.backend,
    )
    return Encoded(num_tokens, values)


def _query_and_key(captured: Captured, attention: Any, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """q and k [T, H, head_dim] from what the projections put out, before rotary embedding."""
    outputs = [captured.projected[name] for name in names]
    q, k, *_ = outputs if len(outputs) > 1 else outputs[0].chunk(3, -1)
    return q.unflatten(-1, (attention.num_heads, -1)), k.unflatten(-1, (attention.num_heads, -1))
