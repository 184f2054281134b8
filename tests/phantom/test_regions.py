"""Each region of the phantom is one entry; the table in the docs is made from the entries.

After a change of an entry: `python tests/phantom/test_regions.py --write`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from jssr.phantom.regions import (
    BODY_LABELS,
    LABELS,
    PELVIS_LABELS,
    Tissue,
    body_labels_of,
    column,
    labels_of,
    pelvis_labels_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "phantom-regions.md"
HEAD = """# Regions of the phantom

The phantoms of abdomen, body and pelvis are made of these tissues. The table is made from the entries in
`src/jssr/phantom/regions.py`, which name their sources. HU are means without contrast. Arterial, venous and delay are
added to them. T1 and T2 are milliseconds at 1.5 T. Texture is its standard deviation in HU and its length in
millimetres. The labels are those of the written label maps.

| code | tissue | HU | arterial | venous | delay | T1 | T2 | proton density | texture | label, abdomen | label, pelvis \
| label, body |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    """The docs' page of all regions."""
    rows = []
    for tissue in Tissue:
        r = tissue.region
        contrast = [f"{v:g}" for v in (r.hu, r.arterial, r.venous, r.delay, r.t1, r.t2, r.density)]
        names = [f"{n} ({values[n]})" if n else "" for n, values in ((r.abdomen, LABELS), (r.pelvis, PELVIS_LABELS))]
        value = int(body_labels_of(np.array([tissue], dtype=np.uint8))[0])
        names.append(f"{next(n for n, v in BODY_LABELS.items() if v == value)} ({value})" if value else "")
        title = tissue.name.lower().replace("_", " ")
        cells = [str(int(tissue)), title, *contrast, f"{r.sd:g}, {r.length:g}", *names]
        rows.append("| " + " | ".join(cells) + " |")
    return HEAD + "\n".join(rows) + "\n"


def test_page_of_regions_is_made_from_the_entries() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"python {Path(__file__).name} --write"


def test_codes_are_unique_and_fit_a_byte() -> None:
    codes = [int(t) for t in Tissue.__members__.values()]
    assert len(set(codes)) == len(codes)
    assert 0 <= min(codes) <= max(codes) <= 255


def test_labels_of_each_entry_exist_and_each_label_has_an_entry() -> None:
    assert {t.region.abdomen for t in Tissue} == {"", *LABELS}
    assert {t.region.pelvis for t in Tissue} == {"", *PELVIS_LABELS}


def test_labels_follow_the_entries() -> None:
    codes = np.array([Tissue.CYST, Tissue.HCC, Tissue.AIR, Tissue.URINE], dtype=np.uint8)
    assert labels_of(codes).tolist() == [LABELS["liver"], LABELS["liver_tumour"], 0, 0]
    assert pelvis_labels_of(codes).tolist() == [0, 0, 0, PELVIS_LABELS["bladder"]]


def test_column_is_indexed_by_code() -> None:
    assert column("hu")[Tissue.LIVER] == 57
    assert column("hu")[200] == 0


if __name__ == "__main__" and "--write" in sys.argv[1:]:
    PAGE.write_text(page(), encoding="utf-8")
