"""Would it help to let organs slide where a segmentor says so? An upper bound, by true label maps.

    jssr phantom tune4 --patients 4 --seed 14 --phases non-contrast,arterial,venous,delay,t1
    python projects/joint/sliding.py tune4

`discrete` as it is, with `sliding`, and with the weight of its regulariser taken to a third and a tenth where moving
organs meet what stands still. Prints the landmark error of each pair, and means.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import jssr
from jssr.core.resampling import resample
from jssr.core.volume import Volume
from jssr.io.cohort import Cohort
from jssr.losses.features import Apart
from jssr.registration import control_points
from jssr.registration import instance_optimisation as optimisation

MOVING = (
    "liver", "liver_tumour", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "gallbladder", "bowel",
    "lung",
)  # fmt: skip
WIDE = 5
"""Voxels of the zone where the two meet."""
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "as it is": ({}, 1.0), "a third": ({}, 0.3), "a tenth": ({}, 0.1), "sliding": ({"sliding": True}, 1.0),
}  # fmt: skip


class Eased:
    """Takes the place of `roughness`: the mean squared gradient with a weight for each control point."""

    def __init__(self) -> None:
        self.labels: Volume | None = None
        self.values: Sequence[int] = ()
        self.weight = 1.0
        self.zone: Tensor | None = None
        self.grid: Any = None
        self.usual = control_points.roughness, control_points.optimise, optimisation._begun

    def begun(self, *args: Any) -> Any:
        """`_begun`, and the zone on its grid."""
        work, start = self.usual[2](*args)
        self.zone = None
        if self.weight < 1 and self.labels is not None:
            labels = resample(self.labels, work.fixed.grid).data[0].long()
            inside = torch.isin(labels, torch.tensor(list(self.values))).float()[None, None]
            wide = {"kernel_size": WIDE, "stride": 1, "padding": WIDE // 2}
            self.zone = F.max_pool3d(inside, **wide) + F.max_pool3d(-inside, **wide)
        return work, start

    def optimise(self, control: Tensor, grid: Any, *args: Any, **more: Any) -> Tensor:
        """`optimise`, which asks for the roughness on this grid of control points."""
        self.grid = grid
        return self.usual[1](control, grid, *args, **more)

    def roughness(self, control: Tensor, spacing: Sequence[float], sliding: bool = False) -> Apart:
        """As `control_points.roughness`, but for the weights."""
        if self.zone is None or sliding:
            return self.usual[0](control, spacing, sliding)
        n, zone = len(spacing), self.zone.expand(1, 3, *self.zone.shape[2:]).contiguous()
        weight = 1 - (1 - self.weight) * self.grid.fit(zone)[:, :1].clamp(0, 1)
        value, slope = control.new_zeros(()), torch.zeros_like(control)
        for axis, s in enumerate(spacing):
            step, length = control.diff(dim=axis + 2) / s, control.shape[axis + 2] - 1
            both = torch.minimum(weight.narrow(axis + 2, 0, length), weight.narrow(axis + 2, 1, length))
            value = value + (both * step.square()).mean() * n
            scaled = both * step * (2 * n / step.numel()) / s
            slope.narrow(axis + 2, 1, length).add_(scaled)
            slope.narrow(axis + 2, 0, length).sub_(scaled)
        return Apart(value, slope)


def main() -> None:
    """Print a line for each pair and row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--phases", nargs="+", default=["arterial", "delay", "t1"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    eased = Eased()
    control_points.roughness = eased.roughness  # type: ignore[assignment]
    control_points.optimise = optimisation.optimise = eased.optimise  # type: ignore[assignment,attr-defined]
    optimisation._begun = eased.begun
    cohort = Cohort.load(chosen.cohort)
    eased.values = [value for value, name in cohort.label_names.items() if name in MOVING]
    errors: dict[tuple[str, str], list[float]] = {}
    for case in cohort.cases[: chosen.patients]:
        eased.labels = jssr.read_image(cohort.root / case.labels["venous"], kind="labels")
        marks = {p: jssr.read_points(cohort.root / case.landmarks[p]) for p in ("venous", *chosen.phases)}
        for phase in chosen.phases:
            for row, (options, eased.weight) in ROWS.items():
                found = jssr.register(
                    cohort.image(case, "venous"), cohort.image(case, phase),
                    fixed_landmarks=marks["venous"], moving_landmarks=marks[phase], **options,
                ).states["refined"]["tre"]  # fmt: skip
                errors.setdefault((row, phase), []).append(found)
                print(f"{case.id} {phase}, {row}: {found:.2f} mm", flush=True)
    for (row, phase), each in errors.items():
        print(f"{row}, {phase}: {sum(each) / len(each):.2f} mm")


if __name__ == "__main__":
    main()
