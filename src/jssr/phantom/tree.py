"""Branching trees of vessels that reach every part of an organ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Canvas
from jssr.phantom.regions import Tissue

__all__ = ["Tree", "grow_tree", "paint_tree"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """A rooted tree of points: `parent[0]` is -1, radii in mm."""

    points: Vector
    parent: NDArray[np.int64]
    radius: Vector

    def forks(self, count: int) -> NDArray[np.int64]:
        """Nodes where two real branches part, the thickest first."""
        leaves = _leaves(self.parent)
        fork = []
        for node in range(len(self.parent)):
            children = np.flatnonzero(self.parent == node)
            if (leaves[children] >= 3).sum() >= 2:
                fork.append(node)
        return np.array(sorted(fork, key=lambda n: -self.radius[n])[:count], dtype=np.int64)


def _leaves(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.zeros(len(parent), dtype=np.int64)
    has_child = np.zeros(len(parent), dtype=bool)
    has_child[parent[parent >= 0]] = True
    for node in range(len(parent) - 1, -1, -1):
        if not has_child[node]:
            out[node] += 1
        if parent[node] >= 0:
            out[parent[node]] += out[node]
    return out


def grow_tree(
    rng: np.random.Generator, trunk: list[tuple[Vector, int]], goals: Vector, root_radius: float, thinnest: float = 0.9
) -> Tree:
    """Grow branches from a trunk to every goal, near goals first; radii by Murray's law.

    Args:
        trunk: (point, index of its parent) in order, the root first with parent -1.
        goals: (N, 3) points to supply.
    """
    points, parent = [p for p, _ in trunk], [q for _, q in trunk]
    base = np.array(points)
    near = np.linalg.norm(goals[:, None] - base[None], axis=-1).min(axis=1)
    for goal in goals[np.argsort(near)]:
        existing = np.array(points)
        ahead = goal - existing
        far = np.linalg.norm(ahead, axis=1)
        up = existing - existing[np.maximum(parent, 0)]
        # Turning back costs: branches leave forwards.
        cosine = (ahead * up).sum(1) / (far * np.linalg.norm(up, axis=1) + 1e-6)
        node = int(np.argmin(far * (1.25 - 0.45 * cosine)))
        if far[node] < 5:
            continue
        steps = max(1, int(far[node] // 11))
        bend = 0.10 * far[node] * rng.standard_normal(3)
        last = node
        for t in np.linspace(0, 1, steps + 1)[1:]:
            points.append(existing[node] + t * ahead[node] + 4 * t * (1 - t) * bend)
            parent.append(last)
            last = len(points) - 1
    leaves = _leaves(np.array(parent)).astype(float)
    radius = np.maximum(root_radius * (leaves / leaves[0]) ** (1 / 2.5), thinnest)
    return Tree(np.array(points), np.array(parent), radius)


def paint_tree(canvas: Canvas, tree: Tree, code: Tissue, over: tuple[Tissue, ...]) -> None:
    world = canvas.to_world(tree.points)
    for node in range(1, len(tree.parent)):
        up = tree.parent[node]
        if up < 0:
            continue
        radii = (
            np.array([tree.radius[node], tree.radius[node]])
            if tree.radius[up] > 2 * tree.radius[node]
            else tree.radius[[up, node]]
        )
        canvas.paint_capsule(world[[up, node]], radii, code, over)
