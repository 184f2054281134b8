"""The benchmark of whole processes: its tables and fits by hand, its stages, and that what it starts ends."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import speed_run  # noqa: E402
import speed_scans  # noqa: E402
import speed_tables  # noqa: E402


def run(pair, method, seconds, busy=0, **more):
    return {"pair": pair, "method": method, "threads": 2, "busy": busy, **measures(seconds), **more}


def measures(seconds):
    return {"seconds": seconds, "cpu": 2 * seconds, "gb": seconds / 10}


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


# Tables


def test_a_table_holds_medians_and_what_ours_is_of_them():
    runs = [run("a", "ours", s) for s in (3.0, 9.0, 4.0)] + [run("a", "greedy", s) for s in (8.0, 7.0, 100.0)]
    runs += [run("a", "ours", 6.0, busy=1), run("a", "greedy", 1.0, busy=1, failed="longer than 9 s")]
    head, _, ours, greedy = cells(speed_tables.table(runs, "seconds"))
    assert head == ["pair", "method", "wall, s, 2 threads, idle (ours)", "wall, s, 2 threads, 1 busy (ours)"]
    assert ours == ["a", "ours", "4.0", "6.0"]
    assert greedy == ["a", "greedy", "8.0 (0.50)", "failed"]


def test_stages_are_beside_each_other_where_both_tell_them():
    runs = [run("a", "ours", 9.0, stages={"start": s, "judge": 1.0}) for s in (2.0, 3.0, 7.0)]
    runs += [run("a", "before", 9.0, stages={"start": 4.0, "write": 5.0}), run("a", "greedy", 9.0, stages={})]
    head, _, *rows = cells(speed_tables.stage_table(runs))
    assert head == ["pair", "stage", "ours, 2 threads, idle", "before, 2 threads, idle"]
    assert rows == [["a", "start", "3.00", "4.00"], ["a", "judge", "1.00", ""], ["a", "write", "", "5.00"]]
    assert speed_tables.stage_table([run("a", "greedy", 9.0, stages={})]) == ""


# Growth


def test_exponents_by_hand():
    # 1, 10 and 100 voxels, in logarithms 0, 1, 2; values 1, 10 and 1000, logarithms 0, 1, 3: the slope is 3 / 2.
    assert math.isclose(speed_tables.exponent([1, 10, 100], [1, 10, 1000]), 1.5)
    assert math.isclose(speed_tables.exponent([1, 10, 100], [7, 7, 7]), 0.0, abs_tol=1e-12)
    assert math.isnan(speed_tables.exponent([8, 8], [1, 2]))


def test_growth_is_of_the_pairs_named_by_their_size(tmp_path):
    # Logarithms to base 8. Voxels 0, 1, 2; median seconds of ours 1/3, 2/3, 5/3: the slope is 2/3, the last step 1.
    runs = [run("16x16x16", "ours", s) for s in (1.0, 2.0, 3.0)] + [run("32x32x32", "ours", 4.0)]
    runs += [run("phantom", "ours", 99.0), run("64x64x64", "ours", 32.0)]
    runs += [run("16x16x16", "greedy", 1.0), run("32x32x32", "greedy", 9.0)]
    _, _, ours, greedy = cells(speed_tables.growth(runs))
    assert ours == ["ours", "2 threads, idle", "3", *["0.67 (1.00)"] * 3, "yes"]
    assert greedy[3:] == [*["1.06 (1.06)"] * 3, "no"]  # log 9 / log 8
    assert speed_tables.growth(runs[:3]) == ""
    speed_tables.plot(runs, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[1:4] == b"PNG"


# Stages of a process


@pytest.mark.parametrize("key", ["time_s", "seconds"])
def test_start_is_what_is_left_beside_the_stages(tmp_path, key):
    (tmp_path / "result.json").write_text(json.dumps({key: {"read": 0.5, "write": 1.5, "total": 2.0}}))
    assert speed_run.stages(tmp_path, 5.0) == {"start": 3.0, "read": 0.5, "write": 1.5}


def test_a_folder_without_a_result_tells_no_stages(tmp_path):
    assert speed_run.stages(tmp_path, 5.0) == {}


# Processes


def timed(tmp_path, code, **how):
    return speed_run.timed({"args": [sys.executable, "-S", "-c", code]}, tmp_path / "log.txt", **how)


def test_memory_is_that_of_the_process_and_its_children(tmp_path):
    hold = "import time; kept = bytearray(100_000_000); time.sleep(0.4)"
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', {hold!r}]); {hold}; p.wait()"
    assert 0.1 < timed(tmp_path, hold)["gb"] < 0.15
    assert timed(tmp_path, both)["gb"] > (0.2 if Path("/proc/self/statm").exists() else 0.1)


def test_what_fails_or_takes_too_long_is_told(tmp_path):
    assert timed(tmp_path, "raise SystemExit('no memory')")["failed"] == "1: no memory"
    late = timed(tmp_path, "import time; time.sleep(60)", limit=0.2)
    assert late["failed"] == "longer than 0.2 s" and late["seconds"] < 30
    assert "failed" not in timed(tmp_path, "pass", limit=60)


def test_busy_processes_end_with_the_block(monkeypatch):
    started = []
    popen = speed_run.subprocess.Popen
    monkeypatch.setattr(speed_run.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    with pytest.raises(ZeroDivisionError), speed_run.beside(2):
        assert [process.poll() for process in started] == [None, None]
        raise ZeroDivisionError
    assert len(started) == 2 and None not in [process.poll() for process in started]


def test_a_busy_process_ends_with_its_parent():
    start = f"subprocess.Popen([sys.executable, '-S', '-c', {speed_run.LOOP!r}, str(os.getpid())])"
    code = f"import os, subprocess, sys; print({start}.pid)"
    pid = int(speed_run.subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    end = time.monotonic() + 20
    while running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(pid)


def running(pid):
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


# Scans


def test_sizes_are_three_numbers():
    assert speed_scans.shape_of(speed_scans.size_of("128x96x64")) == (128, 96, 64)
    assert speed_scans.shape_of("hcc") is None
    for wrong in ("128x128", "8x128x128", "axbxc"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected three numbers"):
            speed_scans.size_of(wrong)


def test_a_resampled_scan_covers_the_same_field_of_view(tmp_path):
    import SimpleITK as sitk

    # Twice the voxels along x: a ramp 0, 40, 80, 120 of voxels 2 mm wide is read every 1 mm.
    ramp = np.broadcast_to(np.arange(4, dtype=np.int16) * 40, (2, 2, 4))
    scan = sitk.GetImageFromArray(np.ascontiguousarray(ramp))
    scan.SetSpacing((2.0, 1.0, 1.0))
    scan.SetOrigin((10.0, -3.0, 5.0))
    sitk.WriteImage(scan, str(tmp_path / "scan.nii.gz"))
    made = sitk.ReadImage(str(speed_scans.resampled(tmp_path / "scan.nii.gz", tmp_path / "x" / "a.nii.gz", (8, 2, 2))))
    assert made.GetPixelID() == sitk.sitkInt16
    assert np.allclose(made.GetSpacing(), (1.0, 1.0, 1.0)) and np.allclose(made.GetOrigin(), (9.5, -3.0, 5.0))
    assert sitk.GetArrayFromImage(made)[0, 0].tolist() == [0, 10, 30, 50, 70, 90, 110, 120]


def test_real_pairs_need_their_folder(tmp_path):
    with pytest.raises(SystemExit, match="expected the folder DATA for the pair hcc"):
        speed_scans.files_of("hcc", None, tmp_path)
