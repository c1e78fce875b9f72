"""Density peaks in plain Python and float64, one token after the other, and what rounding may make of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# By how much a density may be off, relative to the largest, and a distance, relative to the norms of its tokens.
ROUNDING = 2e-5

Rows = list[list[float]]


def distances(
    rows: Rows, metric: str = "euclidean", places: Rows | None = None, weight: float = 0.0
) -> list[list[float]]:
    """d[i][j] of one segment."""
    norm = [math.sqrt(math.fsum(a * a for a in x)) for x in rows]

    def of(i: int, j: int) -> float:
        if metric == "euclidean":
            return math.dist(rows[i], rows[j]) / math.sqrt(len(rows[i]))
        dot = math.fsum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return 1.0 - dot / ((norm[i] + 1e-8) * (norm[j] + 1e-8))

    matrix = [[of(i, j) for j in range(len(rows))] for i in range(len(rows))]
    for i, row in enumerate(matrix if places is not None and weight else []):
        away = [math.dist(places[i], other) for other in places]
        low, high = min(away), max(away)
        for j, value in enumerate(away):
            row[j] += weight * (value - low) / (high - low + 1e-6)
    return matrix


def densities(
    matrix: list[list[float]], num_neighbors: int, include_self: bool, squared: bool, scale: list[float]
) -> list[float]:
    """rho[i] of one segment."""
    found = []
    for i, row in enumerate(matrix):
        others = sorted(d * d if squared else d for j, d in enumerate(row) if include_self or j != i)
        nearest = others[:num_neighbors]
        found.append(scale[i] * math.exp(-math.fsum(nearest) / len(nearest)) if nearest else scale[i])
    return found


def scores(matrix: list[list[float]], rho: list[float]) -> list[float]:
    """rho * delta of one segment; ties of densities by index."""
    found = []
    for i, row in enumerate(matrix):
        denser = [row[j] for j in range(len(row)) if rho[j] > rho[i] or (rho[j] == rho[i] and j < i)]
        found.append(rho[i] * (min(denser) if denser else max(row)))
    return found


def possible(matrix: list[list[float]], rho: list[float], tolerance: float) -> list[list[float]]:
    """Of every token, all scores that it has under some rounding of the densities by `tolerance`."""
    found = []
    for i, row in enumerate(matrix):
        near = [row[j] for j in range(len(row)) if j != i and abs(rho[j] - rho[i]) <= tolerance]
        sure = [row[j] for j in range(len(row)) if rho[j] - rho[i] > tolerance]
        last = min(sure) if sure else max(row)
        found.append([rho[i] * delta for delta in [last, *(d for d in near if d < last or not sure)]])
    return found


def wrong(got: Tensor, features: Tensor, lengths: list[int], **options: Any) -> str:
    """What is wrong with the scores of some segments, "" if nothing is."""
    num_neighbors = options["num_neighbors"]
    flags = options.get("include_self", True), options.get("squared", True)
    places, weight = options.get("offsets"), options.get("offset_weight", 0.0)
    scale = options.get("density_scale")
    start = 0
    for length in lengths:
        here = slice(start, start + length)
        rows = features[here].double().tolist()
        place = None if places is None else places[here].double().tolist()
        matrix = distances(rows, options.get("metric", "euclidean"), place, weight)
        factor = [1.0] * length if scale is None else scale[here].double().tolist()
        rho = densities(matrix, num_neighbors, *flags, factor)
        slack = ROUNDING * max(rho, default=0.0)
        for i, (value, choices) in enumerate(zip(got[here].tolist(), possible(matrix, rho, slack), strict=True)):
            # A distance is the root of a difference of products: near 0 its error is the root of theirs.
            allowed = 1e-4 * max(choices) + 2e-3 * rho[i] * (1.0 if min(choices) < 1e-2 else 0.0)
            if not min(abs(value - choice) for choice in choices) <= allowed:
                return f"token {start + i}: got {value}, expected one of {choices}"
        start += length
    return ""


def line(lengths: list[int], seed: int, channels: int = 4) -> Tensor:
    """Tokens at whole numbers of one axis: all distances, squares and sums are exact, and many are equal."""
    random = torch.Generator().manual_seed(seed)
    features = torch.zeros(sum(lengths), channels)
    features[:, 1] = torch.randint(-6, 7, (sum(lengths),), generator=random).float()
    return features


def exact_order(features: Tensor, lengths: list[int], **options: Any) -> tuple[list[float], list[list[int]]]:
    """Scores of tokens on a line, and of every segment its tokens by falling score, equal ones by index."""
    found: list[float] = []
    orders = []
    for part in features.split(lengths) if lengths else []:
        matrix = distances(part.double().tolist())
        flags = options.get("include_self", True), options.get("squared", True)
        values = scores(matrix, densities(matrix, options["num_neighbors"], *flags, [1.0] * len(part)))
        orders.append(sorted(range(len(values)), key=lambda j: (-values[j], j)))
        found += values
    return found, orders
