"""Real CT in several phases as a cohort without labels: `python projects/joint/target.py DATA OUT [--without HCC_015]`.

DATA/hcc_tace_ct holds three studies of two patients before contrast, arterial and venous (HCC-TACE-Seg, CC BY 4.0).
What is left out by `--without` is there to judge. `jssr prepare OUT -o PREPARED --recipe jssr-body` comes next.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jssr.io.cohort import Case, Cohort

PHASES = {"pre": "non-contrast", "arterial": "arterial", "venous": "venous"}


def main() -> None:
    """Link the scans and write cohort.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--without", help="patient that is left out")
    chosen = parser.parse_args()
    cases = []
    for study in sorted(p for p in (chosen.data / "hcc_tace_ct").iterdir() if p.is_dir()):
        if chosen.without is not None and study.name.startswith(chosen.without):
            continue
        images = {}
        for name, phase in PHASES.items():
            file = study / f"{name}.nii.gz"
            if file.exists():
                link = chosen.out / study.name / f"{phase}.nii.gz"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())
                images[phase] = f"{study.name}/{link.name}"
        cases.append(Case(id=study.name, split="train", images=images))
    modalities = dict.fromkeys((phase for case in cases for phase in case.images), "ct")
    Cohort(name="hcc", reference_phase="venous", cases=cases, modalities=modalities).save(chosen.out)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
