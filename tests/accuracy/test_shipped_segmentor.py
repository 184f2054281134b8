"""What the shipped segmentor finds: in phantoms that it was not trained on, and that it says where it knows nothing."""

import numpy as np
import pytest
import torch
from fixed_pairs import REAL, float32_on_one_thread

import jssr
from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.phantom.regions import LABELS
from jssr.phantom.study import make_study

TUMOUR = LABELS["liver_tumour"]


@pytest.fixture(scope="module")
def study():
    return make_study(4321, 0, shape=(104, 104, 56), phases=("venous", "non-contrast", "t1"), reference_mm=2.5)


def dice(found, truth, name):
    """Of a structure; the liver has its tumours."""
    there = found.labels.array == {n: v for v, n in found.label_names.items()}[name]
    known = np.isin(truth.array, [LABELS[name], TUMOUR] if name == "liver" else [LABELS[name]])
    return 2 * (there & known).sum() / (there.sum() + known.sum())


@pytest.mark.parametrize("phase", ["venous", "non-contrast", "t1"])
def test_organs_of_an_unseen_phantom_in_any_contrast(study, phase):
    with float32_on_one_thread():
        found = jssr.segment(study.images[phase])
    scores = {name: dice(found, study.labels[phase], name) for name in ("liver", "spleen", "kidney_left", "aorta")}
    assert scores["liver"] > 0.85 and min(scores.values()) > (0.5 if phase == "t1" else 0.6), scores
    if phase != "t1":
        assert found.phase is not None and (found.phase.name == phase or phase in found.phase.doubt)


def test_noise_is_unknown():
    noise = torch.randn(1, 48, 48, 40, generator=torch.Generator().manual_seed(0)) * 50
    noise[:, :2] = -1000
    found = jssr.segment(Volume(noise, Grid.of((48, 48, 40), (3.0, 3.0, 3.0))))
    assert not found.labels.data.any()
    assert any("Unknown" in warning for warning in found.warnings)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real scans lie beside the repository, on some machines")
@pytest.mark.parametrize(
    ("scan", "name", "least"),
    [(f"hcc_tace_ct/HCC_015_1998-11-01/{phase}", "liver", 900.0) for phase in ("venous", "arterial")],
)
def test_the_liver_of_a_real_ct_is_found(scan, name, least):
    """No label map is known: a volume that livers have, and a phase that is told."""
    found = jssr.segment(REAL / f"{scan}.nii.gz")
    value = {n: v for v, n in found.label_names.items()}[name]
    millilitres = (found.labels.array == value).sum() * np.prod(found.labels.grid.spacing) / 1000
    assert least < millilitres < 1800
    assert found.phase is not None and found.phase.name == scan.rsplit("/", 1)[1]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real scans lie beside the repository, on some machines")
@pytest.mark.parametrize(("patient", "most"), [("STS_002", 0.005), ("STS_026", 0.005), ("STS_048", 0.02)])
def test_a_limb_has_hardly_an_organ(patient, most):
    """Patients who were not shown in training, nor among those that the limits were set on."""
    for scan in ("ct", "mr_t1"):
        found = jssr.segment(REAL / "sts_ctmr" / patient / f"{scan}.nii.gz")
        right = [v for v, n in found.label_names.items() if n in ("femurs", "pelvis")]
        labels = found.labels.array
        assert ((labels > 0) & ~np.isin(labels, right)).mean() < most
