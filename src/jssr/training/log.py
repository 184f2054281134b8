"""What a run writes for its reader: losses.csv, TensorBoard events and pictures."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.field import warp
from jssr.errors import OutputError
from jssr.io.files import atomic_path
from jssr.report import figures
from jssr.report.letters import caption
from jssr.systems.base import Alignment, Batch

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and the stage with its latest losses."""
SHOWN = 3
"""Losses that it is told: what fits a terminal of 80 columns."""
FIRST_COLUMNS = ("step", "stage", "seconds_per_step")


class TrainingLog:
    """Keeps the means of the figures since the last row and writes them to `losses.csv` and TensorBoard.

    Rows of steps after `done` are dropped: a resumed run repeats those steps and writes their rows again.

    Args:
        folder: of the run.
        figures: names of all figures that the run can have, in the order of the columns.
        steps: of the whole run; `done` of them have been made.
        on_step: called after each step.
    """

    def __init__(
        self, folder: Path, figures: Sequence[str], steps: int, done: int = 0, on_step: OnStep | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second or two to import

        self.path = folder / "losses.csv"
        self.columns = (*FIRST_COLUMNS, *figures)
        self._start_table(done)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        self._sums: dict[str, tuple[float, int]] = {}
        self._steps, self._seconds = 0, 0.0
        self._done, self._all, self._on_step, self._shown = done, steps, on_step, ""

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()

    def add(self, stage: str, figures: Mapping[str, float], seconds: float) -> None:
        """Take in one step."""
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        self._steps += 1
        self._seconds += seconds
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done, self._all, f"{stage}  {self._shown}".rstrip())

    def flush(self, step: int, stage: str) -> None:
        """Write the means since the last flush as the row of `step`; nothing where there were no steps.

        Raises:
            OutputError: the table cannot be written.
        """
        if not self._steps:
            return
        means = {name: total / count for name, (total, count) in self._sums.items()}
        pace = self._seconds / self._steps
        row = {"step": step, "stage": stage, "seconds_per_step": f"{pace:.4g}"}
        self._append(row | {name: f"{value:.6g}" for name, value in means.items()})
        self.scalars(step, means | {"speed/steps_per_second": 1 / max(pace, 1e-9)})
        terms = [name for name in means if not name.endswith("grad_norm")]
        self._shown = "  ".join(f"{name.split('/')[-1]} {means[name]:.3g}" for name in terms[:SHOWN])
        log.debug("step %d %s: %.3f s per step; %s", step, stage, pace, self._shown)
        self._sums, self._steps, self._seconds = {}, 0, 0.0

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Write figures to TensorBoard alone."""
        for name, value in figures.items():
            self._events.add_scalar(name, value, step)

    def show(self, step: int, image: figures.Colour) -> None:
        """Put a picture (height, width, 3) into TensorBoard."""
        self._events.add_image("pair", image, step, dataformats="HWC")

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); resume once it can") from error

    def _start_table(self, done: int) -> None:
        rows: list[dict[str, Any]] = []
        if done and self.path.exists():
            with self.path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
                for row in csv.DictReader(file):  # what is damaged is no row of a step, and goes
                    step = row.get("step") or ""
                    rows += [row] if step.isdecimal() and int(step) <= done else []
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def picture(batch: Batch, alignment: Alignment, least: int = 200) -> figures.Colour:
    """Fixed, moving, synthesised (where made), moved, and the differences to fixed before and after, side by side under
    their names: (height, width, 3).

    Of the first pair of the batch, the middle slice along the last axis (the axial one of a scan), the first axis to
    the right and the second down, as radiologists look at a supine patient. Grey from -1..1; what segmentors say is
    outlined, of the fixed scan blue, of the moving one orange, both over the moved one. A slice is enlarged by a whole
    number, until its shorter side has `least` pixels.
    """
    if batch.moving is None or batch.fixed is None:
        raise ValueError("the batch has no pair")
    displacement, made = alignment.displacement.float(), alignment.synthesised
    ours, theirs = alignment.fixed_segmentation, alignment.moving_segmentation
    moved = warp(batch.moving.float(), displacement)
    brought = None if theirs is None else warp(theirs.float(), displacement)
    shown = [("fixed", batch.fixed, ours, None), ("moving", batch.moving, None, theirs)]
    shown += [] if made is None else [("synthesised", made, None, theirs)]
    shown += [("moved", moved, ours, brought)]
    shown += [(f"|{name} - fixed|", (x - batch.fixed).abs() - 1, None, None) for name, x in
              (("moving", batch.moving), ("moved", moved))]  # fmt: skip
    return figures.beside([_tile(*one, least) for one in shown])


def _tile(name: str, image: Tensor, blue: Tensor | None, orange: Tensor | None, least: int) -> figures.Colour:
    """A named slice with two segmentations outlined."""
    plane = (_slice(image[0]).clamp(-1, 1) + 1) / 2
    times = -(-least // min(plane.shape))

    def large(values: Tensor) -> NDArray[Any]:
        return values.numpy().repeat(times, axis=0).repeat(times, axis=1)

    said = [torch.zeros_like(plane) if p is None else _slice(p[0].argmax(dim=0, keepdim=True)) for p in (blue, orange)]
    tile = figures.contours(large(plane), large(said[0]), large(said[1]))
    return np.concatenate([caption(name, tile.shape[1]), tile], axis=0)


def _slice(image: Tensor) -> Tensor:
    """(1, *spatial) to its middle slice, (height, width), float32."""
    plane = image[0].detach().float().cpu()
    while plane.ndim > 2:
        plane = plane[..., plane.shape[-1] // 2]
    return plane.T


def write_picture(image: figures.Colour, path: Path) -> None:
    """Write a picture as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(figures.encode(image))
