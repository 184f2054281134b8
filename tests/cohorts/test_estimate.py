"""What a run would take, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.cohorts.batch import Plan
from jssr.cohorts.cluster import Workers
from jssr.cohorts.estimate import estimated
from jssr.cohorts.manifest import Results
from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.io.files import write_json
from jssr.io.images import write_image
from jssr.io.patients import Patient


def patient(folder, name, *shapes):
    images = {}
    for k, shape in enumerate(shapes):
        file = folder / f"{name}{k}.nii.gz"
        write_image(volume_of(np.zeros(shape, np.float32) + np.arange(shape[2]), Grid.of(shape, 1.0)), file, np.int16)
        images[f"phase{k}"] = str(file)
    return Patient(name, name, images)


def test_without_finished_patients_the_table_of_another_machine_counts(tmp_path):
    """Two scans onto one of 1,000 voxels, the second of 8,000: 2 x 12 s and 0.85 s a million, on 2 x 3 threads."""
    one = patient(tmp_path, "a", (10, 10, 10), (5, 5, 5), (20, 20, 20))
    plan = Plan((one, patient(tmp_path, "b")), (), ())
    found = estimated(plan, Results(tmp_path / "out", {}), Workers(2, threads=3))
    assert found.seconds == pytest.approx((24 + 0.85 * 0.009) * 2 / 6) and not found.measured  # b as a: not known
    assert found.memory_mib == pytest.approx(1250 + 180 * 0.008)
    assert found.disk_bytes == pytest.approx((4e6 + 12.5 * 9000) * 2)
    assert (found.todo, found.kept) == (("a", "b"), ())


def test_finished_patients_tell_seconds_and_bytes(tmp_path):
    done, todo = patient(tmp_path, "a", (10, 10, 10), (10, 10, 10)), patient(tmp_path, "b", (20, 10, 10), (10, 10, 10))
    results = Results(tmp_path / "out", {})
    home = results.folder(done)
    home.mkdir(parents=True)
    (home / "moved").write_bytes(b"1" * 500)
    told = {"seconds": 4.0, "files": ["moved"], "settings": {}, "inputs": {}, "rows": []}
    write_json(told, home / "manifest.json")
    found = estimated(Plan((todo,), (done,), ()), results, Workers(1))
    assert found.measured and found.seconds == pytest.approx(8) and found.disk_bytes == pytest.approx(1000)
