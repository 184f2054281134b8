"""Take the label maps out of a cohort's description: `python projects/joint/unlabelled.py COHORT`.

A target domain has none, and those of the phantoms are of other structures than the segmentor's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jssr.io.cohort import Cohort


def main() -> None:
    """Write cohort.json anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    folder = parser.parse_args().cohort
    cohort = Cohort.load(folder)
    cases = [case.model_copy(update={"labels": {}}) for case in cohort.cases]
    cohort.model_copy(update={"cases": cases, "label_names": {}, "regions": {}}).save(folder)


if __name__ == "__main__":
    main()
