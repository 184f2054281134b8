"""Whether a cohort has what a recipe learns from, told before hours of training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jssr.cohorts.check_report import CheckReport, ScanFacts
from jssr.cohorts.check_use import check_use
from jssr.io.cohort import Case, Cohort


def recipe(
    reference_phase="ct", moving="mr", structures=("liver",), needs=frozenset(), dims=(2, 3), deform=None, labelled=1.0
):
    """What is asked of a recipe."""
    return SimpleNamespace(
        name="mac",
        preprocessing=SimpleNamespace(reference_phase=reference_phase, moving=moving, dims=dims),
        network=SimpleNamespace(structures=structures),
        training=SimpleNamespace(needs=needs, deform=deform, labelled=labelled),
    )


def case(name, phases=("ct", "mr"), labels=("ct", "mr"), split="train", **more):
    return Case(
        id=name,
        split=split,
        images={p: f"{p}.nii" for p in phases},
        labels={p: f"{p}_l.nii" for p in labels if p in phases},
        **more,
    )


def said(tmp_path, cases, names=("liver",), shape=(8, 8, 8), values=(1,), **use):
    cohort = Cohort(name="c", reference_phase="ct", cases=cases, label_names=dict(enumerate(names, 1)), root=tmp_path)
    report = CheckReport("c", len(cases), {})
    report.scans.append(ScanFacts("a", "ct", shape, (1.0,) * len(shape), "LPH", "ct", 0, 1, 1.0, values))
    found = check_use(cohort, recipe(**use), report)
    return [(f.level, f.case, f.what.partition(";")[0].partition(":")[0]) for f in found]


def test_a_cohort_that_fits(tmp_path):
    assert said(tmp_path, [case("a"), case("b")], needs=frozenset({"pair", "labelled"}), dims=(3,)) == []


def test_phases(tmp_path):
    assert said(tmp_path, [case("a")], moving="t1") == [("error", "all", "no case has a phase t1, which mac needs")]
    cases = [case("a"), case("b", ("ct",)), case("c", ("ct", "t2"), split="test")]
    assert said(tmp_path, cases) == [("error", "b", "has no mr")]
    # A recipe that moves anything onto the reference phase uses the cases that have it.
    assert said(tmp_path, cases, moving=None) == []


@pytest.mark.parametrize(("needs", "level"), [("labelled", "error"), ("labels", "warning")])
def test_label_maps_of_both_scans(tmp_path, needs, level):
    told = "no training case has label maps of both scans, from which mac learns"
    cases = [case("a", labels=("ct",)), case("b", labels=()), case("c", split="test")]
    half = [("warning", "all", "training cases with a label map of one scan only")]
    assert said(tmp_path, cases, needs=frozenset({needs})) == [(level, "all", told)]
    assert said(tmp_path, [*cases, case("d")], needs=frozenset({needs})) == half
    assert said(tmp_path, [*cases[1:], case("d")], needs=frozenset({needs})) == []
    assert said(tmp_path, cases, needs=frozenset({"pair"})) == []


def test_values_without_a_name(tmp_path):
    found = said(tmp_path, [case("a")], values=(1, 7), needs=frozenset({"labels"}))
    assert found == [("error", "a", "ct")]
    cohort = Cohort(name="c", reference_phase="ct", cases=[case("a")], label_names={1: "liver"}, root=tmp_path)
    assert cohort.unnamed((0, 7, 1, 3)) == [3, 7]
    assert said(tmp_path, [case("a")], values=(1, 7), needs=frozenset({"pair"})) == []
    others = [case("a", ("ct", "mr", "t1"), ("mr", "t1"))]  # of a phase that the recipe does not read
    assert said(tmp_path, others, values=(7,), needs=frozenset({"labels"}), reference_phase="t1") == []
    assert said(tmp_path, [case("a", split="test"), case("b")], values=(7,), needs=frozenset({"labels"})) == []


def test_structures(tmp_path):
    needs = frozenset({"labels"})
    assert said(tmp_path, [case("a")], structures=("liver", "aorta"), needs=needs) == [
        ("error", "all", "label_names lacks aorta of mac")
    ]
    assert said(tmp_path, [case("a")], names=("femur",), needs=needs) == [
        ("error", "all", "label_names lacks liver of mac")
    ]


def test_nothing_to_learn_from(tmp_path):
    needs = frozenset({"labelled"})
    assert said(tmp_path, [case("a")], needs=needs, labelled=0.0) == [
        ("error", "all", "mac is to see no label map (labelled=0) and learns from them")
    ]
    assert said(tmp_path, [case("a")], needs=needs, structures=()) == [
        ("error", "all", "mac learns from label maps and names no structures")
    ]
    assert said(tmp_path, [case("a")], names=("liver", "fat"), values=(2,), needs=needs) == [
        ("error", "all", "the label maps of phase ct hold none of the structures of mac")
    ]
    assert said(tmp_path, [case("a")], values=(), needs=needs) == [
        ("error", "all", "the label maps of phase ct hold none of the structures of mac")
    ]
    # A phase that is not there is told once, not as label maps that are not there too.
    assert len(said(tmp_path, [case("a")], moving="t1", needs=needs)) == 1


def test_paired_ground_truth(tmp_path):
    cases = [case("a", paired={"ct": "x.nii", "mr": "y.nii"}), case("b", paired={"ct": "x.nii"})]
    assert said(tmp_path, cases, needs=frozenset({"paired"})) == [
        ("warning", "b", "no paired ground truth of mr, from which mac learns")
    ]


def test_kind_of_image(tmp_path):
    assert said(tmp_path, [case("a")], shape=(8, 8), dims=(3,)) == [("error", "all", "holds 2D images")]


def test_pairs_that_are_made_need_one_label_map(tmp_path):
    needs = frozenset({"pair", "labels"})
    alone = {"reference_phase": None, "moving": None, "needs": needs}
    films = [case("a", ("ct",)), case("b", ("ct",))]
    assert said(tmp_path, films, deform="affine", **alone) == []
    assert [level for level, _, _ in said(tmp_path, films, **alone)] == ["warning"]
    bare = [case("a", ("ct",), labels=())]
    assert said(tmp_path, bare, deform="affine", **alone) == [
        ("warning", "all", "no training case has a label map, from which mac learns")
    ]
