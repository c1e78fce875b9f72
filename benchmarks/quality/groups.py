"""Tasks that ask the same of a selection, and contenders that belong together."""

from __future__ import annotations

GROUPS = {
    "one thing": ("needle-1", "needle-2", "needle-4", "sink", "picture-only", "sound-only"),
    "one of many": ("menu", "decoys"),
    "two things": ("bind-sound-to-object", "bind-apart", "bind-object-to-sound", "order"),
    "everything": ("gist", "coverage"),
}
"""What has to be there for an answer."""
WITH_NEEDLES = tuple(task for name, tasks in GROUPS.items() if name != "everything" for task in tasks)
EVERY = tuple(task for tasks in GROUPS.values() for task in tasks)

OWN = "seats-even"
"""SEATS with one retention for video and audio: what the others are compared with, and what is changed in ablations."""
AS_PUBLISHED = "seats"
STAGES = ("seats-selector", "seats-pruner", "seats-dropper")
BASELINES = ("random", "uniform", "pooled")
BOUNDS = ("oracle", "anti-oracle")
"""They know the answer."""
NAIVE = ("random", "uniform")
