"""The Python interface: what the commands do, with objects; and the page of the docs that shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_jssr import ball, ball_labels, tiny_recipe

import jssr
from jssr.api.session import Steps
from jssr.core.notes import collected
from jssr.errors import ImageError, JssrError, OutputError, TransformError, check_options
from jssr.registration.structures import structures_of

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "python.md"


def as_given(volume, how):
    image = volume.nibabel()
    return {"nibabel": image, "sitk": volume.sitk(), "numpy": (image.get_fdata(), image.affine)}[how]


def test_the_page_of_the_docs_runs(cohort, tmp_path, monkeypatch, capfd, few_steps):
    shutil.copytree(cohort / "c0", tmp_path / "patient7")
    shutil.copytree(cohort, tmp_path / "cohort")
    for phase in ("venous", "arterial"):
        shutil.copy(cohort / "c0" / f"{phase}.nii.gz", tmp_path)
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "0GenericAffine.mat"))
    recipe = tiny_recipe(patch=[16, 16, 16], checkpoint_every=0, picture_every=0, monitor_every=0)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(jssr.__file__).parents[1]))
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["moved"].numpy().shape == ball().grid.shape
    np.testing.assert_allclose(names["in_fixed"].xyz[0], [-6, 0, 0], atol=4)  # the ball has moved by 6 mm
    assert len(names["run"].losses) > 0 and names["run"].weights.is_file()
    assert (tmp_path / "evaluation" / "tables.md").is_file()
    printed = capfd.readouterr().out
    assert "nowhere.nii.gz" in printed and "liver" in printed and printed.splitlines()[-1].startswith("0 ")


@pytest.mark.parametrize("how", ["numpy", "nibabel", "sitk"])
def test_register_takes_what_others_hold_and_gives_it_back(how, weights):
    y, x = ball(), ball((6, 0, 0))
    wanted = jssr.register(y, x, checkpoint=weights, rigid=False)
    found = jssr.register(as_given(y, how), as_given(x, how), checkpoint=weights, rigid=False)
    np.testing.assert_allclose(found.moved.numpy(), wanted.moved.numpy(), atol=1e-3)
    np.testing.assert_allclose(found.moved.nibabel().get_fdata(), wanted.moved.numpy(), atol=1e-3)
    assert found.displacement.sitk().TransformPoint((0.0, 0.0, 0.0)) == pytest.approx(
        tuple(wanted.displacement([[0, 0, 0]])[0]), abs=1e-3
    )


def test_no_file_is_written_unless_asked(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    y, x = ball(), ball((6, 0, 0))
    jssr.register(y, x, checkpoint=weights, rigid=False)
    jssr.align({"venous": y, "arterial": x}, checkpoint=weights, rigid=False)
    found = jssr.segment(y, checkpoint=weights)
    jssr.synthesise(x, y, checkpoint=weights, rigid=False)
    jssr.warp(x, np.eye(4), reference=y)
    assert list(tmp_path.iterdir()) == []
    assert found.save(tmp_path / "organs.nrrd") == tmp_path / "organs.nrrd"
    assert {p.name for p in tmp_path.iterdir()} == {"organs.nrrd", "organs.json"}


def test_a_saved_result_is_loaded(weights, tmp_path):
    found = jssr.register(ball(), ball((6, 0, 0)), checkpoint=weights, rigid=False, out=tmp_path / "o", report=False)
    again = jssr.load_result(tmp_path / "o")
    assert again.result["system"] == found.result["system"] and again.registrations == {}
    np.testing.assert_allclose(again.moved.numpy(), found.moved.numpy(), atol=0.6)
    np.testing.assert_allclose(again.displacement([[0, 0, 0]]), found.displacement([[0, 0, 0]]), atol=1e-3)
    np.testing.assert_allclose(again.inverse([[0, 0, 0]]), found.inverse([[0, 0, 0]]), atol=1e-3)
    assert again.fixed_segmentation.kind == again.moved_segmentation.kind == "labels"
    assert again.synthesised.grid.same_as(again.moved.grid)
    with pytest.raises(ImageError, match="fixed: no file of this scan is known: scans given as arrays"):
        _ = again.fixed
    (tmp_path / "o" / "moved.nii.gz").unlink()
    with pytest.raises(JssrError, match="no longer there"):
        _ = jssr.load_result(tmp_path / "o").moved
    with pytest.raises(JssrError, match=r"result\.json"):
        jssr.load_result(tmp_path)


def test_warp_of_points_there_and_back():
    shift = np.eye(4)
    shift[:3, 3] = (6.0, 0.0, 0.0)
    there = jssr.warp(np.array([[0.0, 1, 2]]), shift, to="moving", kind="points")
    np.testing.assert_allclose(there.xyz, [[6, 1, 2]])
    np.testing.assert_allclose(jssr.warp(there, shift, to="fixed").numpy(), [[0, 1, 2]], atol=1e-6)


def test_an_array_is_warped_only_if_its_kind_is_named():
    with pytest.raises(ImageError, match=r"kind='points' for points \(N, 3\), got an array of shape \(1, 3\)"):
        jssr.warp(np.zeros((1, 3)), np.eye(4))


def test_warp_of_label_maps_keeps_their_kind():
    shift = sitk.TranslationTransform(3, (6.0, 0.0, 0.0))
    moved = jssr.warp(ball_labels((6, 0, 0)), shift, reference=ball())
    assert moved.kind == "labels" and (moved.array != ball_labels().array).mean() < 0.005
    with pytest.raises(TransformError, match="--reference"):
        jssr.warp(ball(), shift)
    with pytest.raises(OutputError, match=r"\.csv"):
        jssr.warp(jssr.Points([[0.0, 0, 0]]), shift, out="points.nii.gz")


def test_identity_moves_nothing_and_needs_a_grid(tmp_path):
    same = jssr.warp(ball_labels(), "identity", reference=ball())
    np.testing.assert_array_equal(same.array, ball_labels().array)
    with pytest.raises(TransformError, match="--reference"):
        jssr.warp(ball_labels(), "identity")
    np.testing.assert_array_equal(jssr.convert("identity").matrix, np.eye(4))


def test_a_field_for_a_program_of_matrices_hears_what_to_do(tmp_path):
    bent = np.zeros((*ball().grid.shape, 3))
    bent[3, 3, 3] = 1.0
    field = sitk.GetImageFromArray(bent.transpose(2, 1, 0, 3), isVector=True)
    with pytest.raises(TransformError, match="bends: leave out --to, .*greedy") as caught:
        jssr.convert(field, to="greedy", out=tmp_path / "w.mat")
    assert "w.mat" in str(caught.value)


def test_convert_composes_inverts_and_writes(tmp_path):
    first, second = np.eye(4), np.diag([2.0, 1, 1, 1])
    first[:3, 3] = (1.0, 0.0, 0.0)
    both = jssr.convert([first, second], out=tmp_path / "both.tfm")
    np.testing.assert_allclose(both([[1, 0, 0]]), [[4, 0, 0]])  # the first one first
    np.testing.assert_allclose(jssr.convert(tmp_path / "both.tfm", inverse=True)([[4, 0, 0]]), [[1, 0, 0]], atol=1e-9)
    with pytest.raises(TransformError, match="out="):
        jssr.convert(both, to="flirt")
    jssr.convert(both, to="flirt", fixed=ball(), moving=ball(), out=tmp_path / "f.mat")
    assert np.loadtxt(tmp_path / "f.mat").shape == (4, 4)


def test_what_is_asked_wrongly_is_refused(weights, tmp_path):
    with pytest.raises(TypeError, match="'refin'; did you mean 'refine'"):
        jssr.register(ball(), ball(), refin=3)
    with pytest.raises(JssrError, match="out="):
        jssr.register(ball(), ball(), dicom=True)
    with pytest.raises(TypeError, match="unexpected option"):
        check_options({"a": 1}, ("b",))


def test_progress_is_called_with_done_total_and_words(weights):
    calls = []
    jssr.register(ball(), ball((6, 0, 0)), checkpoint=weights, on_progress=lambda *now: calls.append(now), rigid=False)
    assert [words for _, _, words in calls][:2] == ["read", "load"]
    assert all(0 <= done <= total for done, total, _ in calls)
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    counted = []
    Steps(2, lambda *now: counted.append(now), "cases").end("c0")
    assert counted == [(1, 2, "cases")]


def test_check_and_info_give_data(cohort):
    report = jssr.check(cohort)
    assert report.ok and report.to_dict()["cases"] == 2
    assert jssr.info("jssr").header["system"] == "jssr"


def test_import_is_light():
    code = "import sys, jssr; jssr.__all__; sys.exit('torch' in sys.modules or 'SimpleITK' in sys.modules)"
    source = str(Path(jssr.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}).returncode == 0


def test_every_public_function_is_documented():
    for name in jssr.__all__:
        thing = getattr(jssr, name)
        assert name == "__version__" or (thing.__doc__ and len(thing.__doc__) > 20), name


def test_warp_refuses_what_it_does_not_know():
    with pytest.raises(JssrError, match="to: expected fixed, moving, got 'fxed'"):
        jssr.warp(ball_labels(), np.eye(4), to="fxed", reference=ball())
    with pytest.raises(JssrError, match="kind: expected auto, image, labels, points, got 'label'"):
        jssr.warp(ball_labels(), np.eye(4), kind="label", reference=ball())
    with pytest.raises(JssrError, match="expected labels, got an image"):
        jssr.warp(ball(), np.eye(4), kind="labels", reference=ball())


@pytest.mark.parametrize("how", ["numpy", "nibabel", "sitk"])
def test_warp_knows_labels_in_memory_as_in_files(how):
    shift = sitk.TranslationTransform(3, (1.3, 0.4, 0.0))
    assert jssr.warp(as_given(ball_labels(), how), shift, reference=ball()).kind == "labels"
    assert jssr.warp(as_given(ball(), how), shift, reference=ball()).kind == "image"


def test_convert_takes_one_matrix_by_its_rows_and_no_empty_list():
    matrix = np.diag([2.0, 3, 4, 1])
    np.testing.assert_allclose(jssr.convert(matrix.tolist())([[1, 1, 1]]), [[2, 3, 4]])
    with pytest.raises(TransformError, match="empty list"):
        jssr.convert([])


@pytest.mark.parametrize("phase", ["../../evil", "..", "", "a/b", "a\\b", 3])
def test_phases_that_name_no_folder_are_refused_before_the_work(phase, tmp_path):
    with pytest.raises(JssrError, match="phases that can name a folder"):
        jssr.align({"venous": ball(), phase: ball((6, 0, 0))}, out=tmp_path / "a" / "o")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"structures": {"liver": 5}, "fixed_labels": ball_labels()}, "structures: expected label values"),
        ({"structures": {"liver": ["a"]}}, "structures: expected label values"),
        ({"out": 5}, "expected a path to write to, got 5"),
        ({"out": ""}, "expected a path to write to, got ''"),
        ({"threads": 0}, "threads: expected a whole number from 1, got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(JssrError, match=words):
        jssr.register(ball(), ball((6, 0, 0)), system="rigid", **wrong)


@pytest.mark.parametrize("refine", [float("nan"), "x", 1.5, -1])
def test_refine_is_a_number_of_steps(refine):
    with pytest.raises(ValueError, match="refine must be a number of steps"):
        jssr.register(ball(), ball((6, 0, 0)), refine=refine)


@pytest.mark.parametrize("out", [5, ""])
def test_an_output_is_a_path(out):
    for make in (
        lambda: jssr.warp(ball(), np.eye(4), reference=ball(), out=out),
        lambda: jssr.convert(np.eye(4), out=out),
        lambda: jssr.segment(ball(), out=out),
        lambda: jssr.synthesise(ball(), ball(), out=out),
    ):
        with pytest.raises(OutputError, match="expected a path to write to"):
            make()


def test_warp_keeps_names_of_labels_and_formats_of_points(tmp_path):
    (tmp_path / "names.txt").write_text("1 liver 10 20 30 0\n2 spleen 1 2 3 0\n")
    jssr.write_image(ball_labels(), tmp_path / "l.nii.gz")
    out = tmp_path / "moved.nii.gz"
    jssr.warp(tmp_path / "l.nii.gz", np.eye(4), reference=ball(), label_names=tmp_path / "names.txt", out=out)
    assert json.loads((tmp_path / "moved.json").read_text()) == {"1": "liver", "2": "spleen"}
    with pytest.raises(ImageError, match="bad.txt"):
        (tmp_path / "bad.txt").write_text("liver")
        out = tmp_path / "none.nii.gz"
        jssr.warp(tmp_path / "l.nii.gz", np.eye(4), reference=ball(), label_names=tmp_path / "bad.txt", out=out)
    assert not out.exists()
    shift = np.eye(4)
    shift[:3, 3] = [1.0, 2.0, 3.0]
    head = "# CoordinateSystem = RAS\n# columns = id,x,y,z,label\n"
    (tmp_path / "p.fcsv").write_text(head + "1,-10,-20,30,dome\n")
    jssr.warp(tmp_path / "p.fcsv", shift, to="moving", out=tmp_path / "q.mrk.json")
    found = jssr.read_points(tmp_path / "q.mrk.json")
    np.testing.assert_allclose(found.xyz, [[11.0, 22.0, 33.0]])
    assert found.names == ("dome",)
    for given, name in (("p.fcsv", "x.nii.gz"), ("l.nii.gz", "x.mrk.json")):
        with pytest.raises(OutputError):
            jssr.warp(tmp_path / given, shift, to="moving", reference=ball(), out=tmp_path / name)


def test_names_of_labels_become_structures(tmp_path):
    a, b = (replace(ball_labels(), name=str(tmp_path / f"{n}.nii.gz")) for n in "ab")
    for one in (a, b):
        jssr.write_image(one, one.name)
    (tmp_path / "a.json").write_text('{"1": "liver"}')
    (tmp_path / "b.json").write_text('{"1": "spleen"}')
    with collected() as told:
        assert structures_of(None, a, b) == {"liver": (1,)}
    assert len(told) == 1 and "'liver'" in told[0] and "'spleen'" in told[0]
    (tmp_path / "c.json").write_text('{"7": "heart"}')
    assert structures_of(tmp_path / "c.json", a, b) == {"1": (1,)}
    assert structures_of({"x": [1]}, a, b) == {"x": [1]}


def test_what_of_names_of_labels_counts_for_nothing_is_told(tmp_path):
    (tmp_path / "n.txt").write_text("8 liver 10 20 30 0\n9 spleen 1 2 3 0\n")
    jssr.write_image(ball_labels(), tmp_path / "l.nii.gz")
    with collected() as told:
        jssr.warp(tmp_path / "l.nii.gz", np.eye(4), reference=ball(), label_names=tmp_path / "n.txt")
        structures_of({8: "liver"}, ball_labels(), None)
        structures_of({8: "liver"}, None, None)
    assert ["n.txt" in told[0], "label_names" in told[1], "label_names" in told[2]] == [True] * 3 and len(told) == 3
    value = int(ball_labels().array.max())
    both = replace(ball_labels(), data=ball_labels().data.clone())
    both.data[0, 0, 0, 0] = value + 1
    with collected() as told:
        assert structures_of({value: "a", value + 1: "a"}, both, None) == {"a": (value, value + 1)}
    assert "'a'" in told[0]


def test_warp_tells_a_result_that_nothing_reaches(tmp_path):
    far, near = np.eye(4), np.eye(4)
    far[:3, 3], near[:3, 3] = 1e6, 1.0
    for scan in (ball(), ball_labels()):
        for where, expected in ((far, 1), (near, 0)):
            with collected() as told:
                jssr.warp(scan, where, reference=ball())
            assert sum("0 %" in words for words in told) == expected


def test_nothing_is_written_onto_its_input(tmp_path):
    jssr.write_image(ball(), tmp_path / "a.nii.gz")
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "t.tfm"))
    (tmp_path / "p.csv").write_text("name,x,y,z\na,1,2,3\n")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    link = tmp_path / "." / "a.nii.gz"
    for make in (
        lambda: jssr.warp(tmp_path / "a.nii.gz", np.eye(4), reference=ball(), out=link),
        lambda: jssr.warp(tmp_path / "p.csv", np.eye(4), out=tmp_path / "p.csv"),
        lambda: jssr.convert([tmp_path / "t.tfm", np.eye(4)], out=tmp_path / "t.tfm"),
        lambda: jssr.convert(f"itk:{tmp_path / 't.tfm'}", out=tmp_path / "t.tfm"),
        lambda: jssr.segment(tmp_path / "a.nii.gz", out=link),
    ):
        with pytest.raises(OutputError, match="input"):
            make()
    assert before == {p: p.read_bytes() for p in tmp_path.iterdir()}


def test_values_of_wrong_types_are_refused_in_words(tmp_path):
    for make in (
        lambda: jssr.register(ball(), ball(), refine="x"),
        lambda: jssr.register(ball(), ball(), rigid="no"),
        lambda: jssr.register(ball(), ball(), structures={"a": [1]}, label_names={1: "a"}),
        lambda: jssr.register(ball(), ball(), label_names=[1]),
        lambda: jssr.series(tmp_path, phases={"arterial": 2}),
        lambda: jssr.series(tmp_path, phases=["arterial"]),
        lambda: jssr.series(tmp_path, leave="12"),
        lambda: jssr.align(None),
        lambda: jssr.warp(ball_labels(), np.eye(4), reference=ball(), label_names=5),
        lambda: jssr.warp(ball_labels(), np.eye(4), reference=ball(), label_names={"a": 1}),
        lambda: jssr.convert(np.eye(4), inverse="no"),
    ):
        with pytest.raises(JssrError):
            make()


def test_register_takes_names_of_labels_as_the_command_does(monkeypatch):
    given: dict[str, object] = {}
    monkeypatch.setattr(jssr.registration.pipeline, "register", lambda *_, **options: given.update(options))
    jssr.register(ball(), ball(), label_names={1: "liver"})
    assert given["structures"] == {1: "liver"} and "label_names" not in given
    jssr.register(ball(), ball(), label_names="names.csv")
    assert given["structures"] == "names.csv"
