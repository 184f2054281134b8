"""The cohorts that `register-compact` is judged on: `python projects/register/cohorts.py TEST40 OUT`.

TEST40 is `jssr phantom test40 --patients 40 --seed 3 --phases non-contrast,arterial,venous,delay,t1`. OUT/ct has one CT
phase of each patient in turn, and OUT/t1 the T1 scan, beside the venous one: links to the files of TEST40.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jssr.io.cohort import Case, Cohort

TURN = ("non-contrast", "arterial", "delay")


def subset(cohort: Cohort, out: Path, moving: list[str]) -> None:
    """Write a cohort of the reference phase and, of the n-th case, the n-th moving phase."""
    cases = []
    for case, phase in zip(cohort.cases, moving, strict=True):
        kept = (cohort.reference_phase, phase)
        files = {
            kind: {p: file for p, file in getattr(case, kind).items() if p in kept}
            for kind in ("images", "labels", "landmarks", "truth")
        }
        for file in (file for each in files.values() for file in each.values()):
            link = out / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to((cohort.root / file).resolve())
        cases.append(Case(id=case.id, split="test", **files))
    about = {"label_names": cohort.label_names, "regions": cohort.regions}
    Cohort(name=cohort.name, reference_phase=cohort.reference_phase, cases=cases, **about).save(out)


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    cohort = Cohort.load(chosen.cohort)
    count = len(cohort.cases)
    subset(cohort, chosen.out / "ct", [TURN[n % len(TURN)] for n in range(count)])
    subset(cohort, chosen.out / "t1", ["t1"] * count)


if __name__ == "__main__":
    main()
