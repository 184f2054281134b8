from __future__ import annotations

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Volume, volume_of
from jssr.errors import OutputError
from jssr.report.html import AlignmentView, write_report
from jssr.report.planes import Planes
from jssr.report.view import Cuts, strips

EVIL = '<script>alert("1")</script>&.nii.gz'
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Checks nesting and keeps what a page holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def view(shape: tuple[int, ...] = (20, 18, 10), **more: object) -> AlignmentView:
    generator = torch.Generator().manual_seed(0)
    grid = Grid.of(shape, (3.0, 3.0, 5.0)[: len(shape)])
    image = torch.randn(1, *shape, generator=generator) * 100 - 60
    fixed, moving = Volume(image, grid, name="venous.nii.gz"), Volume(image + 9, grid, name=EVIL)
    return AlignmentView(fixed, moving, Volume(image + 3, grid, name="moved"), **more)  # type: ignore[arg-type]


def full_view() -> AlignmentView:
    labels = np.zeros((20, 18, 10), np.int16)
    labels[5:15, 5:12, 3:8] = 1
    grid = view().fixed.grid
    seg = volume_of(labels, grid, "labels")
    u = ff.smooth(torch.randn(1, 3, *grid.shape, generator=torch.Generator().manual_seed(1)), 2.0)[0]
    return view(
        synthesised=view().fixed,
        fixed_seg=seg,
        moved_seg=seg,
        moving_seg=seg,
        displacement=Displacement(u, grid),
        metrics={"dice/liver": 0.955, "hd95/liver": math.inf, "tre": 2.0, "folds": 0.5, "seconds": 1.76},
        metrics_before={"dice/liver": 0.905, "hd95/liver": 7.5, "tre": 8.0},
        metrics_rigid={"dice/liver": 0.96, "hd95/liver": 6.0, "tre": 4.0},
        warnings=["generator copied & pasted"],
        covered=0.5,
    )


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_report_is_one_whole_file_that_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    write_report(path, title="p0001", rows=[full_view(), view()], provenance={"device": "cpu"}, width=60)
    html, page = path.read_text(encoding="utf-8"), read(path)
    assert "http://" not in html and "https://" not in html and "url(" not in html
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    pictures = page.all("img")
    # Scans 4, overlays 4 twice, contours twice, grid, Jacobian, 7 slices; then scans 3, overlays 4 twice, 7 slices; in
    # three planes each.
    assert len(pictures) == 3 * (4 + 8 + 2 + 2 + 7) + 3 * (3 + 8 + 7)
    for attrs in pictures:
        kind, data = (attrs["src"] or "").split(",", 1)
        assert kind == "data:image/jpeg;base64" and attrs["alt"]
        Image.open(BytesIO(base64.b64decode(data, validate=True))).load()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_the_page_forbids_itself_to_load_or_run_anything(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", rows=[view()], provenance={}, width=40)
    policy = [m["content"] for m in read(tmp_path / "r.html").all("meta") if "http-equiv" in m]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    shown = view(warnings=[EVIL], metrics={f"dice/{EVIL}": 0.9, EVIL.replace("/", ""): 1.0}, name=EVIL, covered=1.0)
    path = tmp_path / "r.html"
    write_report(path, title=EVIL, rows=[shown, shown], provenance={EVIL: EVIL, "commands": [EVIL]}, width=40)
    page = read(path)
    assert not page.all("script")
    assert "<script" not in path.read_text(encoding="utf-8")
    assert page.text.count(EVIL) >= 8


def test_numbers_and_warnings_are_said_in_words(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", rows=[full_view()], provenance={}, width=40)
    text = " ".join(read(tmp_path / "r.html").text.split())
    assert "90.50 → 96.00 → 95.50 %" in text and "8.00 → 4.00 → 2.00 mm" in text and "1.76 s" in text
    assert "missed" in text  # an infinite distance
    assert "generator copied & pasted" in text
    assert "covers only 50%" in text and "0.5 % of the field folds" in text


def test_the_end_is_bold_only_where_it_is_best(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", rows=[full_view()], provenance={}, width=40)
    html = (tmp_path / "r.html").read_text()
    assert '<td class="best">2.00</td>' in html  # landmarks: 8.00, 4.00, 2.00
    assert "<td>95.50</td>" in html and '<td class="best">95.50</td>' not in html  # the rigid step had 96.00


def test_what_the_moving_scan_does_not_cover_is_said_and_dimmed(tmp_path: Path) -> None:
    """A moving scan of 12 of the fixed one's 20 columns, and a field that reads it 4 columns further right."""
    fixed = view().fixed
    short = fixed.grid.cropped((0, 0, 0), (12, *fixed.grid.shape[1:]))
    u = torch.zeros(3, *fixed.grid.shape)
    u[0] = 4.0
    planes = Planes(fixed.grid, None, 200)
    shares = [planes.covered(short, "axial", field).mean() for field in (None, Displacement(u, fixed.grid))]
    assert shares == pytest.approx([12 / 20, 8 / 20], abs=0.02)
    assert planes.covered(short, "axial")[:, 0].all() and not planes.covered(short, "axial")[:, -1].any()
    small = Volume(fixed.data[:, :12], short, name="short")
    one = replace(view(covered=0.4), moving_before=small, displacement=Displacement(u, fixed.grid))
    write_report(tmp_path / "r.html", title="t", rows=[one], provenance={}, width=40)
    text = read(tmp_path / "r.html").text
    assert "covers only 40% of the fixed image" in text and "Dimmed" in text


def test_slices_lie_where_they_say() -> None:
    one = view()  # 20 x 18 x 10 voxels of 3 x 3 x 5 mm, the first at the origin
    found = strips(one, Cuts(Planes(one.fixed.grid, None, 60)))
    assert [s.plane for s in found] == ["axial", "coronal", "sagittal"] and {len(s.pictures) for s in found} == {7}
    places = {s.plane: [place for place, _ in s.pictures] for s in found}
    assert places["axial"][0] == "H 6 mm" and places["sagittal"][0] == "L 7 mm"  # an eighth of 45 and of 57


def test_a_clean_result_says_so(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", rows=[view(metrics={"dice/liver": 0.97})], provenance={}, width=40)
    text = read(tmp_path / "r.html").text
    assert "nothing unusual" in text and "Organs and deformation" not in text


def test_switches_name_their_pictures_once(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="t", rows=[full_view(), full_view()], provenance={}, width=40)
    page = read(tmp_path / "r.html")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {label["for"] for label in page.all("label")} <= set(ids)
    checked = [a for a in page.all("input") if "checked" in a]
    assert len(checked) == 4 and all((a["id"] or "").endswith("-after") for a in checked)


def test_provenance_is_laid_out(tmp_path: Path) -> None:
    provenance = {"weights": {"sha256": "ab12"}, "commands": ["jssr align a", "jssr report a"], "seconds": 1.23456}
    write_report(tmp_path / "r.html", title="t", rows=[view()], provenance=provenance, width=40)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert re.search(r"<dt>weights: sha256</dt><dd>ab12</dd>", html)
    assert "jssr align a<br>jssr report a" in html and "<dd>1.235</dd>" in html


def test_a_flat_pair_has_a_report_too(tmp_path: Path) -> None:
    flat = view((20, 18), displacement=Displacement(torch.zeros(2, 20, 18), Grid.of((20, 18), 3.0)))
    write_report(tmp_path / "r.html", title="t", rows=[flat], provenance={}, width=40)
    page = read(tmp_path / "r.html")
    assert len(page.all("img")) == 3 + 8 + 2
    # Of the patient's sides and of planes it can say nothing; 60 mm wide, its grid's lines lie 2 mm apart.
    told = page.text.partition("aligned to")[2]  # past the styles
    assert not re.search(r"plane|volume|R and L|flat", told) and "2 mm apart" in told
    assert "as the fixed image is stored" in told and "half its area" in told


def test_an_unwritable_place_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError):
        write_report(tmp_path / "file" / "r.html", title="t", rows=[view()], provenance={}, width=40)
    assert (tmp_path / "file").read_text() == "kept"
