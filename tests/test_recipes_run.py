"""One recipe of each system through the command line: a step of every stage on prepared scans, then its use."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_jssr import ball, ball_labels
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.recipes.load import load_recipe
from jssr.registration.model import load_model
from jssr.report.tables import read_csv

PROJECTS = Path(__file__).parents[1] / "projects"
RECIPES = {
    "jssr-compact": [],
    f"{PROJECTS}/jssr/voxelmorph.py": [],
    f"{PROJECTS}/jssr/lapirn_mind.py": [],
    f"{PROJECTS}/jssr/pix2pix.py": [],
    f"{PROJECTS}/jssr/vnet.py": [],
    f"{PROJECTS}/macjnet/mi.py": [],
    "macjnet-compact": ["training.labelled=0.5"],
    "dual-compact": ["training.patch=[60,60,60]"],
    "dual-volume-compact": [],
}


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + result.stderr
    return result.output


PHASES = ("preprocessing.reference_phase=venous", "preprocessing.moving=arterial")
TWO_ORGANS = ('network.structures=["liver","spleen"]', "inference.one_piece=[]")
GRID = ("preprocessing.spacing=[4,4,4]", "training.patch=[32,32,32]")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, two phases, label maps and counterparts; one patient more than the other."""
    root = tmp_path_factory.mktemp("raw")
    cases = []
    for number, shift in enumerate((6.0, -4.0)):
        names = {phase: f"c{number}/{phase}" for phase in ("venous", "arterial")}
        for stem, x in zip(names.values(), (0.0, shift), strict=True):
            for part in ("", "_paired"):
                write_image(ball((x, number, 0)), root / f"{stem}{part}.nii.gz", np.int16)
            write_image(ball_labels((x, number, 0)), root / f"{stem}_labels.nii.gz")
        parts = ({p: f"{stem}{part}.nii.gz" for p, stem in names.items()} for part in ("", "_labels", "_paired"))
        images, labels, paired = parts
        cases.append(Case(id=f"c{number}", split="train", images=images, labels=labels, paired=paired))
    Cohort(name="balls", reference_phase="venous", cases=cases, label_names={1: "liver", 2: "spleen"}, root=root).save()
    out = tmp_path_factory.mktemp("prepared")
    run("prepare", root, "-o", out, "--spacing", 4, 4, 4, "--no-rigid", "--workers", 1)
    return out


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_every_stage_and_then_its_use(name: str, prepared: Path, tmp_path: Path) -> None:
    plan = load_recipe(name)
    words = ["preprocessing.reference_phase=venous", *GRID, *RECIPES[name]]
    words += [f"training.stages.{stage.name}.steps=1" for stage in plan.training.stages]
    words += list(TWO_ORGANS) if plan.network.structures else []
    words += ["preprocessing.moving=arterial"] if plan.preprocessing.moving else []
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    run(
        "train",
        name,
        "--data",
        prepared,
        "--supervised",
        prepared,
        "-o",
        tmp_path / "run",
        "--accelerator",
        "cpu",
        *given,
    )
    assert len((tmp_path / "run" / "losses.csv").read_text().splitlines()) >= 2
    fixed, moving = (prepared / "c0" / f"{phase}.nii.gz" for phase in ("venous", "arterial"))
    weights = tmp_path / "run" / "weights.safetensors"
    weights = f"{name}:{weights}" if plan.network.project else weights
    if "Phi" in "".join(plan.network.networks) or plan.network.system == "dual":
        run("register", fixed, moving, "-o", tmp_path / "out", "--checkpoint", weights, "--no-rigid", "--no-report")
        assert read_image(tmp_path / "out" / "moved.nii.gz").grid.same_as(read_image(fixed).grid)
    if plan.network.structures:
        for side in [[], ["--moving"]]:
            code = 1 if side and plan.network.system != "macjnet" else 0  # the others' one segmentor takes no sides
            run("segment", moving, "-o", tmp_path / "organs.nii.gz", "--checkpoint", weights, *side, code=code)
            assert set(np.unique(read_image(tmp_path / "organs.nii.gz", "labels").array)) <= {0, 1, 2}


def test_a_segmentors_rows_tell_recall_and_distances(prepared: Path, tmp_path: Path) -> None:
    """macJNet's table 8: what `evaluate` measures of a segmentor, of either modality."""
    words = [*PHASES, *GRID, *TWO_ORGANS]
    words += [f"training.stages.{s.name}.steps=1" for s in load_recipe("macjnet-compact").training.stages]
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    run("train", "macjnet-compact", "--data", prepared, "-o", tmp_path / "run", "--accelerator", "cpu", *given)
    run("evaluate", prepared, "--split", "all", "--checkpoint", tmp_path / "run", "-o", tmp_path / "ev", "--no-rigid")
    rows = [r for r in read_csv(tmp_path / "ev" / "results.csv") if r.method == "segmentor"]
    assert {r.phase for r in rows} == {"venous", "arterial"}
    for metric in ("dice", "recall", "precision", "rvd", "voe", "hd95"):
        assert f"{metric}/liver" in rows[0].values
    # Labels of one scan are enough for its row; what is moved needs both.
    shutil.copytree(prepared, tmp_path / "half")
    half = Cohort.load(tmp_path / "half")
    for case in half.cases:
        del case.labels["venous"]
    half.save()
    run(
        "evaluate",
        tmp_path / "half",
        "--split",
        "all",
        "--checkpoint",
        tmp_path / "run",
        "-o",
        tmp_path / "e2",
        "--no-rigid",
    )
    found = read_csv(tmp_path / "e2" / "results.csv")
    one = {(r.case, r.phase): r for r in found if r.method == "segmentor"}
    assert {phase for _, phase in one} == {"arterial"}
    for row in (r for r in rows if r.phase == "arterial"):
        assert dict(one[row.case, row.phase].values) == pytest.approx(dict(row.values), nan_ok=True)


def test_segmentors_alone_are_watched_drawn_and_measured(prepared: Path, tmp_path: Path) -> None:
    """The other half of that table: nothing to register, and the monitor and the pictures know it."""
    words = [*PHASES, *GRID, *TWO_ORGANS]
    words += [
        "training.stages.segment.steps=2",
        "training.monitor_every=1",
        "training.picture_every=1",
        "training.labelled=1.0",
    ]
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    run(
        "train",
        f"{PROJECTS}/macjnet/segmentors.py",
        "--data",
        prepared,
        "-o",
        tmp_path / "run",
        "--accelerator",
        "cpu",
        *given,
    )
    run("evaluate", prepared, "--split", "all", "--checkpoint", tmp_path / "run", "-o", tmp_path / "ev", "--no-rigid")
    rows = read_csv(tmp_path / "ev" / "results.csv")
    assert {(r.method, r.phase) for r in rows} == {("segmentor", "venous"), ("segmentor", "arterial")}
    assert "Recall" in (tmp_path / "ev" / "tables.md").read_text()


def test_a_checkpoint_of_two_modalities_keeps_their_roles(prepared: Path, tmp_path: Path) -> None:
    cohort = Cohort.load(prepared)
    words = [
        "preprocessing.reference_phase=arterial",
        "preprocessing.moving=venous",
        *GRID,
        "training.stages.begin.steps=0",
        "training.stages.align.steps=1",
    ]
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    run("train", "dual-volume-compact", "--data", prepared, "-o", tmp_path / "run", "--accelerator", "cpu", *given)
    run("evaluate", prepared, "--split", "all", "--checkpoint", tmp_path / "run", "-o", tmp_path / "ev", "--no-rigid")
    assert cohort.reference_phase == "venous"  # and yet what was trained to stay stays
    told = load_model(checkpoint=tmp_path / "run")
    assert told.header["data"]["pairs"]["modalities"] == {"venous": "ct", "arterial": "ct"}
    ct = read_image(prepared / "c0" / "venous.nii.gz")
    mr = ct.with_data(ct.data.clamp(min=0) + 1)
    assert told.exchanged("ct", "ct") == () and set(told.modalities.values()) == {"ct"}
    (warning,) = told.exchanged("ct", "mr")
    assert "trained to move ct onto ct; these scans are mr, to be moved onto ct" in warning
    assert told.doubt(ct) == "" and "venous.nii.gz looks like mr" in told.doubt(mr)
    two = replace(told, header={"data": {"pairs": {"modalities": {"venous": "mr", "arterial": "ct"}}}})
    assert two.doubt(ct) == "" == two.doubt(mr, moving=True)
    assert told.doubt(mr).endswith("looks like mr") and two.doubt(mr).endswith("--moving takes the other segmentor")
    assert two.doubt(ct, moving=True).endswith("leave out --moving")
    shipped = load_model("jssr")
    assert shipped.doubt(ct) == "" and "was trained on ct" in shipped.doubt(mr)
    assert {r.phase for r in read_csv(tmp_path / "ev" / "results.csv")} == {"venous"}


def test_joint_training_goes_on_where_a_pair_teaches_a_player_nothing(prepared: Path, tmp_path: Path) -> None:
    words = [*PHASES, *GRID, *TWO_ORGANS]
    words += [f"training.stages.{name}.steps=0" for name in ("coarse", "middle", "fine", "segment")]
    words += ["training.stages.joint.steps=4", "training.stages.joint.weights.cons=0", "training.labelled=0.5"]
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    run("train", "macjnet-compact", "--data", prepared, "-o", tmp_path / "run", "--accelerator", "cpu", *given)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two visits of one patient, as PNG of different size, with masks of the lungs; prepared as jrsnet-compact does."""
    root = tmp_path_factory.mktemp("rays")
    images, labels = {}, {}
    for visit, zoom in (("day0", 1), ("day5", 2)):
        j, i = np.meshgrid(np.arange(60 * zoom) / zoom, np.arange(80 * zoom) / zoom)
        lungs = sum(((j - c - zoom) / 9) ** 2 + ((i - 38) / 20) ** 2 < 1 for c in (18, 42)) > 0
        grey = (120 + 60 * np.sin(i / 5) * np.cos(j / 6) - 60 * lungs).astype(np.uint8)
        for name, values in ((f"{visit}.png", grey), (f"{visit}_lungs.png", lungs.astype(np.uint8))):
            write_image(volume_of(values.T, Grid.of(values.T.shape), "labels"), root / name)
        images[visit], labels[visit] = f"{visit}.png", f"{visit}_lungs.png"
    case = Case(id="p0", split="train", images=images, labels=labels)
    Cohort(name="rays", reference_phase="day0", cases=[case], label_names={1: "lungs"}, root=root).save()
    run("check", root)
    run("prepare", root, "-o", root / "prepared", "--recipe", "jrsnet-compact", "--workers", 1)
    return root


@pytest.mark.parametrize("name", ["jrsnet-compact", f"{PROJECTS}/jrsnet/dirnet.py", f"{PROJECTS}/jrsnet/flownet.py"])
def test_radiographs_from_pictures_to_pictures(name: str, radiographs: Path, tmp_path: Path, here: None) -> None:
    plan = load_recipe(name)
    words = [f"training.stages.{stage.name}.steps=2" for stage in plan.training.stages] + [
        "training.batch=2",
        "training.monitor_every=1",
    ]
    words += ["training.picture_every=1"] + (["network.options.vgg16=null"] if plan.network.system == "jrsnet" else [])
    words += ["network.networks.G.width=4", "network.networks.F.width=4"] if plan.network.system == "jrsnet" else []
    given = [word for pair in zip(["--set"] * len(words), words, strict=True) for word in pair]
    data, out = radiographs / "prepared", tmp_path / "run"
    run("train", name, "--data", data, "-o", out, "--accelerator", "cpu", *given)
    weights = ["--checkpoint", f"{name}:{out}" if plan.network.project else out]
    fixed, moving = radiographs / "day0.png", radiographs / "day5.png"
    known = ["--fixed-labels", radiographs / "day0_lungs.png", "--moving-labels", radiographs / "day5_lungs.png"]
    run("register", fixed, moving, "-o", tmp_path / "out", *weights, *known, "--no-report")
    assert read_image(tmp_path / "out" / "moved.nii.gz").grid.same_as(read_image(fixed).grid)
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    field = ["--transform", tmp_path / "out" / "displacement.nii.gz"]
    run("warp", radiographs / "day5_lungs.png", *field, "-o", tmp_path / "moved_lungs.png")
    assert set(np.unique(read_image(tmp_path / "moved_lungs.png", "labels").array)) <= {0, 1}
    (tmp_path / "marks.csv").write_text("name,x,y\na,20,30\n")
    run("warp", tmp_path / "marks.csv", *field, "--to", "moving", "-o", tmp_path / "moved.csv")
    assert len((tmp_path / "moved.csv").read_text().splitlines()) == 2
    assert told["reads_fixed_labels"] == (plan.network.system == "jrsnet")
    if plan.network.system == "jrsnet":
        run("benchmark", radiographs, "--split", "all", "-o", tmp_path / "bm", "--run", out, "--tool", "discrete")
        rows = {r.method: r.values for r in read_csv(tmp_path / "bm" / "results.csv")}
        assert rows["initial"]["dice/lungs"] == rows["rigid"]["dice/lungs"] > 0.8
        run("segment", moving, "-o", tmp_path / "lungs.png", *weights)
        assert read_image(tmp_path / "lungs.png", "labels").grid.shape == (120, 160)
