"""Slow and plainly right versions of what the engine computes, to hold it against."""

from __future__ import annotations

import math

import numpy as np
from omendb_core.model.types import F32, I64, U64, Metric
from omendb_core.rows.ring import Ring, unpack
from omendb_core.scan.interface import TopK
from omendb_core.scoring import score


def lane_sum(values: list[float]) -> float:
    """PROTOCOL section 3, word for word."""
    lanes = [0.0] * 8
    for i, value in enumerate(values):
        lanes[i % 8] += value
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + (
        (lanes[1] + lanes[5]) + (lanes[3] + lanes[7])
    )


def terms(metric: Metric, row: F32, query: F32) -> list[float]:
    """What is summed for one score."""
    pairs = zip(row.tolist(), query.tolist(), strict=True)
    if metric == "l2":
        return [-((x - q) * (x - q)) for x, q in pairs]
    return [x * q for x, q in pairs]


def score_of(metric: Metric, row: F32, query: F32) -> np.float32:
    return np.float32(lane_sum(terms(metric, row, query))) + np.float32(0)


def norm(vector: F32) -> float:
    return math.sqrt(lane_sum([x * x for x in vector.tolist()]))


def normalised(vector: F32) -> F32:
    length = norm(vector)
    return np.array([np.float32(x / length) for x in vector.tolist()], np.float32)


def top_k(
    ring: Ring, metric: Metric, queries: F32, k: I64, min_scores: F32, masks: U64, mask_of: I64
) -> TopK:
    """``Scan.top_k`` by scoring every row of the mask and ranking them all."""
    counts = np.zeros(len(queries), np.uint32)
    slots, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for i, query in enumerate(queries):
        found = np.flatnonzero(unpack(masks[mask_of[i]], ring.capacity))
        asked = np.broadcast_to(query, (len(found), ring.dim))
        decided = score.score_pairs(metric, ring.vectors[found], asked)
        order = score.ranking(decided, ring.seqs(found))
        order = order[decided[order] >= min_scores[i]][: k[i]]
        counts[i] = len(order)
        slots.append(found[order])
        scores.append(decided[order])
    return TopK(counts, np.concatenate(slots), np.concatenate(scores))
