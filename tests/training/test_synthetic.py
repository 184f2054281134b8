import numpy as np
import pytest
import torch
from PIL import Image

from jssr.cohorts.prepare import PrepareOptions, prepare
from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.errors import CohortError, TrainingError
from jssr.io.cohort import Cohort
from jssr.io.images import read_image, write_image
from jssr.preprocessing.modality import modality_of
from jssr.recipes.augmentation import Augment, Deform
from jssr.recipes.config import Training
from jssr.recipes.load import load_recipe
from jssr.training.datasets import dataset_of
from jssr.training.synthetic import DeformedPairs


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three patients of 60 x 80 pixels; the first one's second visit is twice as large. Two lungs, no other mask."""
    root = tmp_path_factory.mktemp("rays")
    cases = []
    for k in range(3):
        visits = {"day0": 1} | ({"day4": 2} if k == 0 else {})
        case = {"id": f"p{k}", "split": "train", "images": {}, "labels": {}}
        for day, zoom in visits.items():
            j, i = np.meshgrid(np.arange(60 * zoom) / zoom, np.arange(80 * zoom) / zoom)
            right, left = (((j - c) / 9) ** 2 + ((i - 38) / 20) ** 2 < 1 for c in (18 + k, 42))
            grey = 120 + 60 * np.sin(i / 5) * np.cos(j / 6) - 60 * (right | left)
            Image.fromarray(grey.astype(np.uint8)).save(root / f"p{k}_{day}.png")
            Image.fromarray((right * 1 + left * 2).astype(np.uint8)).save(root / f"p{k}_{day}_mask.png")
            case["images"][day], case["labels"][day] = f"p{k}_{day}.png", f"p{k}_{day}_mask.png"
        cases.append(case)
    names = {"label_names": {1: "right lung", 2: "left lung"}, "regions": {"lungs": ["right lung", "left lung"]}}
    Cohort.model_validate({"name": "rays", "reference_phase": "day0", "cases": cases, **names, "root": root}).save()
    return prepare(Cohort.load(root), root / "prepared", PrepareOptions(1.0, None, workers=1, pixels=64))


def source(cohort, **changes):
    given = {"deform": Deform(), "batch": 2, "seed": 3, **changes}
    other = {key: given.pop(key) for key in ("split", "cache_gb") if key in given}
    return DeformedPairs(cohort, ("lungs",), (-200, 200), Training(**given), **other)


def test_radiographs_are_prepared_onto_one_square_grid(cohort):
    case = cohort.case("p0")
    first, second = (read_image(cohort.path(case.images[d])) for d in ("day0", "day4"))
    assert first.grid.same_as(second.grid) and first.grid.shape == (64, 64)
    assert np.abs(first.array - second.array)[10:50].mean() < 60  # thousandths; the same picture at two sizes
    labels = read_image(cohort.path(case.labels["day4"]), "labels")
    assert sorted(np.unique(labels.array)) == [0, 1, 2]
    assert (first.array == -32768).any()  # beside a picture that is higher than wide


def test_the_field_brings_the_moving_labels_back(cohort):
    """Dice of the masks by `truth`, where the made pairs overlap by less than 0.7 before."""
    batch = source(cohort, augment=None).batch(0)
    assert batch.moving.shape == (2, 1, 64, 64) and batch.truth.shape == (2, 2, 64, 64)

    def dice(a, b):
        return (2 * (a * b).sum(dim=(1, 2, 3)) / (a + b).sum(dim=(1, 2, 3))).tolist()

    moving, fixed = batch.moving_labels.float(), batch.fixed_labels.float()
    assert max(dice(moving, fixed)) < 0.7
    back = ff.warp(moving, batch.truth)
    seen = ff.warp(torch.ones_like(moving), batch.truth, padding="zeros") > 0.99
    assert min(dice(back * seen, fixed * seen)) > 0.93


def test_a_zoomed_image_shows_more_when_it_is_moved(cohort):
    """Pictures of 60 x 80 are 48 wide and 64 high on 64 x 64 pixels. A shift by 10 to 11 along both axes leaves as
    many rows of 48 black, and 2 or 3 columns, beyond the 8 that were black before. At a zoom of 1.5, 72 wide and 96
    high, it leaves no row and 6 or 7 columns."""
    still = {name: 0.0 for name in Augment.model_fields if name.startswith("p_")}
    shift = Deform(pixels=64, p_mild=1.0, mild_shift=(10.0, 11.0), mild_rotation=(0.0, 0.0), mild_bend=(0.0, 0.0))
    seen = []
    for zoom in (1.0, 1.5):
        look = Augment(**still | {"p_affine": 1.0}, rotation=0.0, shift=0.0, scale=(zoom, zoom))
        batch = source(cohort, deform=shift, augment=look).batch(0)
        beyond = (batch.moving_mask == 0).float().sum(dim=(1, 2, 3)) - (batch.fixed_mask == 0).float().sum(
            dim=(1, 2, 3)
        )
        seen.append(beyond.tolist())
        assert ((batch.moving > -1).float() <= batch.moving_mask).all()
    assert all(48 * 9.5 + 53 * 1.5 < b < 48 * 11.5 + 54 * 4 for b in seen[0])
    assert all(64 * 5.5 < b < 64 * 7.5 for b in seen[1])


def test_a_step_decides_its_batch(cohort):
    a, b, c = (source(cohort).batch(step) for step in (4, 4, 5))
    assert torch.equal(a.moving, b.moving) and torch.equal(a.truth, b.truth)
    assert not torch.equal(a.moving, c.moving)
    assert a.moving.min() >= -1 and a.moving.max() <= 1 and bool(a.labelled.all())


def test_what_it_cannot_bring_is_said(cohort, tmp_path):
    with pytest.raises(TrainingError, match="bring no supervised"):
        source(cohort).check({"pair", "supervised"})
    bare = cohort.model_copy(update={"cases": [c.model_copy(update={"labels": {}}) for c in cohort.cases]})
    with pytest.raises(TrainingError, match="no image with a label map"):
        source(bare)


def test_masks_as_pictures_of_radiographs_with_a_spacing(tmp_path):
    """A mask drawn as PNG has no spacing; its image has."""
    grey = np.random.default_rng(0).integers(0, 4000, (30, 40))
    for part, kind in (("images", ".nii.gz"), ("masks", ".png")):
        (tmp_path / part).mkdir()
        values = grey if part == "images" else (grey > 2000)
        grid = Grid.of((40, 30), 0.2 if part == "images" else 1.0)
        volume = volume_of(values.T.astype(np.uint16 if part == "images" else np.uint8), grid, "labels")
        write_image(volume, tmp_path / part / f"a{kind}")
    done = prepare(Cohort.load(tmp_path), tmp_path / "out", PrepareOptions(1.0, None, workers=1, pixels=40))
    labels = read_image(done.path(done.cases[0].labels["radiograph"]), "labels").array
    assert 0.4 < labels.mean() / 0.75 < 0.6  # of a square that the image fills to three quarters


def test_what_was_prepared_for_another_recipe_is_refused(cohort):
    plan = load_recipe("jrsnet-compact")
    with pytest.raises(TrainingError, match="works on 128 pixels"):
        dataset_of(plan, cohort, None, 1.0)
    with pytest.raises(TrainingError, match="holds 2D images"):
        dataset_of(load_recipe("jssr-compact"), cohort, None, 1.0)
    assert isinstance(dataset_of(plan.changed(preprocessing={"pixels": 64}), cohort, None, 1.0), DeformedPairs)
    with pytest.raises(CohortError, match="this recipe is for 3D images"):
        prepare(Cohort.load(cohort.root.parent), cohort.root.parent / "x", PrepareOptions(1.0, dims=(3,), workers=1))


def test_a_shift_below_zero_makes_no_ct_of_a_radiograph():
    grey = torch.rand(1, 20, 20) * 2000 - 1024
    assert modality_of(Volume(grey, Grid.of((20, 20)))) == "radiograph"


def test_parts_of_a_batch_are_those_of_the_whole_one(cohort):
    made = source(cohort, batch=4, augment=Augment())
    whole, parts = made.batch(3), [made.batch(3, part=(k, 2)) for k in range(2)]
    for name in ("moving", "fixed", "moving_labels", "truth", "chance", "labelled"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
