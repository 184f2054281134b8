"""Every adapter on a scan that was moved by a known shift: direction, units, orientation, origin."""

import os
import stat
import sys

import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Volume, volume_of
from jssr.errors import JssrError
from jssr.peers import PEERS, deeds, elastix, greedy
from jssr.peers.base import isotropic
from jssr.preprocessing.start2d import start_2d

SHIFT = np.array([6.0, -4.0, 5.0])
"""mm LPS: what lies at p in the fixed scan lies at p + SHIFT in the moving one."""
TILT = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])


def scan(grid: Grid, shift=0.0, name="scan") -> Volume:
    """A body of 30 soft blobs in air, HU, the same anatomy in world space whatever the grid."""
    rng = np.random.default_rng(0)
    at = grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)) - shift
    body = np.linalg.norm(at / (60, 50, 60), axis=-1) < 1
    data = np.where(body, 30.0, -1000.0)
    for centre, size, value in zip(
        rng.uniform(-38, 38, (30, 3)), rng.uniform(6, 12, 30), rng.uniform(-120, 160, 30), strict=True
    ):
        data += body * value * np.exp(-((at - centre) ** 2).sum(axis=-1) / (2 * size**2))
    return volume_of(data.astype(np.float32), grid, name=name)


def pair(coarser=1.0):
    fixed = Grid.of((52, 44, 40), (2.6, 3.0, 3.4), -TILT @ (66, 65, 66), TILT)
    moving = Grid.of((50, 46, 44), (2.8, 2.8, 3.2), (-70.0, -64.0, -66.0))
    a, b = (grid.respaced(grid.spacing * coarser) for grid in (fixed, moving))
    return scan(a), scan(b, SHIFT)


def inside():
    rng = np.random.default_rng(1)
    return rng.uniform(-30, 30, (200, 3))


@pytest.mark.parametrize("name", [name for name in PEERS if name != "deeds"])
def test_a_shift_comes_back_as_it_was(name, monkeypatch, tmp_path):
    """Grids of other spacing, tilt, origin, size. A wrong sign, axis or unit is off by 4 to 12 mm along some axis."""
    if PEERS[name].lacks():
        pytest.skip(PEERS[name].lacks())
    # Fewer and coarser stages of the slowest one: direction and units are the same.
    monkeypatch.setattr(elastix, "STAGES", ("rigid", "affine") if name == "affine" else ("rigid", "bspline"))
    monkeypatch.setattr(elastix, "RESOLUTIONS", 2)
    monkeypatch.setattr(elastix, "TUNED_ITERATIONS", 150)
    monkeypatch.chdir(tmp_path)
    # A peer that is given the rigid part gets a third of it wrong: the rest is its own work.
    rigid = np.eye(4)
    rigid[:3, 3] = SHIFT * 2 / 3
    slow = name in ("syn-cc", "convexadam")
    found = PEERS[name].run(*pair(1.8 if slow else 1.0), Affine(rigid), 2)
    assert list(tmp_path.iterdir()) == []  # nothing is left in the user's folder
    points = inside()
    assert np.abs(found(points) - points - SHIFT).mean(axis=0).max() < 1.6, (found(points) - points).mean(axis=0)


def test_isotropic_puts_both_scans_on_one_grid():
    shift = np.eye(4)
    shift[:3, 3] = SHIFT
    y, x, grid = isotropic(*pair(), Affine(shift))
    assert np.allclose(grid.spacing, 2.6, rtol=0.03) and y.grid == x.grid == grid
    middle = (slice(15, -15),) * 3
    assert np.abs(y.array[middle] - x.array[middle]).mean() < 4  # HU, of contrasts of 150


FAKE = """#!{python}
import sys, numpy as np, pathlib
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert pathlib.Path(words["-F"]).is_file() and pathlib.Path(words["-M"]).is_file()
if pathlib.Path(sys.argv[0]).name == "linearBCV":
    # Moving index = (i + 1, j + 2, k): the shift is the last row.
    np.savetxt(words["-O"] + "_matrix.txt", [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 0, 1]])
else:
    assert np.loadtxt(words["-A"]).shape == (4, 4)
    shape = (4, 3, 2)
    along = np.broadcast_to(np.arange(4)[:, None, None], shape)  # of the first axis, grows along it
    parts = [np.full(shape, 0.5), along, np.full(shape, -1.0)]  # second, first, third axis
    np.concatenate([p.ravel(order="F") for p in parts]).astype("f4").tofile(words["-O"] + "_displacements.dat")
"""


def test_deeds_files_are_read_as_it_writes_them(tmp_path, monkeypatch):
    """Programs that leave known numbers in its formats: a map worked out by hand."""
    for program in deeds.PROGRAMS:
        path = tmp_path / program
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert PEERS["deeds"].lacks() is None
    grid = Grid.of((16, 12, 8), 2.0, (10.0, 20.0, 30.0))
    image = scan(grid)
    found = PEERS["deeds"].run(image, image, Affine.identity(), 1)
    # Voxel (4, 4, 4) is control point (1, 1, 1): 1 + 1 of the first axis, 2 + 0.5 of the second, -1 of the third.
    assert np.allclose(found(grid.world([4, 4, 4])) - grid.world([4, 4, 4]), np.array([2.0, 2.5, -1.0]) * 2, atol=1e-4)
    # Halfway between control points 1 and 2.
    assert np.allclose(found(grid.world([6, 4, 4]))[0] - grid.world([6, 4, 4])[0], (1 + 1.5) * 2, atol=1e-4)


def test_deeds_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JssrError, match=r"linearBCV and deedsBCV not on the PATH"):
        PEERS["deeds"].check()


def test_a_program_that_fails_is_reported(tmp_path, monkeypatch):
    for program in deeds.PROGRAMS:
        path = tmp_path / program
        path.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    image = scan(Grid.of((16, 12, 8), 2.0))
    with pytest.raises(JssrError, match="linearBCV ended with 3: no such luck"):
        PEERS["deeds"].run(image, image, Affine.identity(), 1)


def test_every_tool_says_what_it_runs():
    assert all(peer.settings and peer.name == name for name, peer in PEERS.items())


@pytest.mark.parametrize("name", ["elastix", "affine"])
def test_elastix_takes_radiographs(name, monkeypatch):
    """A picture of twice the pixels, shifted: what lies at p lies at 2 p + 1/2 + the shift."""
    shift = np.array([8.0, -5.0])
    monkeypatch.setattr(elastix, "GRIDS_2D_MM", (80.0, 40.0))  # 5 mm are a pixel of this picture
    monkeypatch.setattr(elastix, "SHRINK_2D", (2, 1))

    def picture(grid, at):
        rng = np.random.default_rng(0)
        data = np.zeros(grid.shape)
        for centre, size, value in zip(
            rng.uniform(15, 80, (25, 2)), rng.uniform(4, 9, 25), rng.uniform(50, 200, 25), strict=True
        ):
            data += value * np.exp(-((at - centre) ** 2).sum(axis=-1) / (2 * size**2))
        return volume_of(data.astype(np.float32), grid)

    fixed, moving = Grid.of((96, 96)), Grid.of((192, 192))
    start = start_2d(fixed, moving)
    pixels = [np.stack(np.meshgrid(*[np.arange(s) for s in g.shape], indexing="ij"), axis=-1) for g in (fixed, moving)]
    y = picture(fixed, pixels[0])
    x = picture(moving, (pixels[1] - 0.5 - shift) / 2)
    found = PEERS[name].run(y, x, start, 2)
    at = np.random.default_rng(1).uniform(25, 70, (100, 2))
    off = np.linalg.norm(found(at) - (2 * at + 0.5 + shift), axis=1)
    assert off.mean() < 1.0  # pixels of the moving picture; 9.4 without


def test_greedy_has_as_many_levels_as_the_slices_allow():
    assert [greedy.iterations(n) for n in (40, 16, 15, 10, 7, 3)] == ["100x50x10"] * 2 + ["100x50"] * 2 + ["100"] * 2


def test_a_frame_that_begins_at_its_origin_is_nominal():
    assert elastix.nominal(Grid.of((10, 10, 10), 1.5, (-1.5, 0.0, 1.5)))
    assert not elastix.nominal(Grid.of((10, 10, 10), 1.5, (-1.5, 0.0, 3.2)))
