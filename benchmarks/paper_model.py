"""What a GPU needs at least for the work of this package, from data sheets: a model, not a measurement.

For Qwen2.5-Omni-7B with 10,816 video and 1,600 audio tokens; `python -m benchmarks.paper_tables` prints the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.drop_inputs import HEAD_DIM, HEADS, KEY_HEADS, TEXT
from benchmarks.entry import PAPER, Size
from seats_ops import Schedule, seats
from seats_ops.cost import PromptLengths, prefill_cost, split_blocks, token_counts
from seats_ops.operators.stage import num_kept

LAYERS = 28
LAUNCH_SECONDS = 5e-6
# What tests/benchmarks/test_prefill_work.py allows the adapter: per tower, before the LLM, per drop, per layer of the
# cache.
# The primitives of the paper's Stage I, as they run in every prefill.
STAGE_ONE = ("attention_received", "max_min_diversity")
# What tests/test_prefill_work.py allows the adapter: per tower, before the LLM, per drop, per layer of the cache.
LAUNCHES = {"tower": 14, "stage one": 28, "drop": 32, "cached layer": 2}


@dataclass(frozen=True)
class Gpu:
    """Peak dense FLOP/s of matrix products in bfloat16 and of float32, bytes per second of its memory.

    `known_as` is the name by which drivers know the same device.
    """

    name: str
    bf16: float
    fp32: float
    memory: float
    known_as: str


GPUS = (
    Gpu("H100 SXM", 989.4e12, 67e12, 3.35e12, "NVIDIA H100 80GB HBM3"),
    Gpu("A100 80GB SXM", 312e12, 19.5e12, 2.039e12, "NVIDIA A100-SXM4-80GB"),
    Gpu("MI300X", 1307.4e12, 163.4e12, 5.3e12, "AMD Instinct MI300X"),
)


@dataclass(frozen=True)
class Work:
    """What must be moved and computed, whatever the implementation; `matrix` FLOPs can use matrix units."""

    flops: int
    num_bytes: int
    matrix: bool = True

    def seconds(self, gpu: Gpu) -> float:
        """The floor: all bytes at full bandwidth or all FLOPs at the peak, whichever takes longer."""
        return max(self.num_bytes / gpu.memory, self.flops / (gpu.bf16 if self.matrix else gpu.fp32))


def primitives(size: Size = PAPER, element: int = 2) -> dict[str, Work]:
    """By the names of the benchmarks' entries, for elements of so many bytes; a multiply-add is two FLOPs."""
    patches, block, hidden = 4 * size.video_tokens, size.side**2 // 2, size.hidden_size
    sounds, blocks = 2 * size.audio_tokens, size.grids // 2
    pieces = zip(size.kept, (size.video_tokens, size.audio_tokens), strict=True)
    windows = size.seconds // 2
    left = TEXT + windows * sum(round(share * total / windows) for share, total in pieces)
    kept = left * 2 // 3
    picks = num_kept(block, size.kept[0])
    # cos, sin, and the keys and values of 16 layers: what the entry `compact` thins beside the hidden states.
    row = hidden + 2 * HEAD_DIM + 2 * 16 * KEY_HEADS * HEAD_DIM
    return {
        "attention_received/video": Work(2 * 16 * 80 * patches * 4 * block, patches * (2 * 16 * 80 * element + 4)),
        "attention_received/audio": Work(2 * 20 * 64 * sounds * 100, sounds * (2 * 20 * 64 * element + 4)),
        "max_min_diversity/video": Work(2 * hidden * blocks * block**2, blocks * block * (hidden * element + 5)),
        "max_min_diversity/audio": Work(
            2 * hidden * size.audio_tokens * 50, size.audio_tokens * (hidden * element + 5)
        ),
        "dpc_knn/frames": Work(2 * hidden * size.video_tokens * block // 2, size.video_tokens * (hidden * element + 4)),
        "greedy_dpp/video": Work(
            blocks * block * picks * (2 * hidden + picks - 1), blocks * block * (hidden * element + 5), False
        ),
        "query_relevance/drop": Work(2 * HEADS * HEAD_DIM * left, left * (KEY_HEADS * HEAD_DIM * element + 4), False),
        "window_budget/drop": Work(4 * left, 20 * left + 16 * windows, False),
        "segment_topk/drop": Work(left, 13 * left, False),
        "compact/drop": Work(0, 2 * kept * row * element),
        "merge_rows/drop": Work(2 * left * hidden, left * (2 * hidden * element + 20), False),
        "group_budget/clip": Work(4 * size.grids, 20 * size.grids, False),
        "temporal_similarity/clip": Work(
            6 * size.video_tokens * hidden, size.video_tokens * (hidden * element + 12), False
        ),
    }


def lengths(size: Size = PAPER) -> PromptLengths:
    """The clip and the text around it."""
    return PromptLengths(TEXT, split_blocks(size.video_tokens, size.side**2 // 2), split_blocks(size.audio_tokens, 50))


def schedule() -> Schedule:
    """The paper's at R = 10 %."""
    from seats_ops.cli.run import PAPER_RATIOS

    video, audio = PAPER_RATIOS[10]
    return seats(_config(), video=video, audio=audio)


def _config() -> Any:
    from seats_ops.cli.model import qwen2_5_omni_7b_config  # Loads transformers.

    return qwen2_5_omni_7b_config()


def tokens_left(size: Size = PAPER) -> list[int]:
    """After Stage I and after every drop."""
    return [count.text + count.video + count.audio for count in token_counts(schedule(), lengths(size))]


def drops(size: Size = PAPER) -> list[tuple[Work, Work]]:
    """(scores, compaction) of every drop of Stage II and of the late one, which has no scores, at R = 10 %."""
    hidden, width = size.hidden_size, KEY_HEADS * HEAD_DIM
    left = tokens_left(size)
    work = []
    for place, (before, after) in enumerate(pairwise(left)):
        # Norm and keys of all tokens, then scores: the hidden states are read once, the weights of the keys too.
        flops = 2 * before * hidden * width + 2 * before * HEADS * HEAD_DIM
        scores = Work(flops, 2 * (before * (hidden + width) + hidden * width))
        late = place == len(left) - 2
        work.append((Work(0, 0) if late else scores, Work(0, 2 * 2 * after * (hidden + 2 * HEAD_DIM))))
    return work


# What the paper's first stage is made of; other selectors have primitives of their own.
STAGE_ONE = ("attention_received/", "max_min_diversity/")


def own_seconds(gpu: Gpu) -> tuple[float, float]:
    """(floor of all work of ours in one prefill at R = 10 %, its launches at LAUNCH_SECONDS each)."""
    stage_one = [work.seconds(gpu) for name, work in primitives().items() if name.partition("/")[0] in STAGE_ONE]
    stage_one = [work.seconds(gpu) for name, work in primitives().items() if name.startswith(STAGE_ONE)]
    embeddings = Work(0, 2 * 2 * tokens_left()[0] * PAPER.hidden_size).seconds(gpu)
    # Uniform policy with a late drop: every layer keeps the text.
    cache = Work(0, 2 * 2 * LAYERS * 2 * TEXT * KEY_HEADS * HEAD_DIM).seconds(gpu)
    floor = sum(stage_one) + embeddings + sum(part.seconds(gpu) for drop in drops() for part in drop) + cache
    return floor, num_launches() * LAUNCH_SECONDS


def num_launches() -> int:
    """At most, in a prefill of the 7B."""
    each = LAUNCHES
    return 2 * each["tower"] + each["stage one"] + len(drops()) * each["drop"] + LAYERS * each["cached layer"]


def decoder_flops(stages: Schedule) -> int:
    """As executed, two per multiply-add: all decoder layers, with causal attention."""
    cost = prefill_cost(_config(), stages, lengths(), flops_per_mac=2, causal=True)
    return sum(cost.flops_per_layer)


def tower_flops(size: Size = PAPER) -> int:
    """Linear layers and attention of both encoders; their convolutions and mergers are left out."""
    config = _config()
    vision, audio = config.vision_config, config.audio_config
    patches, sounds, frame = 4 * size.video_tokens, 2 * size.audio_tokens, size.side**2
    # Four layers attend in a whole frame, the others in windows of 8 x 8 patches.
    full = len(vision.fullatt_block_indexes)
    keys = full * frame + (vision.depth - full) * (vision.window_size // vision.patch_size) ** 2
    linear = vision.depth * (4 * vision.hidden_size + 3 * vision.intermediate_size)
    visual = 2 * patches * vision.hidden_size * (linear + 2 * keys)
    linear = audio.encoder_layers * (4 * audio.d_model + 2 * audio.encoder_ffn_dim)
    return visual + 2 * sounds * audio.d_model * (linear + 2 * audio.encoder_layers * audio.n_window)
