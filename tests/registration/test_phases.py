"""Phases of several scans of one examination, told from organs that are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dicom_series import write_volume

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.io.dicom.phases import ORDER, name_phases
from jssr.io.dicom.series import find_series
from jssr.phantom.organs import phase_distances
from jssr.phantom.regions import Tissue
from jssr.registration import phases
from jssr.registration.phase import Phase

HU = {  # aorta, liver, spleen, kidney
    "non-contrast": (42, 55, 48, 30), "arterial": (280, 75, 120, 150), "venous": (150, 110, 120, 180),
    "delay": (105, 90, 95, 150),
}  # fmt: skip
TISSUES = (Tissue.AORTA, Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_LEFT_CORTEX)


def seen(aorta, liver, spleen, kidney):
    measured = dict(zip(TISSUES, map(float, (aorta, liver, spleen, kidney)), strict=True))
    hu = {"aorta": float(aorta), "liver": float(liver), "spleen": float(spleen), "kidney_left": float(kidney)}
    return Phase("", hu, phase_distances(measured))


@pytest.mark.parametrize("among", [ORDER, ("arterial", "venous"), ("non-contrast", "venous"), ("venous", "delay")])
def test_scans_find_their_phases_in_any_order(among):
    found = phases.fitting_phases({p: seen(*HU[p]) for p in reversed(among)}, ORDER)
    assert found == {p: p for p in among}


def test_a_phase_that_another_scan_has_is_none_to_choose_from():
    late = seen(*HU["venous"])
    assert phases.fitting_phases({"x": late}, ORDER) == {"x": "venous"}
    assert phases.fitting_phases({"x": late}, [p for p in ORDER if p != "venous"])["x"] == "delay"


def test_the_aorta_decides_between_two_that_look_alike():
    """Both look venous; the brighter aorta is the earlier scan."""
    found = phases.fitting_phases({"a": seen(145, 105, 115, 175), "b": seen(165, 108, 118, 178)}, ("venous", "delay"))
    assert found == {"a": "delay", "b": "venous"}


def test_a_scan_that_fits_nothing_has_no_phase():
    strange = Phase("", {"aorta": 40.0}, dict.fromkeys(ORDER, 90.0))
    assert phases.fitting_phases({"x": strange, "y": seen(*HU["arterial"])}, ORDER) == {"y": "arterial"}
    assert phases.fitting_phases({}, ORDER) == {}


def test_headers_win_where_it_is_nearly_as_likely():
    even = Phase("", {}, {"non-contrast": 90.0, "arterial": 60.0, "venous": 14.0, "delay": 20.0})
    assert phases.fitting_phases({"x": even}, ORDER) == {"x": "venous"}
    assert phases.fitting_phases({"x": even}, ORDER, {"x": "delay"}) == {"x": "delay"}
    assert phases.fitting_phases({"x": even}, ORDER, {"x": "arterial"}) == {"x": "venous"}


def test_only_doubtful_series_are_looked_at(tmp_path, monkeypatch):
    """The scans hold their phase's aorta as their value: it stands for the segmentor."""
    grid = Grid.of((40, 40, 60), (1.0, 1.0, 1.5))
    noise = np.random.default_rng(0).normal(0, 1, grid.shape)
    for number, (phase, words) in enumerate([("arterial", "a"), ("venous", "b"), ("non-contrast", "native")], start=2):
        scan = volume_of((noise + HU[phase][0]).astype(np.float32), grid)
        write_volume(tmp_path / str(number), scan, SeriesNumber=number, SeriesDescription=words, AcquisitionTime=None)
    looked = []

    def segment(scan, model):
        looked.append(scan)
        return scan, ()

    def phase_of(scan, labels, names):
        values = min(HU.values(), key=lambda v: abs(v[0] - float(scan.data.mean())))
        return seen(*values)

    monkeypatch.setattr(phases, "segment", segment)
    monkeypatch.setattr(phases, "phase_of", phase_of)
    monkeypatch.setattr(phases, "segmenting_model", lambda scan: type("Model", (), {"label_names": {}}))
    series = find_series(tmp_path)
    named = name_phases(series)
    found = phases.look_at_phases(named)
    assert {k: phase for k, (phase, _) in found.items()} == {series[0].id: "arterial", series[1].id: "venous"}
    assert "aorta 280 HU" in found[series[0].id][1]
    assert [n.phase for n in name_phases(series, seen=found)] == ["arterial", "venous", "non-contrast"]
    # Coarse, and where the scan lies: every second slice, 2 x 2 pixels.
    assert looked[0].grid.shape == (20, 20, 30) and np.allclose(looked[0].grid.origin, (0.5, 0.5, 0))
    assert phases.look_at_phases([replace(n, sure=True) for n in named]) == {}
    assert phases.look_at_phases([replace(n, phase="") for n in named]) == {}


def test_what_contradicts_the_user_gets_no_phase():
    brighter = seen(240, 110, 125, 180)
    rest = ("non-contrast", "venous", "delay")
    assert phases.fitting_phases({"x": brighter}, rest)
    assert phases.fitting_phases({"x": brighter}, rest, chosen=[("arterial", seen(150, 60, 100, 120))]) == {}
    venous, arterial = seen(*HU["venous"]), ("arterial", seen(*HU["arterial"]))
    assert phases.fitting_phases({"x": venous}, rest, chosen=[arterial]) == {"x": "venous"}
