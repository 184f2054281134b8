"""The segmentor on real scans, and on phantoms.

    python benchmarks/segmentor.py DATA REAL OUT [--weights FILE] [--only totalseg hcc wrong] [--phantoms COHORT]

DATA holds `totalseg`, `hcc_tace_ct`, `sts_ctmr` and `mni_templates`, REAL is what `benchmarks/real_scans.py` wrote.
Three tables go to OUT/segmentor.json and are printed. `totalseg`: Dice of each structure with TotalSegmentator's own
label map, which is a model's and no reader's. `hcc`: label maps of one patient's phases, the moving one carried along
by `discrete`, which reads no label map; Dice of the two. `wrong`: scans of limbs and heads, the share of all voxels
that bear an organ that is not there; only thigh bone and pelvis count as right in a limb, and nothing in a head. Every
other patient of `sts_ctmr` was shown in training (`projects/body/real.py`), and has a row apart. COHORT is what
`jssr phantom --anatomy body` wrote: the mean Dice with its labels.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jssr import register, segment, warp
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.label_names import read_label_names
from jssr.phantom.regions import BODY_LABELS
from jssr.registration.model import load_model

MEANING = {
    "liver": "liver$", "spleen": "spleen$", "kidney_right": "kidney_right$", "kidney_left": "kidney_left$",
    "stomach": "stomach$", "pancreas": "pancreas$", "gallbladder": "gallbladder$", "aorta": "aorta$",
    "vertebrae": "vertebrae", "inferior_vena_cava": "inferior_vena_cava$", "bowel": "small_bowel|duodenum|colon",
    "lung": "lung", "heart": "heart", "bladder": "urinary_bladder", "ribs": "rib_", "pelvis": "hip|sacrum",
    "femurs": "femur",
}  # fmt: skip
"""Names of TotalSegmentator that make up each structure."""
NINE = ("liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "gallbladder", "aorta", "vertebrae")
RIGHT_IN_A_LIMB = ("femurs", "pelvis")
LEAST = 50
"""Voxels that a structure must have in the reference to be judged."""


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Of two masks; NaN where both are empty."""
    both = int(first.sum()) + int(second.sum())
    return float("nan") if both == 0 else 2 * int((first & second).sum()) / both


def against_totalseg(folder: Path, model: object) -> Iterator[dict[str, object]]:
    """A row for each scan: Dice of each structure that the reference holds."""
    for name, scan, labels in (
        ("CT", "ct", "ct_seg117_model"),
        ("MR slab", "mr_sm", "mr_sm_seg50_model"),
    ):
        known = read_label_names(folder / f"{labels}.nii.gz")
        truth = read_image(folder / f"{labels}.nii.gz", "labels").array
        found = segment(folder / f"{scan}.nii.gz", checkpoint=model)
        row: dict[str, object] = {"scan": name, "warnings": list(found.warnings)}
        for value, structure in found.label_names.items():
            of = [v for v, n in known.items() if re.match(MEANING[structure], n)]
            there = np.isin(truth, of)
            if there.sum() >= LEAST:
                row[structure] = round(dice(found.labels.array == value, there), 3)
        yield row


def between_phases(folder: Path, model: object, out: Path) -> Iterator[dict[str, object]]:
    """A row for each pair of phases: Dice of each structure after alignment."""
    for study in sorted(folder.iterdir()):
        if not study.is_dir():
            continue
        fixed = study / "venous.nii.gz"
        mine = segment(fixed, checkpoint=model, out=out / f"{study.name}_venous.nii.gz")
        for phase in ("arterial", "pre"):
            if not (study / f"{phase}.nii.gz").exists():
                continue
            moving = segment(study / f"{phase}.nii.gz", checkpoint=model, out=out / f"{study.name}_{phase}.nii.gz")
            aligned = register(fixed, study / f"{phase}.nii.gz")
            moved = warp(moving.labels, aligned.displacement, reference=fixed, kind="labels")
            seen = aligned.covered[0].numpy()
            row: dict[str, object] = {"study": study.name, "phase": phase}
            for value, structure in mine.label_names.items():
                a, b = (m.array == value for m in (mine.labels, moved))
                if (a & seen).sum() >= LEAST or (b & seen).sum() >= LEAST:
                    row[structure] = round(dice(a & seen, b & seen), 3)
            yield row


def wrong_organs(data: Path, real: Path, model: object) -> Iterator[dict[str, object]]:
    """A row for each scan of a limb or a head: share of voxels with an organ that is not there."""
    scans = [
        (f"{p.parent.name} {p.name[:2]}", p, RIGHT_IN_A_LIMB) for p in sorted(data.glob("sts_ctmr/*/[cm]*.nii.gz"))
    ]
    scans = [s for s in scans if "gtv" not in s[1].name]
    for file in sorted(data.glob("mni_templates/*.nii*")):
        if re.search("t1|t2|ct", file.name.lower()):
            scans.append((f"head {file.name.split('.')[0]}", file, ()))
    scans += [(f"brain {n}", real / "brain" / "pair" / f"{n}.nii.gz", ()) for n in ("fixed", "moving")]
    for name, file, right in scans:
        found = segment(file, checkpoint=model)
        allowed = [v for v, n in found.label_names.items() if n in right]
        labels = found.labels.array
        wrong = (labels > 0) & ~np.isin(labels, allowed)
        named = {
            found.label_names[int(v)]: int(n)
            for v, n in zip(*np.unique(labels[wrong], return_counts=True), strict=True)
        }
        yield {"scan": name, "share": round(float(wrong.mean()), 5), "organs": named, "warnings": list(found.warnings)}


def of_phantoms(folder: Path, model: object) -> float:
    """Mean over the structures of their mean Dice in all scans of a cohort of bodies that hold them."""
    cohort, scores = Cohort.load(folder), defaultdict(list)
    also = {"liver": ["liver_tumour"], "bowel": ["rectum"]}
    for case in cohort.cases:
        for phase, path in case.labels.items():
            truth = read_image(cohort.path(path), "labels").array
            found = segment(cohort.image(case, phase), checkpoint=model)
            for value, structure in found.label_names.items():
                there = np.isin(truth, [BODY_LABELS[n] for n in (structure, *also.get(structure, ()))])
                if there.sum() >= LEAST:
                    scores[structure].append(dice(found.labels.array == value, there))
    return float(np.mean([np.mean(one) for one in scores.values()]))


def markdown(tables: dict[str, list[dict[str, object]]]) -> Iterator[str]:
    """The tables of the docs."""
    if tables.get("totalseg"):
        yield "| structure | " + " | ".join(str(row["scan"]) for row in tables["totalseg"]) + " |"
        yield "| --- |" + " ---: |" * len(tables["totalseg"])
        for name in MEANING:
            yield f"| {name.replace('_', ' ')} | " + " | ".join(str(r.get(name, "")) for r in tables["totalseg"]) + " |"
        means = [[float(str(row[n])) for n in NINE if n in row] for row in tables["totalseg"]]
        yield "| mean of the first nine | " + " | ".join(f"{np.mean(m):.3f} (of {len(m)})" for m in means) + " |\n"
    if tables.get("hcc"):
        shown = ("liver", "spleen", "kidney_right", "kidney_left", "aorta", "vertebrae")
        yield "| study, phase | " + " | ".join(n.replace("_", " ") for n in shown) + " |"
        yield "| --- |" + " ---: |" * len(shown)
        for row in tables["hcc"]:
            yield f"| {row['study']}, {row['phase']} | " + " | ".join(str(row.get(n, "")) for n in shown) + " |"
        yield ""
    kinds: dict[str, list[float]] = {}
    patients = sorted({str(row["scan"]).split(" ")[0] for row in tables.get("wrong", []) if "STS" in str(row["scan"])})
    for row in tables.get("wrong", []):
        name, kind = str(row["scan"]).split(" ")
        if name in patients:
            kind = f"limb {kind}" + (", shown in training" if patients.index(name) % 2 == 0 else "")
        kinds.setdefault(kind if name in patients else "head", []).append(float(str(row["share"])))
    if kinds:
        yield "| scans | number | wrong voxels, mean % | most, % | above 1 % |"
        yield "| --- | ---: | ---: | ---: | ---: |"
    for kind, shares in kinds.items():
        above = sum(s >= 0.01 for s in shares)
        yield f"| {kind} | {len(shares)} | {100 * np.mean(shares):.2f} | {100 * max(shares):.2f} | {above} |"


def main() -> None:
    """Make the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="segmentor")
    parser.add_argument("--phantoms", type=Path)
    parser.add_argument("--only", nargs="*", default=["totalseg", "hcc", "wrong"])
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    model = load_model(None, chosen.weights)
    tables: dict[str, list[dict[str, object]]] = {}
    made = {
        "totalseg": lambda: against_totalseg(chosen.data / "totalseg", model),
        "hcc": lambda: between_phases(chosen.data / "hcc_tace_ct", model, chosen.out),
        "wrong": lambda: wrong_organs(chosen.data, chosen.real, model),
    }
    for name in chosen.only:
        tables[name] = []
        for row in made[name]():
            print(name, row, file=sys.stderr, flush=True)
            tables[name].append(row)
    (chosen.out / "segmentor.json").write_text(json.dumps(tables, indent=1) + "\n")
    print("\n".join(markdown(tables)))
    if chosen.phantoms is not None:
        print(f"phantoms: mean Dice {of_phantoms(chosen.phantoms, model):.3f}")


if __name__ == "__main__":
    main()
