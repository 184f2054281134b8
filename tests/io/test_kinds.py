"""Labels or grey values: sparse, negative, wide and float labels, and scans of few greys."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from jssr.errors import ImageError
from jssr.io.kinds import kind_of, kind_of_file

N = 36
GRID = np.indices((N, N, N))
BALL = ((GRID - 18) ** 2).sum(0) < 250


def parcels(count=300, order=False, seed=0):
    """Regions around random points, numbered at random or along one axis."""
    random = np.random.default_rng(seed)
    at = random.uniform(0, N, (count, 3))
    ids = np.argsort(np.argsort(at[:, 0])) + 1 if order else random.choice(70_000, count, replace=False) + 1
    return ids[cKDTree(at).query(np.moveaxis(GRID, 0, -1).reshape(-1, 3))[1]].reshape(N, N, N)


def scan(greys, seed=1):
    """A smooth body with a little noise, in so many greys."""
    random = np.random.default_rng(seed)
    body = gaussian_filter(random.normal(0, 1, (N, N, N)), 3)
    body = np.where(BALL, 0.5 + 0.4 * body / np.abs(body).max() + random.normal(0, 0.02, body.shape), 0)
    return np.clip(np.rint(body * (greys - 1)), 0, greys - 1).astype(np.uint8)


LABELS = {
    "sparse ids": np.where(BALL, parcels(), 0),
    "sparse ids of 16 bits": np.where(BALL, parcels(100), 0).astype(np.uint16),
    "small sparse parcels": np.where(BALL, parcels(1500), 0).astype(np.int32),
    "ids along an axis": np.where(BALL, parcels(900, order=True), 0),
    "ignored as -1": np.where(BALL, 1 + GRID[0] // 9, -1).astype(np.int16),
    "ids above 2 ** 24": np.where(BALL, parcels(40) + 2**24, 0),
    "floats": np.where(BALL, parcels(60), 0).astype(np.float32),
    "no background": parcels(50),
    "a mask of 255": np.where(BALL, 255, 0).astype(np.uint8),
    "two regions of 2D": np.where(BALL, 1 + (GRID[1] > 18), 0)[18],
    "points": np.where((GRID % 9 == 4).all(0), 1 + GRID[0] // 9 + GRID[2], 0),
}
IMAGES = {
    "256 greys": scan(256),
    "40 greys": scan(40),
    "a ramp of 50 greys": np.where(BALL, 20 + GRID[2] + GRID[1] // 3, 0).astype(np.uint8),
    "ct": (scan(256).astype(np.int16) * 9 - 1024),
    "noise": np.random.default_rng(2).integers(0, 100, (N, N, N)),
    "fractions": scan(256) / 3.0,
    "2D": scan(200)[18],
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name):
    assert kind_of(LABELS[name], name) == "labels"


@pytest.mark.parametrize("name", IMAGES)
def test_images(name):
    assert kind_of(IMAGES[name], name) == "image"


def test_what_may_be_either_is_asked():
    steps = np.where(BALL, 10 + GRID[0] // 2 + GRID[1] // 12, 0)  # slabs, or a ramp without noise
    with pytest.raises(ImageError, match="map.nii: .*--kind labels or --kind image"):
        kind_of(steps, "map.nii")


def save(path, values, intent=None):
    made = nib.Nifti1Image(values, np.eye(4))
    if intent is not None:
        made.header.set_intent(intent)
    nib.save(made, path)
    return path


def test_the_file_decides_where_it_says_what_it_is(tmp_path):
    steps = np.where(BALL, 10 + GRID[0] // 2 + GRID[1] // 12, 0).astype(np.int16)
    assert kind_of_file(save(tmp_path / "a.nii", IMAGES["40 greys"], 1002), IMAGES["40 greys"]) == "labels"
    path = save(tmp_path / "b.nii.gz", steps)
    with pytest.raises(ImageError, match="--kind"):
        kind_of_file(path, steps)
    (tmp_path / "b.json").write_text('{"10": "first"}')
    assert kind_of_file(path, steps) == "labels"


def test_a_sidecar_of_numbers_makes_no_labels_of_a_scan(tmp_path):
    path = save(tmp_path / "c.nii.gz", IMAGES["256 greys"])
    (tmp_path / "c.json").write_text('{"EchoTrainLength": 4, "Averages": 2}')
    assert kind_of_file(path, IMAGES["256 greys"]) == "image"
