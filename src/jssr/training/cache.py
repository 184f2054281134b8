"""Prepared scans in memory, as small as they are on disk, the least recently used given up first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jssr.cohorts.prepared import class_values, notes_of
from jssr.errors import CohortError, GeometryError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_grid, read_image
from jssr.preprocessing.intensity import NO_DATA, Window, normalise
from jssr.training.augment import Scan


class ScanCache:
    """Scans and label maps of one prepared cohort.

    Args:
        cohort: prepared (or of scans that lie on one grid for each case).
        window: HU that become -1..1.
        structures: names of the classes; empty when no labels are read.
        cache_bytes: how much to keep in memory; beyond it files are read again. Reading is safe from several threads.

    Raises:
        CohortError: an unknown structure.
    """

    def __init__(self, cohort: Cohort, window: Window, structures: Sequence[str], cache_bytes: int) -> None:
        self.cohort, self.window = cohort, window
        self.values = class_values(cohort, structures)
        self.cache_bytes = cache_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self._shapes: dict[Path, tuple[int, ...]] = {}
        self._lock = threading.Lock()
        self._notes, self._paired_notes = notes_of(cohort, "phases"), notes_of(cohort, "paired")

    def scan(self, case: Case, phase: str, labels: bool = False) -> Scan:
        """A scan normalised to -1..1 with its mask and, if asked for, its class indices, all (1, 1, *shape).

        Raises:
            CohortError: no such phase, or no labels for it.
            ImageError: a file that cannot be read.
            GeometryError: labels on another grid.
        """
        stored = self._tensor(str(self.cohort.image(case, phase).relative_to(self.cohort.root)), False)
        scan = self._normalised(stored, self._notes, case, phase)
        if not labels:
            return scan
        if phase not in case.labels:
            raise CohortError(f"{self.cohort.root}: case {case.id} has no labels for phase {phase!r}")
        classes = self._tensor(case.labels[phase], True)
        if classes.shape != stored.shape:
            raise GeometryError(
                f"{self.cohort.path(case.labels[phase])}: lies on another grid than its image; run jssr prepare"
            )
        return Scan(scan.image, scan.mask, classes.long()[None, None])

    def shape(self, case: Case, phase: str) -> tuple[int, ...]:
        """The voxels of a scan along each axis, by its header, read once."""
        path = self.cohort.image(case, phase)
        if path not in self._shapes:
            self._shapes[path] = tuple(read_grid(path).shape)
        return self._shapes[path]

    def label_values(self, case: Case, phase: str) -> set[int]:
        """The values of a label map, each of which label_names names: a liver's tumour without a name would be learned
        as background.

        Raises:
            CohortError: a value without a name.
            ImageError: a file that cannot be read.
        """
        file = self.cohort.path(case.labels[phase])
        values = set(map(int, torch.unique(read_image(file, "labels").data).tolist()))
        unknown = self.cohort.unnamed(values)
        if unknown:
            raise CohortError(
                f"{file}: holds the labels {unknown}, which label_names in cohort.json does not name; they would be "
                "learned as background"
            )
        return values

    def paired(self, case: Case, phase: str) -> Scan:
        """What looks as the other modality does and lies on a scan, normalised to -1..1, with its mask.

        Raises:
            CohortError: the case has none for that phase.
        """
        if phase not in case.paired:
            raise CohortError(f"{self.cohort.root}: case {case.id} has no paired scan of phase {phase!r}")
        return self._normalised(self._tensor(case.paired[phase], False), self._paired_notes, case, phase)

    def _normalised(self, stored: Tensor, notes: dict[str, dict[str, dict[str, Any]]], case: Case, phase: str) -> Scan:
        mask = stored > NO_DATA
        scale = notes.get(case.id, {}).get(phase, {}).get("scale")
        image = stored.float() / scale if scale else normalise(stored, self.window)
        return Scan(torch.where(mask, image.clamp_(-1, 1), -1.0)[None, None], mask.float()[None, None])

    def _tensor(self, relative: str, labels: bool) -> Tensor:
        with self._lock:
            if relative in self._kept:
                self._kept.move_to_end(relative)
                return self._kept[relative]
        path = self.cohort.path(relative)
        tensor = self._classes(read_image(path, "labels").data[0]) if labels else read_image(path).data[0]
        if not labels:
            tensor = tensor.round().clamp_(NO_DATA, -NO_DATA - 1).to(torch.int16)
        with self._lock:
            if relative not in self._kept:
                self._kept[relative] = tensor
                self._bytes += tensor.nbytes
            while self._bytes > self.cache_bytes and self._kept:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return tensor

    def _classes(self, labels: Tensor) -> Tensor:
        """Label values to class indices, uint8; labels of no structure are background."""
        table = torch.zeros(int(labels.max()) + 1, dtype=torch.uint8)
        for index, values in enumerate(self.values, start=1):
            for value in values:
                if value < len(table):
                    table[value] = index
        return table[labels.clamp(min=0).long()]
