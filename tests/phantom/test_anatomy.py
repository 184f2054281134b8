"""The static patient: plausible volumes, truth that agrees with itself, the same bytes from the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jssr.phantom.anatomy import SUPERVISED_POPULATION, TARGET_POPULATION, Anatomy, make_anatomy
from jssr.phantom.regions import LABELS, Tissue

COARSE = replace(TARGET_POPULATION, spacing=3.0)  # a third of the voxels of the real thing

# Millilitres in adults, wide: Geraghty et al., Abdom Imaging 2004;29:482; heart and lung are cut by the grid's end.
NORMS = {
    "liver": (800, 2300),
    "spleen": (80, 450),
    "kidney_right": (90, 270),
    "kidney_left": (90, 270),
    "pancreas": (25, 140),
    "gallbladder": (4, 80),
    "stomach": (80, 1000),
    "aorta": (30, 200),
    "inferior_vena_cava": (25, 160),
    "portal_vein": (6, 60),
    "bowel": (700, 6000),
    "vertebrae": (350, 1000),
    "ribs": (90, 450),
    "muscle": (3000, 11000),
}


@pytest.fixture(scope="module")
def patients() -> list[Anatomy]:
    return [make_anatomy(np.random.default_rng(seed), COARSE) for seed in range(6)]


def at(anatomy: Anatomy, volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    return volume[tuple(np.rint(anatomy.grid.index(points)).astype(int).T)]


def test_organ_volumes_lie_within_adult_norms(patients: list[Anatomy]) -> None:
    for seed, patient in enumerate(patients):
        ml = float(np.prod(patient.grid.spacing)) / 1000
        for name, (low, high) in NORMS.items():
            volume = (patient.labels == LABELS[name]).sum() * ml
            assert low <= volume <= high, f"seed {seed}: {name} {volume:.0f} ml"


def test_people_differ(patients: list[Anatomy]) -> None:
    ml = float(np.prod(COARSE.spacing * np.ones(3))) / 1000
    livers = [(p.labels == LABELS["liver"]).sum() * ml for p in patients]
    assert max(livers) - min(livers) > 200
    assert len({p.grid.shape for p in patients}) > 3


def test_organs_lie_on_their_sides(patients: list[Anatomy]) -> None:
    for patient in patients:
        centre = {
            n: patient.grid.world(np.argwhere(patient.labels == v).mean(axis=0))
            for n, v in LABELS.items()
            if (patient.labels == v).any()
        }
        # LPS: +x is the patient's left, +y the back, +z the head.
        assert centre["liver"][0] < -20 < 20 < centre["spleen"][0]
        assert centre["kidney_right"][0] < -30 and centre["kidney_left"][0] > 30
        assert centre["inferior_vena_cava"][0] < centre["aorta"][0]
        assert centre["aorta"][1] < centre["vertebrae"][1]
        assert centre["lung"][2] > centre["liver"][2] > centre["bowel"][2]


def test_landmarks_lie_in_what_they_name(patients: list[Anatomy]) -> None:
    homes = {
        "vertebra": {"vertebrae"},
        "tumour": {"liver_tumour"},
        "portal_branch": {"liver", "liver_tumour"},
        "liver_dome": {"liver", "liver_tumour"},
        "kidney_right": {"kidney_right"},
        "kidney_left": {"kidney_left"},
        "spleen_tip": {"spleen"},
        "aortic_bifurcation": {"aorta"},
    }
    for patient in patients:
        points = patient.landmarks
        assert len(points) >= 20 and len(set(points.names)) == len(points)
        assert patient.grid.contains(points.xyz).all()
        here = at(patient, patient.labels, points.xyz)
        for name, label in zip(points.names, here, strict=True):
            for start, home in homes.items():
                if name.startswith(start):
                    assert label in {LABELS[h] for h in home}, name


def test_vessel_forks_lie_in_vessels(patients: list[Anatomy]) -> None:
    hits = []
    for patient in patients:
        keep = [n.startswith("portal_branch") for n in patient.landmarks.names]
        here = at(patient, patient.tissue, patient.landmarks.xyz[keep])
        hits.extend(here == Tissue.PORTAL_BRANCH)
    assert np.mean(hits) > 0.6  # tumours and crossing veins may cover a fork


def test_cavity_depth_is_positive_in_organs_and_negative_in_the_wall(patients: list[Anatomy]) -> None:
    for patient in patients:
        for organ in ("liver", "spleen", "stomach"):
            depth = patient.cavity_depth[patient.labels == LABELS[organ]]
            assert np.quantile(depth, 0.01) > 0, organ
        for wall in ("ribs", "vertebrae"):
            depth = patient.cavity_depth[patient.labels == LABELS[wall]]
            assert np.quantile(depth, 0.95) < 1, wall
        # A distance: it changes by about a millimetre per millimetre, and never by jumps.
        slope = np.abs(np.diff(patient.cavity_depth, axis=0)) / COARSE.spacing
        assert slope.max() < 4


def test_mobility_follows_the_organs(patients: list[Anatomy]) -> None:
    for patient in patients:
        mean = {
            n: float(patient.mobility[patient.labels == LABELS[n]].mean())
            for n in ("liver", "kidney_left", "aorta", "vertebrae")
        }
        assert patient.mobility.min() >= 0 and patient.mobility.max() <= 1
        assert mean["liver"] > 0.85 > mean["kidney_left"] > mean["aorta"] > mean["vertebrae"]
        assert mean["vertebrae"] < 0.2


def test_nothing_but_air_and_table_touches_the_grids_sides(patients: list[Anatomy]) -> None:
    for patient in patients:
        rim = np.concatenate([patient.tissue[[0, -1]].ravel(), patient.tissue[:, [0, -1]].ravel()])
        assert set(np.unique(rim)) <= {Tissue.AIR, Tissue.TABLE}
        assert (np.diff(patient.grid.affine[:3, :3][~np.eye(3, dtype=bool)]) == 0).all()
        assert patient.grid.shape[2] * COARSE.spacing >= 350


def test_bytes_depend_on_the_seed_alone(patients: list[Anatomy]) -> None:
    again = make_anatomy(np.random.default_rng(0), COARSE)
    assert again.grid.same_as(patients[0].grid)
    for field in ("tissue", "labels", "cavity_depth", "mobility"):
        assert getattr(again, field).tobytes() == getattr(patients[0], field).tobytes()
    assert again.landmarks.names == patients[0].landmarks.names
    assert (again.landmarks.xyz == patients[0].landmarks.xyz).all()
    assert patients[0].tissue.tobytes() != patients[1].tissue.tobytes()


def test_the_second_population_has_fewer_tumours() -> None:
    ranges = replace(SUPERVISED_POPULATION, spacing=4.0)
    counts = [
        sum(n.startswith(("tumour", "cyst")) for n in make_anatomy(np.random.default_rng(s), ranges).landmarks.names)
        for s in range(5)
    ]
    assert max(counts) <= 3
