"""A grid too large to be held: its results are computed in parts, and are those of one that is held."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_jssr import ball

from jssr.core import full_size
from jssr.core.late import Computed, is_computed
from jssr.registration import full_size as registered
from jssr.registration.pipeline import register
from jssr.registration.summary import _share


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folders of the result that is held and of the one that is not, and the latter."""
    home = tmp_path_factory.mktemp("large")
    scans = ball(), ball((6, 0, 0))
    register(*scans, system="discrete", refine=2).save(home / "held")
    with pytest.MonkeyPatch.context() as patch:
        for module in (full_size, registered):
            patch.setattr(module, "HELD", 1000)
        found = register(*scans, system="discrete", refine=2)
        found.save(home / "parts")
    return home / "held", home / "parts", found


def test_nothing_is_held_until_it_is_asked_for(results):
    found = results[2]
    assert is_computed(found.displacement, "u") and is_computed(found.inverse, "u") and is_computed(found.moved, "data")
    assert is_computed(found, "covered")


@pytest.mark.parametrize("name", ["displacement", "inverse", "moved"])
def test_the_files_are_the_same(results, name):
    one, other = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for folder in results[:2])
    assert one.GetSize() == other.GetSize() and one.GetPixelIDTypeAsString() == other.GetPixelIDTypeAsString()
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin())
    a, b = (sitk.GetArrayFromImage(image).astype(float) for image in (one, other))
    # A displacement between two steps of rounding may go either way, and the image with it.
    assert np.abs(a - b).mean() < 0.01 * max(1.0, np.abs(a).std())
    assert np.abs(a).max() > 0.5


def test_the_numbers_are_nearly_the_same_and_there_is_a_report(results):
    one, other = (json.loads((folder / "result.json").read_text()) for folder in results[:2])
    assert other["folds_percent"] == pytest.approx(one["folds_percent"], abs=0.1)
    assert other["covered_percent"] == pytest.approx(one["covered_percent"], abs=5.0)
    assert other["log_jacobian_sd"] == pytest.approx(one["log_jacobian_sd"], abs=0.01)
    assert "data:image" in (results[1] / "report.html").read_text()


def test_whoever_asks_gets_the_whole(results):
    found = results[2]
    assert isinstance(found.displacement.u, torch.Tensor)
    assert tuple(found.displacement.u.shape[1:]) == found.fixed.grid.shape


def test_coverage_is_counted_on_some_planes_the_first_and_the_last_among_them():
    asked = []

    def make(where):
        asked.append(where[0].start)
        return np.full((1, 1, 4, 4), where[0].start < 20, bool)

    share = _share(Computed((1, 40, 4, 4), np.bool_, make))
    assert asked == [0, 10, 20, 29, 39]
    assert share == pytest.approx(2 / 5)
