"""Bad input: one clear line on stderr, exit code 1, and outputs as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_jssr import SHAPE, ball, ball_labels, tiny_recipe, tiny_weights
from typer.testing import CliRunner

from jssr.cli import app, main
from jssr.core.grid import Grid
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A good pair, its weights, and a folder `out` that holds an earlier result."""
    root = tmp_path_factory.mktemp("bad")
    tiny_weights(root)
    write_image(ball(), root / "y.nii.gz", np.int16)
    write_image(ball((6, 0, 0)), root / "x.nii.gz", np.int16)
    (root / "out").mkdir()
    (root / "out" / "result.json").write_text("old")
    (root / "out" / "moved.nii.gz").write_bytes(b"old")
    return root


def fails(place, *words, says):
    """Run, and make sure that it fails as promised: one line, no traceback, nothing changed."""
    before = {p: p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 1, result.output
    said = result.stderr.removesuffix("\n")
    assert said.startswith("error: ") and "\n" not in said and "Traceback" not in said, said
    for word in (says,) if isinstance(says, str) else says:
        assert word in said, said
    assert {p: p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()} == before


def register(place, moving, *more, fixed="y.nii.gz"):
    return ("register", place / fixed, place / moving, "-o", place / "out", "--checkpoint",
            place / "tiny.safetensors", "--no-rigid", *more)  # fmt: skip


def test_truncated_file(place):
    whole = (place / "x.nii.gz").read_bytes()
    (place / "short.nii.gz").write_bytes(whole[: len(whole) // 2])
    fails(place, *register(place, "short.nii.gz"), says=("short.nii.gz", "truncated"))


def test_no_image_at_all(place):
    (place / "letter.nii.gz").write_text("Dear colleague,")
    fails(place, *register(place, "letter.nii.gz"), says="letter.nii.gz")
    fails(place, *register(place, "nothing.nii.gz"), says=("nothing.nii.gz", "no such file"))


def test_empty_folder(place):
    (place / "empty").mkdir(exist_ok=True)
    fails(place, *register(place, "empty"), says="empty")
    fails(place, "align", place / "empty", "-o", place / "out", says=("empty", "no scans"))
    fails(place, "check", place / "empty", says=("empty", "cohort.json"))


@pytest.mark.parametrize(
    ("shape", "says"),
    [((20, 20), "two images of one dimension"), ((3, 6, 20, 20), "4D (20 x 20 x 6 x 3); expected 3D")],
)
def test_two_and_four_dimensions(place, shape, says):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=shape).astype(np.float32), isVector=False)
    sitk.WriteImage(image, str(place / "flat.nii.gz"))
    fails(place, *register(place, "flat.nii.gz"), says=("flat.nii.gz", says))


def test_nan_and_constant(place):
    for name, value, says in (("nan", np.nan, "NaN"), ("even", 5.0, "every voxel is 5")):
        array = np.full((12, 12, 12), 5.0, np.float32)
        array[3] = value
        sitk.WriteImage(sitk.GetImageFromArray(array), str(place / f"{name}.nii.gz"))
        fails(place, *register(place, f"{name}.nii.gz"), says=(f"{name}.nii.gz", says))


@pytest.mark.parametrize("spacing", [0.0, -3.0])
def test_spacing_that_is_not_positive(place, spacing):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
    sitk.WriteImage(image, str(place / "sp.nii"))
    raw = bytearray((place / "sp.nii").read_bytes())
    raw[80:84] = np.float32(spacing).tobytes()  # pixdim[1]
    (place / "sp.nii").write_bytes(raw)
    fails(place, *register(place, "sp.nii"), says=("sp.nii", "spacing"))


def test_fields_of_view_that_do_not_meet(place):
    write_image(ball(grid=Grid.of(SHAPE, 4.0, (2000.0, 0.0, 0.0))), place / "far.nii.gz", np.int16)
    fails(place, *register(place, "far.nii.gz"), says=("far.nii.gz", "does not overlap"))


def test_labels_on_another_grid(place):
    write_image(ball_labels(grid=Grid.of((10, 10, 10), 5.0)), place / "other.nii.gz")
    more = ("--fixed-labels", place / "other.nii.gz", "--moving-labels", place / "other.nii.gz")
    fails(place, *register(place, "x.nii.gz", *more), says=("other.nii.gz", "another grid"))


def test_unknown_phase(place):
    study = place / "study"
    study.mkdir(exist_ok=True)
    for name in ("venous", "arterial"):
        (study / f"{name}.nii.gz").write_bytes((place / "x.nii.gz").read_bytes())
    fails(place, "align", study, "-o", place / "out", "--anchor", "venuos", says=('"venuos"', "did you mean 'venous'"))


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"not weights at all, but long enough to be read"])
def test_corrupt_checkpoint(place, content):
    (place / "bad.safetensors").write_bytes(content)
    words = [*register(place, "x.nii.gz")]
    words[words.index(place / "tiny.safetensors")] = place / "bad.safetensors"
    fails(place, *words, says="bad.safetensors")
    fails(place, "info", place / "bad.safetensors", says="bad.safetensors")


def test_damaged_weights(place):
    raw = bytearray((place / "tiny.safetensors").read_bytes())
    raw[-5] ^= 255
    (place / "damaged.safetensors").write_bytes(raw)
    words = ("segment", place / "y.nii.gz", "-o", place / "seg.nii.gz")
    fails(place, *words, "--checkpoint", place / "damaged.safetensors", says=("damaged.safetensors", "checksum"))


def test_checkpoint_of_another_system(place):
    fails(place, *register(place, "x.nii.gz", "--system", "macjnet"), says=("tiny.safetensors", "'jssr'", "'macjnet'"))


def test_no_weights(place):
    fails(place, "register", place / "y.nii.gz", place / "x.nii.gz", "-o", place / "out", "--system", "macjnet",
          says=("no weights ship", "--checkpoint"))  # fmt: skip


@pytest.mark.parametrize(("name", "says"), [("foo", "known: jssr, macjnet"), ("discret", "did you mean 'discrete'?")])
def test_an_unknown_system_is_told_from_one_without_weights(place, name, says):
    fails(place, "register", place / "y.nii.gz", place / "x.nii.gz", "-o", place / "out", "--system", name,
          says=(f"unknown system '{name}'", says))  # fmt: skip


def test_output_below_a_file(place):
    words = [*register(place, "x.nii.gz")]
    words[words.index(place / "out")] = place / "y.nii.gz" / "out"
    fails(place, *words, says="y.nii.gz")
    words[words.index(place / "y.nii.gz" / "out")] = place / "y.nii.gz"
    fails(place, *words, says=("y.nii.gz", "is a file"))


def test_full_disk(place, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jssr.registration.result.write_image", full)
    fails(place, *register(place, "x.nii.gz", "--no-report"), says=("out", "no space left", "unchanged"))


def test_unknown_recipe_key(place):
    (place / "cohort").mkdir(exist_ok=True)
    Cohort(name="c", reference_phase="a", cases=[Case(id="1", images={"a": "a.nii.gz"})], root=place / "cohort").save()
    data = tiny_recipe().model_dump(mode="json")
    data["preprocessing"]["spacin"] = 3
    (place / "recipe.json").write_text(json.dumps(data))
    fails(place, "train", place / "recipe.json", "--data", place / "cohort", "-o", place / "run",
          says=("recipe.json", "preprocessing.spacin'", "did you mean 'spacing'"))  # fmt: skip
    fails(
        place, "train", "jssr-compact", "--data", place / "cohort", "-o", place / "run", "--set", "sed=3", says="'sed'"
    )
    fails(place, "train", "jsr-compact", "--data", place / "cohort", "-o", place / "run", says="'jssr-compact'")


def test_stages_that_need_labels(place):
    (place / "cohort").mkdir(exist_ok=True)
    Cohort(name="c", reference_phase="a", cases=[Case(id="1", images={"a": "a.nii.gz"})], root=place / "cohort").save()
    fails(place, "train", "jssr-compact", "--data", place / "cohort", "-o", place / "run", says="--supervised")


def test_unknown_split_and_phase(place):
    (place / "cohort").mkdir(exist_ok=True)
    Cohort(name="c", reference_phase="a", cases=[Case(id="1", images={"a": "a.nii.gz"})], root=place / "cohort").save()
    more = ("-o", place / "ev", "--checkpoint", place / "tiny.safetensors")
    fails(place, "evaluate", place / "cohort", "--split", "tset", *more, says="unknown split 'tset'")
    fails(place, "evaluate", place / "cohort", *more, says="no case of split 'test'")
    fails(place, "phantom", place / "ph", "--phases", "venous,arteriell", says="arteriell")


def test_report_of_nothing(place):
    fails(place, "report", place / "empty-handed", says=("empty-handed", "result.json"))


def test_the_unexpected_is_one_line_and_exit_3(place, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug\nof two lines")

    monkeypatch.setattr("jssr.api.weights.read_info", broken)
    result = CliRunner().invoke(app, ["info", str(place / "tiny.safetensors")])
    assert result.exit_code == 3
    assert result.stderr == "error: RuntimeError: a bug of two lines (unexpected; `jssr --debug ...` shows where)\n"
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info", str(place / "tiny.safetensors"), "--debug"])


def test_interrupted_is_130(place, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("jssr.registration.pipeline.register", stopped)
    result = CliRunner().invoke(app, [str(w) for w in register(place, "x.nii.gz")])
    assert result.exit_code == 130 and "interrupted" in result.stderr


def test_wrong_usage_is_typers_own(place):
    result = CliRunner().invoke(app, ["register", "--nonsense"])
    assert result.exit_code == 2 and "No such option" in result.output + result.stderr


def test_two_scans_of_one_phase(place, tmp_path):
    for name in ("venous.nii.gz", "venous.nrrd", "arterial.nii.gz"):
        write_image(ball(), tmp_path / name, np.int16)
    fails(place, "align", tmp_path, "-o", place / "out", says=("two scans", "venous"))


def test_a_refused_phantom_leaves_the_cohort(place):
    case = Case(id="a", images={"venous": "a/venous.nii.gz"})
    Cohort(name="kept", reference_phase="venous", cases=[case], root=place / "kept").save()
    for more in (("--slice-thickness", "0"), ("--slice-thickness", "nan"), ("--shape", "1", "8", "8")):
        fails(place, "phantom", place / "kept", "--patients", "1", "--workers", "1", *more, says="got")


def test_an_evaluation_of_other_files_is_not_continued(place, tmp_path):
    names = {1: "liver", 2: "spleen"}
    for root in ("one", "two"):
        case = Case(id="a", split="test", images={p: f"a/{p}.nii.gz" for p in ("venous", "arterial")})
        for phase, x in (("venous", 0.0), ("arterial", 6.0 if root == "one" else 4.0)):
            write_image(ball((x, 0, 0)), tmp_path / root / "a" / f"{phase}.nii.gz", np.int16)
        Cohort(name="balls", reference_phase="venous", cases=[case], label_names=names, root=tmp_path / root).save()
    weights = place / "tiny.safetensors"
    words = ("--checkpoint", str(weights), "--no-rigid", "-o", str(tmp_path / "ev"))
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "one"), *words])
    assert done.exit_code == 0, done.stderr
    fails(place, "evaluate", tmp_path / "two", *words, says="differ in scans")


def test_spacing_of_preparation(place):
    for bad in (("0", "1", "1"), ("nan", "1", "1")):
        fails(place, "prepare", place / "kept", "-o", place / "p", "--spacing", *bad, says="--spacing")
