"""Tissue values: clinical order of brightness, and what stays the same between a patient's scans."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.phantom.contrast import PHASES, TEXTURE, sample_contrast, tissue_values
from jssr.phantom.regions import LABELS, Tissue, labels_of

T = Tissue


@pytest.fixture(scope="module")
def means() -> dict[str, np.ndarray]:
    """Mean over 200 patients."""
    out: dict[str, list[np.ndarray]] = {phase: [] for phase in PHASES}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patient = sample_contrast(rng)
        for phase in PHASES:
            out[phase].append(tissue_values(phase, rng, patient))
    return {phase: np.mean(values, axis=0) for phase, values in out.items()}


@pytest.mark.parametrize(
    ("tissue", "expected"),
    [  # HU without contrast, arterial, venous, delayed: the values that the module states, held here against slips
        (T.LIVER, (52, 70, 106, 88)),
        (T.SPLEEN, (48, 120, 118, 95)),
        (T.KIDNEY_LEFT_CORTEX, (33, 165, 182, 145)),
        (T.AORTA, (42, 310, 150, 112)),
        (T.PORTAL_VEIN, (42, 108, 168, 113)),
        (T.PANCREAS, (38, 98, 88, 72)),
        (T.MUSCLE, (54, 58, 64, 65)),
        (T.FAT_SUBCUTANEOUS, (-106, -106, -105, -105)),
        (T.BILE, (9, 9, 10, 11)),
    ],
)
def test_means_are_those_stated(means: dict[str, np.ndarray], tissue: Tissue, expected: tuple[int, ...]) -> None:
    got = [means[phase][tissue] for phase in PHASES[:4]]
    np.testing.assert_allclose(got, expected, rtol=0.13, atol=9)


def test_hcc_shines_in_the_arterial_phase_and_washes_out(means: dict[str, np.ndarray]) -> None:
    assert means["arterial"][T.HCC] > means["arterial"][T.LIVER] + 15
    assert means["delay"][T.HCC] < means["delay"][T.LIVER] - 5
    assert means["venous"][T.METASTASIS] < means["venous"][T.LIVER] - 25


def test_mr_contrasts(means: dict[str, np.ndarray]) -> None:
    t1, t2 = means["t1"], means["t2"]
    assert t1[T.FAT_SUBCUTANEOUS] == max(t1[T.FAT_SUBCUTANEOUS], t1[T.LIVER], t1[T.SPLEEN], t1[T.CYST])
    assert t1[T.LIVER] > t1[T.SPLEEN] > t1[T.CYST]
    assert t2[T.CYST] > t2[T.SPLEEN] > t2[T.LIVER] > t2[T.MUSCLE]
    assert t1[T.AIR] == t2[T.AIR] == 0


def test_offsets_are_shared_by_the_phases() -> None:
    rng = np.random.default_rng(3)
    first, second = [], []
    for _ in range(60):
        patient = sample_contrast(rng)
        first.append(tissue_values("non-contrast", rng, patient)[T.LIVER])
        second.append(tissue_values("venous", rng, patient)[T.LIVER])
    assert np.corrcoef(first, second)[0, 1] > 0.6
    assert min(first) < 40  # fatty livers occur


def test_an_unknown_phase_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="non-contrast, arterial, venous, delay"):
        tissue_values("portal", rng, sample_contrast(rng))


def test_every_label_has_a_tissue_and_intrahepatic_vessels_are_liver() -> None:
    codes = np.arange(256, dtype=np.uint8)
    labels = labels_of(codes)
    assert set(labels.tolist()) == {0, *LABELS.values()}
    assert labels[T.PORTAL_BRANCH] == labels[T.HEPATIC_VEIN] == 1
    assert labels[T.HCC_NECROSIS] == 16 and labels[T.FAT_VISCERAL] == 0
    assert (TEXTURE.length >= 1).all() and TEXTURE.sd[T.AIR] == 0
