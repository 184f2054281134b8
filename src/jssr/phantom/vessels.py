"""Vessels: aorta and vena cava with their branches, the portal system, and the trees inside the liver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Canvas
from jssr.phantom.kidney import Kidney
from jssr.phantom.liver import Liver
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Torso
from jssr.phantom.tree import Tree, grow_tree, paint_tree
from jssr.phantom.viscera import resample

__all__ = [
    "paint_great_vessels",
    "paint_liver_vessels",
    "paint_lung_vessels",
    "paint_mesentery",
    "paint_portal_system",
]

T = Tissue
Vector = NDArray[np.float64]
LOOSE = (T.FAT_VISCERAL, T.DIAPHRAGM)
INSIDE = (T.LIVER, T.HEPATIC_VEIN, T.PORTAL_BRANCH)


def paint_great_vessels(canvas: Canvas, torso: Torso, kidneys: dict[int, Kidney]) -> dict[str, Vector]:
    """Aorta, coeliac trunk, superior mesenteric and renal arteries, vena cava and renal veins; returns landmarks."""
    rng, body = canvas.rng, torso.body
    bore = float(rng.uniform(8.5, 12.5))
    z = np.array([200.0, 120, 60, 0, -60, -100])
    x = np.array([20.0, 12, 8, 9, 8, 4]) + float(rng.normal(0, 2))
    line = np.stack([x, body.spine_y(z) - 17 - bore + np.array([3, 1, 0, 0, 0, 0]), z], 1)
    fine, radii = resample(line, 22, bore * np.array([1.12, 1.08, 1.0, 0.9, 0.82, 0.78]))
    over = (T.FAT_VISCERAL, T.DIAPHRAGM, T.LUNG, T.MUSCLE, T.LIVER)
    box, distance, _ = canvas.tube(fine, radii, margin=3.0)
    canvas.paint(box, distance < 0, T.AORTA, over)
    if rng.random() < 0.45:
        plaque = (
            (np.abs(distance + 0.6) < 1.2)
            & (np.roll(canvas.rough[box], 5, axis=2) > rng.uniform(1.0, 1.9))
            & (canvas.z[box] < 70)
        )
        canvas.paint(box, plaque, T.CALCIFICATION, (T.AORTA,))
    marks = {"aortic_bifurcation": line[-1]}
    for side in (-1, 1):
        iliac = np.array([line[-1], line[-1] + [side * 28, 2, -42], line[-1] + [side * 52, 26, -88]])
        canvas.paint_tube(resample(iliac, 8, np.ones(3))[0], 0.55 * bore, T.ARTERY, LOOSE)
    front = line[2] - [0, bore, 0]
    coeliac = front + [0, 0, -12]
    canvas.paint_tube(
        np.array([coeliac + [0, 4, 0], coeliac + [-1, -12, -4], coeliac + [-4, -20, -3]]),
        [3.6, 3.3, 3.0],
        T.ARTERY,
        LOOSE,
    )
    marks["coeliac_trunk"] = coeliac + [-1, -10, -4]
    sma = front + [0, 0, -32]
    canvas.paint_tube(
        np.array([sma + [0, 4, 4], sma + [0, -9, -8], sma + [-2, -15, -45], sma + [-8, -18, -100]]),
        [3.6, 3.4, 3.1, 2.4],
        T.ARTERY,
        LOOSE,
    )
    marks["superior_mesenteric_artery"] = sma + [0, 0, 2]
    marks |= _cava_and_renals(canvas, torso, kidneys, line, bore)
    return marks


def _cava_and_renals(
    canvas: Canvas, torso: Torso, kidneys: dict[int, Kidney], aorta: Vector, bore: float
) -> dict[str, Vector]:
    rng, body = canvas.rng, torso.body
    wide = float(rng.uniform(9, 12.5))
    flattening = float(rng.uniform(0.65, 1.0))
    top = body.dome_right - 8
    z = np.array([-112.0, -60, 0, 45, top - 25, top + 6, top + 24])
    y = body.spine_y(z) - np.array([24, 25, 26, 31, 42, 52, 60])
    line = np.stack([np.array([-14.0, -19, -22, -24, -21, -17, -10]) + rng.normal(0, 1.5), y, z], 1)
    fine, radii = resample(line, 22, wide * np.array([0.85, 0.9, 0.95, 1.0, 1.1, 1.1, 1.15]))
    box, distance, _ = canvas.tube(fine, radii * np.sqrt(flattening), margin=5.0)
    canvas.paint(
        box, distance + 0.5 * canvas.rough[box] < 0, T.VENA_CAVA, (*LOOSE, T.LIVER, T.LUNG, T.MUSCLE, T.MYOCARDIUM)
    )
    marks = {}
    for side, kidney in kidneys.items():
        name = "right" if side < 0 else "left"
        hilum = kidney.hilum
        start = np.array([aorta[3, 0], aorta[3, 1] + 1, hilum[2] + 8])
        vein = np.array([line[2, 0], line[2, 1], hilum[2] + 10])
        canvas.paint_tube(
            resample(np.array([start, 0.5 * (start + hilum) + [0, 5, 2], hilum]), 7, np.ones(3))[0],
            2.7,
            T.ARTERY,
            LOOSE,
        )
        over_aorta = [0, -bore - 5.0, 3] if side > 0 else [0, -3.0, 2]
        route = np.array([vein, 0.62 * vein + 0.38 * hilum + over_aorta, hilum + [0, -4, -2]])
        canvas.paint_tube(resample(route, 9, np.ones(3))[0], 4.4, T.RENAL_VEIN, LOOSE)
        marks[f"renal_artery_{name}"] = start + side * np.array([bore * 0.85, 0, 0])
        marks[f"renal_vein_{name}"] = vein + (route[1] - vein) * (wide / np.linalg.norm(route[1] - vein))
        for _ in range(2):
            branch = hilum - side * kidney.frame[:, 0] * 0 + rng.normal(0, 7, 3) + side * kidney.frame[:, 0] * 12
            canvas.paint_tube(np.array([hilum, branch]), 1.8, T.RENAL_VEIN, LOOSE)
    for side in (-1, 1):
        iliac = np.array([line[0], line[0] + [side * 28 + 4, 2, -36], line[0] + [side * 52, 26, -80]])
        canvas.paint_tube(resample(iliac, 8, np.ones(3))[0], 0.6 * wide, T.RENAL_VEIN, LOOSE)
    return marks


def paint_portal_system(canvas: Canvas, torso: Torso, liver: Liver, spleen: Vector) -> tuple[dict[str, Vector], Vector]:
    """Splenic and superior mesenteric veins, their confluence and the portal vein up to the hilum."""
    rng, body = canvas.rng, torso.body
    back = body.spine_front
    bore = float(rng.uniform(5.3, 7.8))
    joint = np.array([-12.0, back - 27, 4 + rng.normal(0, 4)])
    over = (*LOOSE, T.LIVER)
    main = np.array([joint, 0.5 * (joint + liver.hilum) + [4, -4, 0], liver.hilum])
    canvas.paint_tube(resample(main, 9, np.ones(3))[0], bore, T.PORTAL_VEIN, over)
    splenic = np.array(
        [
            joint,
            [8, back - 34, 14],
            [34, back - 26, 24],
            0.4 * np.array([34, back - 26, 24]) + 0.6 * spleen + [0, 2, 0],
            spleen,
        ]
    )
    canvas.paint_tube(resample(splenic, 16, np.ones(5))[0], np.linspace(0.78, 0.55, 16) * bore, T.PORTAL_VEIN, over)
    smv = np.array([joint, joint + [0, -2, -28], joint + [-3, -8, -60], joint + [-8, -14, -105]])
    canvas.paint_tube(resample(smv, 12, np.ones(4))[0], np.linspace(0.9, 0.5, 12) * bore, T.PORTAL_VEIN, over)
    arteries = np.array(
        [
            [4, back - 38, 44],
            [24, back - 36, 36],
            0.5 * np.array([24, back - 36, 36]) + 0.5 * spleen + [0, -5, 8],
            spleen + [-4, -4, 6],
        ]
    )
    canvas.paint_tube(resample(arteries, 18, np.ones(4))[0] + rng.normal(0, 1.6, (18, 3)), 2.3, T.ARTERY, LOOSE)
    hepatic = np.array([[4, back - 38, 44], liver.hilum + [14, -10, 2], liver.hilum + [-2, -8, -2]])
    canvas.paint_tube(resample(hepatic, 9, np.ones(3))[0], 2.1, T.ARTERY, LOOSE)
    return {"portal_confluence": joint}, np.array([bore])


def _goals(canvas: Canvas, liver: Liver, count: int, depth: float) -> Vector:
    """Points spread evenly inside the liver (canonical mm): each next one is the farthest of many."""
    inside = np.argwhere(liver.distance < -depth)
    pick = inside[canvas.rng.integers(len(inside), size=700)] + np.array([s.start for s in liver.box])
    i, j, k = pick.T
    points = np.stack([canvas.x[i, j, k], canvas.y[i, j, k], canvas.z[i, j, k]], 1).astype(np.float64)
    chosen = [0]
    far = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def paint_liver_vessels(canvas: Canvas, torso: Torso, liver: Liver, bore: float) -> dict[str, Vector]:
    """The portal tree from the hilum, and three hepatic veins to the vena cava under the diaphragm."""
    rng, body = canvas.rng, torso.body
    h, hilum, half = body.half, liver.hilum, body.half
    marks: dict[str, Vector] = {"portal_bifurcation": hilum}
    right = hilum + [-0.20 * h, 2, 7]
    trunk = [
        (hilum, -1),
        (0.5 * (hilum + right) + [0, 0, 3], 0),
        (right, 1),
        (right + [-0.12 * h, -16, 4], 2),
        (right + [-0.12 * h, 20, 8], 2),
        (hilum + [0.10 * h, -12, 12], 0),
        (hilum + [0.16 * h, -30, 22], 5),
    ]
    tree = grow_tree(rng, trunk, _goals(canvas, liver, 75, 5.0), 0.95 * bore)
    paint_tree(canvas, tree, T.PORTAL_BRANCH, (T.LIVER,))
    marks |= {f"portal_branch_{n + 1}": tree.points[i] for n, i in enumerate(_inside(canvas, tree, 8))}
    top = body.dome_right - 16
    cava = np.array([-19.0, float(body.spine_y(top)) - 48, top])
    veins = [
        (cava, -1),
        (cava + [-24, -2, -3], 0),
        (cava + [-24 - 0.22 * half, 6, -22], 1),
        (cava + [-6, -18, -6], 0),
        (cava + [-20, -38, -22], 3),
        (cava + [8, -18, -4], 3),
        (cava + [0.22 * half, -32, -14], 5),
    ]
    tree = grow_tree(rng, veins, _goals(canvas, liver, 55, 6.0), 6.4)
    paint_tree(canvas, tree, T.HEPATIC_VEIN, (T.LIVER,))
    marks["hepatic_vein_confluence"] = cava + [-10, -3, -2]
    marks |= {f"hepatic_vein_{n + 1}": tree.points[i] for n, i in enumerate(_inside(canvas, tree, 6))}
    return marks


def _inside(canvas: Canvas, tree: Tree, count: int) -> NDArray[np.int64]:
    nodes = tree.forks(3 * count)
    codes = canvas.tissue[tuple(canvas.index(canvas.to_world(tree.points[nodes])).T)]
    return nodes[np.isin(codes, [int(c) for c in INSIDE])][:count]


def paint_lung_vessels(canvas: Canvas, torso: Torso) -> None:
    """Branches that fan out from each hilum through the lung bases."""
    rng, body = canvas.rng, torso.body
    for side in (-1, 1):
        hilum = np.array([side * 38.0, float(body.spine_y(150)) - 32, 175.0])
        goals = np.stack(
            [
                side * rng.uniform(25, 0.98 * body.half, 46),
                rng.uniform(body.front + 15, body.depth / 2 - 50, 46),
                rng.uniform(20, 180, 46),
            ],
            1,
        )
        codes = canvas.tissue[tuple(canvas.index(canvas.to_world(goals)).T)]
        goals = goals[codes == T.LUNG]
        if len(goals):
            tree = grow_tree(rng, [(hilum, -1)], goals, 5.0, thinnest=0.8)
            paint_tree(canvas, tree, T.LUNG_VESSEL, (T.LUNG,))


def paint_mesentery(canvas: Canvas, torso: Torso) -> None:
    """Small arteries and veins that fan out from the root of the mesentery through the visceral fat."""
    rng, body = canvas.rng, torso.body
    back = body.spine_front
    for code, shift in ((T.MESENTERIC_VEIN, -6.0), (T.ARTERY, 4.0)):
        root = [
            (np.array([shift, back - 40, -5.0]), -1),
            (np.array([shift - 6, back - 44, -60.0]), 0),
            (np.array([shift - 10, back - 44, -110.0]), 1),
        ]
        goals = np.stack(
            [rng.uniform(-0.8, 0.8, 70) * body.half, rng.uniform(body.front + 8, back, 70), rng.uniform(-170, 30, 70)],
            1,
        )
        codes = canvas.tissue[tuple(canvas.index(canvas.to_world(goals)).T)]
        goals = goals[codes == T.FAT_VISCERAL]
        if len(goals):
            tree = grow_tree(rng, root, goals, 3.0, thinnest=1.0)
            paint_tree(canvas, tree, code, (T.FAT_VISCERAL,))
