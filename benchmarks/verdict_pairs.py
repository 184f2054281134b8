"""Pairs for `benchmarks/verdict.py`: those of the real sets, and pairs that cannot be aligned, made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.registration.pipeline import register

SPLITS = ("validation", "test")
SETS = ("hcc", "eth_liver", "sts_ctmr", "totalseg_map", "acdc", "prostate", "mni", "recoloured", "hippocampus", "brain",
        "cxr_gbc", "cxr_jsrt")  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A pair to be judged: two scans, made when they are asked for, and options and truth for `register`."""

    split: str
    set: str
    pair: str
    scans: Callable[[], tuple[Volume, Volume]]
    options: dict[str, Any] = field(default_factory=dict)


def pairs(root: Path) -> Iterator[Judged]:
    """Every pair of the sets of `root`, and those that cannot be aligned."""
    for name in SETS:
        cohort = Cohort.load(root / name)
        first = cohort.reference_phase
        for case in cohort.cases:
            for phase in case.images:
                if phase != first:
                    both = (name, case.id, first), (name, case.id, phase)
                    yield Judged(str(case.split), name, f"{case.id} {phase}", lambda both=both: tuple(
                        scan(root, *one) for one in both), _truth(root / name, cohort, case, first, phase))  # fmt: skip
    for split in SPLITS:
        for name, (fixed, moving, options) in wrong_pairs(root, split).items():
            yield Judged(split, "negative", name, lambda f=fixed, m=moving: (f(), m()), options)


def registered(one: Judged) -> dict[str, str]:
    """A row of `verdicts.csv`."""
    found = register(*one.scans(), **one.options)
    told, last = found.result["quality"], list(found.states.values())[-1]
    overlaps = [v for k, v in last.items() if k.startswith("dice/") and np.isfinite(v)]
    expected = told["expected_error_mm"]["median"]
    return {
        "split": one.split, "set": one.set, "pair": one.pair, "verdict": told["verdict"],
        "expected_mm": "" if expected is None else f"{expected:.2f}", "better": f"{told['agreement']['better']:.3f}",
        "tre_mm": f"{last['tre']:.2f}" if "tre" in last else "", "dice": f"{np.mean(overlaps):.3f}" if overlaps else "",
    }  # fmt: skip


def scan(root: Path, name: str, case_id: str, phase: str) -> Volume:
    cohort = Cohort.load(root / name)
    case = next(c for c in cohort.cases if c.id == case_id)
    volume, modality = read_image(root / name / case.images[phase]), cohort.modalities.get(phase)
    return replace(volume, modality=modality) if modality else volume


def _truth(root: Path, cohort: Cohort, case: Any, first: str, phase: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for what, held in (("labels", case.labels), ("landmarks", case.landmarks)):
        if held and {first, phase} <= set(held):
            known |= {f"fixed_{what}": root / held[first], f"moving_{what}": root / held[phase]}
    return {**known, "structures": cohort.structures()} if "fixed_labels" in known else known


def wrong_pairs(root: Path, split: str) -> dict[str, tuple[Callable[[], Volume], Callable[[], Volume], dict[str, Any]]]:
    """Pairs that cannot be aligned: a fixed scan, a moving one, and options. Other patients and body parts lie at the
    fixed scan's middle; what is mirrored, shuffled or moved far is the pair's own."""
    ids = {n: [c.id for c in Cohort.load(root / n).cases if c.split == split] for n in SETS if n != "brain"}

    def take(name: str, phase: str, k: int = 0) -> Callable[[], Volume]:
        return lambda: scan(root, name, ids[name][k], phase)

    ct, liver, head = take("hcc", "venous"), take("eth_liver", "fixed"), take("mni", "fixed")
    abdomen, legs, heart = take("totalseg_map", "fixed"), take("sts_ctmr", "ct"), take("acdc", "ED")
    film = take("cxr_gbc", "first")
    own = {ct: take("hcc", "arterial"), liver: take("eth_liver", "moving"), head: take("mni", "moving"),
           abdomen: take("totalseg_map", "moving"), legs: take("sts_ctmr", "mr"), heart: take("acdc", "ES"),
           film: take("cxr_gbc", "later")}  # fmt: skip
    names = {
        ct: "liver CT",
        liver: "liver MR",
        head: "head",
        abdomen: "abdomen",
        legs: "legs",
        heart: "heart",
        film: "film",
    }
    found: dict[str, Any] = {}
    others = [(ct, own[abdomen], "another patient's abdomen"), (ct, legs, "legs"), (ct, head, "a head"),
              (legs, take("sts_ctmr", "mr", 1), "another patient's legs"), (liver, own[head], "a head"),
              (liver, own[ct], "a CT of another"), (abdomen, own[legs], "legs"), (heart, own[head], "a head"),
              (heart, take("acdc", "ES", 1), "another patient's heart"), (head, own[liver], "a liver")]  # fmt: skip
    for fixed, moving, what in others:
        found[f"{names[fixed]} and {what}"] = fixed, lambda f=fixed, m=moving: centred(m(), f()), {}
    for fixed, kinds in (
        (ct, "nsmf"),
        (liver, "sf"),
        (abdomen, "mf"),
        (legs, "nf"),
        (heart, "n"),
        (head, "sf"),
        (film, "nst"),
    ):
        for kind in kinds:
            what, change = CHANGES[kind]
            found[f"{names[fixed]}, {what}"] = (
                fixed,
                lambda m=own[fixed], c=change: c(m()),
                {"rigid": kind != "f"} if kind == "f" else {},
            )
    return found


def noise(scan: Volume) -> Volume:
    values = scan.data.float()
    made = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    return scan.with_data(values.mean() + values.std() * made)


def shuffled(scan: Volume) -> Volume:
    axis = int(np.argmax(scan.grid.spacing)) if scan.grid.ndim == 3 else 0
    order = torch.randperm(scan.grid.shape[axis], generator=torch.Generator().manual_seed(2))
    return scan.with_data(scan.data.index_select(axis + 1, order))


def mirrored(scan: Volume) -> Volume:
    return scan.with_data(scan.data.flip(1 + int(np.argmax(np.abs(scan.grid.direction[0])))))


def shifted(scan: Volume, by: Any = (35.0, 25.0, -25.0)) -> Volume:
    grid = scan.grid
    return replace(
        scan, grid=Grid.of(grid.shape, grid.spacing, np.asarray(grid.origin) + np.asarray(by), grid.direction)
    )


def turned(film: Volume) -> Volume:
    return film.with_data(torch.rot90(film.data, 2, (1, 2)))


def centred(scan: Volume, on: Volume) -> Volume:
    return shifted(scan, on.grid.centre - scan.grid.centre)


CHANGES = {"n": ("noise", noise), "s": ("slices shuffled", shuffled), "m": ("mirrored", mirrored),
           "f": ("50 mm off, no rigid step", shifted), "t": ("turned by 180 degrees", turned)}  # fmt: skip
