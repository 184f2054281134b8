from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.errors import CohortError, GeometryError, ImageError, TrainingError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.recipes.augmentation import Augment
from jssr.recipes.config import Preprocessing, Training
from jssr.training.pairs import PairDataset

WINDOW = (-200.0, 200.0)
SHAPE = (20, 18, 10)
PAIR, BOTH = frozenset({"pair"}), frozenset({"pair", "supervised"})
NAMES = {1: "liver", 2: "spleen", 16: "liver_tumour"}


def _write(folder: Path, name: str, hu: float, labels: bool = True, shape: tuple[int, ...] = SHAPE) -> None:
    """A scan that tells which one it is by its one HU value, a slab of no data at the end and a label of each kind."""
    array = np.full(shape, hu, np.float32)
    array[..., 0] = hu + 20
    array[..., -2:] = -32768
    write_image(volume_of(array, Grid.of(shape, 3.0)), folder / f"{name}.nii.gz", "int16")
    if labels:
        values = np.zeros(shape, np.uint8)
        values[2:6], values[6:8], values[8:12] = 1, 16, 2
        write_image(volume_of(values, Grid.of(shape, 3.0), "labels"), folder / f"{name}_labels.nii.gz")


def _cohort(folder: Path, cases: int = 3, phases: tuple[str, ...] = ("venous", "arterial", "delay")) -> Cohort:
    out = []
    for c in range(cases):
        for p, phase in enumerate(phases):
            _write(folder, f"c{c}_{phase}", -100 + 10 * c + 50 * p)
        out.append(
            Case(
                id=f"c{c}",
                split="validation" if c == cases - 1 and cases > 1 else "train",
                images={p: f"c{c}_{p}.nii.gz" for p in phases},
                labels={p: f"c{c}_{p}_labels.nii.gz" for p in phases},
            )
        )
    cohort = Cohort(
        name="toy", reference_phase=phases[0], cases=out, label_names=NAMES, regions={"liver": ["liver",
        "liver_tumour"]}, root=folder,
    )  # fmt: skip
    cohort.save()
    return cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return _cohort(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return _cohort(tmp_path_factory.mktemp("supervised"), 1, ("venous",))


def _source(cohort: Cohort, supervised: Cohort | None = None, **changes: object) -> PairDataset:
    """A dataset of the liver and the spleen; changes by their key, of preprocessing, training or the dataset."""
    given = {"reference_phase": "venous", "window": WINDOW, "augment": None, **changes}
    structures = given.pop("structures", ["liver", "spleen"])
    models = [{k: given.pop(k) for k in list(given) if k in model.model_fields} for model in (Preprocessing, Training)]
    preprocessing, training = Preprocessing(**models[0]), Training(**models[1])  # type: ignore[arg-type]
    return PairDataset(cohort, supervised, structures, preprocessing, training, **given)  # type: ignore[arg-type]


def _hu(image: torch.Tensor) -> int:
    return round(float(image[0, 0, 5, 5, 3]) * 200)


def test_a_batch_holds_what_the_files_hold(cohort: Cohort) -> None:
    batch = _source(cohort, patch=SHAPE).batch(0, frozenset({"pair", "labels"}))
    assert batch.moving is not None and batch.fixed is not None and batch.moving_mask is not None
    assert batch.moving.shape == batch.moving_mask.shape == (1, 1, *SHAPE) and batch.moving.dtype == torch.float32
    case = (_hu(batch.fixed) + 100) // 10  # the reference phase's HU are -100 + 10 * case
    assert case in (0, 1)
    assert _hu(batch.moving) - _hu(batch.fixed) in (50, 100)
    assert bool((batch.moving_mask[..., :-2] == 1).all()) and bool((batch.moving_mask[..., -2:] == 0).all())
    assert bool((batch.moving[..., -2:] == -1).all())
    assert batch.supervised is None
    assert batch.fixed_labels is not None and batch.fixed_labels.dtype == torch.int64
    # Region: liver and tumour are class 1, spleen is class 2, in the order of `structures`.
    assert batch.fixed_labels[0, 0, :, 0, 0].tolist() == [0] * 2 + [1] * 6 + [2] * 4 + [0] * 8


def test_steps_are_a_function_of_seed_and_step(cohort: Cohort, supervised: Cohort) -> None:
    how = Augment()
    options = {"patch": (16, 16, 16), "batch": 2, "augment": how}
    one = _source(cohort, supervised, **options, seed=3)
    other = _source(cohort, supervised, **options, seed=3, cache_gb=0.0)
    other.batch(7, BOTH)
    steps = [5, 0, 2]
    with ThreadPoolExecutor(3) as pool:
        theirs = list(pool.map(lambda s: other.batch(s, BOTH), steps))
    for step, b in zip(steps, theirs, strict=True):
        a = one.batch(step, BOTH)
        for name in ("moving", "fixed", "moving_mask", "supervised", "supervised_labels"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
    third = _source(cohort, supervised, **options, seed=4).batch(5, BOTH)
    assert not torch.equal(one.batch(5, BOTH).moving, third.moving)  # type: ignore[arg-type]


def test_the_pair_does_not_depend_on_what_else_is_needed(cohort: Cohort, supervised: Cohort) -> None:
    source = _source(cohort, supervised, patch=(16, 16, 16), augment=Augment())
    assert torch.equal(source.batch(4, PAIR).moving, source.batch(4, BOTH).moving)  # type: ignore[arg-type]


def test_every_case_once_a_round_and_all_phases_are_drawn(cohort: Cohort) -> None:
    source = _source(cohort, patch=SHAPE)
    batches = [source.batch(s) for s in range(20)]
    cases = [(_hu(b.fixed) + 100) // 10 for b in batches]  # type: ignore[arg-type]
    assert all(set(cases[i : i + 2]) == {0, 1} for i in range(0, 20, 2))
    assert {_hu(b.moving) - _hu(b.fixed) for b in batches} == {50, 100}  # type: ignore[arg-type]


def test_without_an_anchor_any_scan_is_fixed(cohort: Cohort) -> None:
    source = _source(cohort, reference_phase=None, patch=SHAPE)
    found = {_hu(source.batch(s).moving) - _hu(source.batch(s).fixed) for s in range(40)}  # type: ignore[arg-type]
    assert found == {-100, -50, 50, 100}


def test_scans_are_padded_with_nothing_and_cropped_to_the_patch(cohort: Cohort) -> None:
    batch = _source(cohort, patch=(32, 16, 10)).batch(0)
    assert batch.moving is not None and batch.moving_mask is not None
    assert batch.moving.shape == (1, 1, 32, 16, 10)
    # 20 into 32: six voxels before, six after.
    filled = batch.moving_mask[0, 0, :, 0, 0]
    assert filled.tolist() == [0.0] * 6 + [1.0] * 20 + [0.0] * 6
    assert bool((batch.moving[batch.moving_mask == 0] == -1).all())


def test_no_patch_pads_to_a_multiple_of_sixteen(cohort: Cohort) -> None:
    assert _source(cohort, batch=2).batch(0).moving.shape == (2, 1, 32, 32, 16)  # type: ignore[union-attr]


def test_a_split_is_its_own_cases(cohort: Cohort) -> None:
    source = _source(cohort, split="validation", patch=SHAPE)
    found = {(_hu(b.fixed), _hu(b.moving)) for b in (source.batch(s, frozenset({"labels"})) for s in range(10))}  # type: ignore[arg-type]
    assert found == {(-80, -30), (-80, 20)}


def test_mr_is_read_by_its_scale(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, 1, ("t1", "t2"))
    phases = '{"t1": {"scale": 1000}, "t2": {"scale": null}}'
    (tmp_path / "prepared.json").write_text('{"cases": {"c0": {"phases": ' + phases + "}}}")
    batch = _source(cohort, reference_phase="t1", patch=SHAPE).batch(0)
    assert float(batch.fixed[0, 0, 5, 5, 3]) == pytest.approx(-0.1)  # type: ignore[index]
    assert float(batch.moving[0, 0, 5, 5, 3]) == pytest.approx(-0.25)  # type: ignore[index]


def test_what_is_missing_is_said(cohort: Cohort, supervised: Cohort, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no structure 'lung'; its labels are liver, spleen"):
        _source(cohort, supervised, structures=["lung"])
    with pytest.raises(CohortError, match="no case has a phase"):
        _source(cohort, reference_phase="portal")
    with pytest.raises(TrainingError, match="--supervised"):
        _source(cohort).batch(0, BOTH)
    with pytest.raises(TrainingError, match="split 'test' has two phases"):
        _source(cohort, split="test")
    with pytest.raises(ValueError, match="unknown need"):
        _source(cohort).batch(0, frozenset({"pears"}))
    other = _cohort(tmp_path, 1)
    _write(tmp_path, "c0_arterial", 0.0, shape=(12, 12, 12))
    with pytest.raises(GeometryError, match="run jssr prepare"):
        list(map(_source(other).batch, range(4)))


def _partly(folder: Path, known: tuple[str, ...], cases: int = 6) -> Cohort:
    """Of `cases` cases only those named have a label map of the moving scan too."""
    cohort = _cohort(folder, cases, ("venous", "arterial"))
    for case in cohort.cases:
        case.split = "train"
        if case.id not in known:
            del case.labels["arterial"]
    return cohort


def test_label_maps_of_pairs_come_with_those_that_have_both(tmp_path: Path) -> None:
    source = _source(_partly(tmp_path, ("c1", "c4")), patch=SHAPE, batch=6)
    every = source.batch(0, frozenset({"pair", "labels"}))  # one round: each case once
    assert every.labelled is not None and int(every.labelled.sum()) == 2
    assert every.moving_labels is not None and every.fixed_labels is not None
    for k, known in enumerate(every.labelled.tolist()):
        assert bool(every.moving_labels[k].any()) == bool(every.fixed_labels[k].any()) == known
    taught = source.batch(0, frozenset({"labelled"}))
    assert taught.labelled is not None and bool(taught.labelled.all()) and taught.moving_labels is not None
    assert {(_hu(image[None]) + 100) // 10 for image in taught.fixed} == {1, 4}  # type: ignore[union-attr]
    assert source.batch(0).moving_labels is None


def test_a_share_of_the_label_maps_is_seen_and_a_larger_one_holds_it(tmp_path: Path) -> None:
    cohort = _partly(tmp_path, ("c0", "c1", "c2", "c3", "c4"))
    hidden = [_source(cohort, labelled=share, seed=7).hidden for share in (0.0, 0.4, 0.8, 1.0)]
    assert [len(h) for h in hidden] == [5, 3, 1, 0]
    assert hidden[0] > hidden[1] > hidden[2]
    assert any(_source(cohort, labelled=0.4, seed=seed).hidden != hidden[1] for seed in range(5))


def test_what_a_stage_needs_is_looked_for_before_the_first_step(tmp_path: Path, cohort: Cohort) -> None:
    bare = _partly(tmp_path, ())
    with pytest.raises(TrainingError, match="no training case has them"):
        _source(bare).check(["pair", "labelled"])
    with pytest.raises(TrainingError, match="share 0 .labelled. hides those of 2 cases; --set training.labelled=1"):
        _source(cohort, labelled=0.0).check(["labelled"])
    with pytest.raises(TrainingError, match="--supervised"):
        _source(cohort).check(["supervised"])
    _source(cohort).check(["pair", "labels", "labelled"])
    with pytest.raises(TrainingError, match="names no structures"):
        _source(cohort, structures=[]).check(["labelled"])


def test_each_phase_must_show_something_to_learn(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, 2, ("venous", "arterial"))
    for case in cohort.cases:
        write_image(
            volume_of(np.zeros(SHAPE, np.uint8), Grid.of(SHAPE, 3.0), "labels"), cohort.path(case.labels["arterial"])
        )
    with pytest.raises(TrainingError, match="label maps of phase arterial hold none of the recipe's structures"):
        _source(cohort, split="train").check(["labels"])


def test_how_much_there_is_to_learn_is_told(tmp_path: Path) -> None:
    source = _source(_partly(tmp_path, ("c0", "c1", "c2", "c3", "c4")), labelled=0.05)
    assert source.described(["pair", "labels"]) == (
        "6 training cases; label maps of both scans seen of 1, hidden of 4 more (labelled)"
    )  # a share shows one at least
    assert source.described(["pair"]) == ""


def test_one_phase_is_moved_and_no_case_may_lack_it(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, 2)
    source = _source(cohort, moving="delay", patch=SHAPE)
    assert {_hu(b.moving) - _hu(b.fixed) for b in map(source.batch, range(6))} == {100}  # type: ignore[arg-type]
    del cohort.cases[0].images["delay"], cohort.cases[0].labels["delay"]
    with pytest.raises(TrainingError, match="delay is to be moved onto venous, but case c0 has not both"):
        _source(cohort, moving="delay")
    with pytest.raises(CohortError, match='no case has a phase "portal"'):
        _source(cohort, moving="portal")


def _with_counterparts(folder: Path) -> Cohort:
    """Each scan's counterpart is the scan, 100 HU brighter: wherever it goes, that difference goes along."""
    cohort = _cohort(folder, 2, ("venous", "arterial"))
    for c, case in enumerate(cohort.cases):
        case.split = "train"
        for p, phase in enumerate(case.images):
            _write(folder, f"c{c}_{phase}_paired", 10 * c + 50 * p, labels=False)
            case.paired[phase] = f"c{c}_{phase}_paired.nii.gz"
    return cohort


def test_counterparts_are_cut_and_moved_with_their_scans(tmp_path: Path) -> None:
    cohort = _with_counterparts(tmp_path)
    still = (
        {name: 0.0 for name in Augment.model_fields if name.startswith("p_")}
        | {"p_cut": 1.0}
        | {
            "p_affine": 1.0,
            "p_moving": 1.0,
            "shift": 1.0,
            "moving_shift": 1.0,
        }
    )
    source = _source(cohort, patch=(12, 12, 8), augment=Augment(**still), batch=2)
    batch = source.batch(3, frozenset({"pair", "paired"}))
    for own, like in ((batch.moving, batch.moving_like), (batch.fixed, batch.fixed_like)):
        assert own is not None and like is not None and like.shape == own.shape
        inside = (own > -0.99) & (like > -0.99)
        assert inside.float().mean() > 0.3
        torch.testing.assert_close((like - own)[inside], torch.full_like(own[inside], 0.5), atol=0.02, rtol=0)
    assert source.batch(3).moving_like is None
    del cohort.cases[1].paired["arterial"]
    with pytest.raises(TrainingError, match="case c1 lacks one; jssr prepare --pairs makes them"):
        _source(cohort).check(["paired"])


def test_patches_are_centred_on_the_body_where_asked_for(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, 1, ("venous", "arterial"))
    for phase in ("venous", "arterial"):
        array = np.full(SHAPE, -1000, np.float32)
        array[0:3, 15:, 0:2] = 100  # a body in one corner
        write_image(volume_of(array, Grid.of(SHAPE, 3.0)), tmp_path / f"c0_{phase}.nii.gz", "int16")
    still = Augment(**{name: 0.0 for name in Augment.model_fields if name.startswith("p_")})
    source = _source(cohort, patch=(8, 8, 8), augment=still, in_body=True)
    for step in range(8):
        fixed = source.batch(step).fixed
        assert fixed is not None and fixed.shape[2:] == (8, 8, 8)
        assert float(fixed[0, 0, 4, 4, 4]) > 0  # the middle of each patch lies in it, whatever lies beyond the scan


def test_label_maps_without_any_of_the_structures_are_refused(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, 2)
    for case in cohort.cases:
        case.split = "train"
        for path in case.labels.values():
            write_image(volume_of(np.full(SHAPE, 7, np.uint8), Grid.of(SHAPE, 3.0), "labels"), tmp_path / path)
    with pytest.raises(CohortError, match=r"c0\S+: holds the labels \[7\], which label_names in cohort.json does not"):
        _source(cohort).check(["labelled"])
    cohort.label_names[7] = "femur"
    with pytest.raises(TrainingError, match="label maps of phase arterial hold none of the recipe's structures"):
        _source(cohort).check(["labelled"])
    _source(cohort).check(["pair"])


def test_a_counterpart_has_the_field_of_view_of_its_scan_and_no_other(tmp_path: Path) -> None:
    """The batch's mask is the scan's: a counterpart cut elsewhere would be compared with nothing."""
    cohort = _with_counterparts(tmp_path)
    cuts = Augment(**{name: 0.0 for name in Augment.model_fields if name.startswith("p_")} | {"p_cut": 1.0})
    source = _source(cohort, patch=SHAPE, augment=cuts)
    for step in range(4):
        batch = source.batch(step, frozenset({"pair", "paired"}))
        for mask, like in ((batch.moving_mask, batch.moving_like), (batch.fixed_mask, batch.fixed_like)):
            assert mask is not None and like is not None
            assert bool((like[mask > 0] > -0.99).all())


def test_what_surrounds_a_patch_is_turned_into_it(tmp_path: Path) -> None:
    """A patch from within the body stays full of body, however it is turned."""
    cohort = _cohort(tmp_path, 1, ("venous", "arterial"))
    size = (60, 60, 60)
    for phase in ("venous", "arterial"):
        array = np.full(size, -1000, np.float32)
        array[14:46, 14:46, 14:46] = 100
        write_image(volume_of(array, Grid.of(size, 3.0)), tmp_path / f"c0_{phase}.nii.gz", "int16")
    turns = {name: 0.0 for name in Augment.model_fields if name.startswith("p_")} | {"p_affine": 1.0}
    how = Augment(**turns, rotation=8.0, scale=(1.0, 1.0), shift=2.0)
    source = _source(cohort, patch=(12, 12, 12), augment=how, in_body=True)
    for step in range(6):
        batch = source.batch(step)
        assert batch.fixed_mask is not None and batch.fixed_mask.shape[2:] == (12, 12, 12)
        assert float(batch.fixed_mask.mean()) > 0.97


def test_a_counterpart_of_another_shape_is_refused(tmp_path: Path) -> None:
    cohort = _with_counterparts(tmp_path)
    for c in range(2):
        _write(tmp_path, f"c{c}_venous_paired", 0.0, labels=False, shape=(12, 18, 10))
    with pytest.raises(GeometryError, match="a paired scan of case c. lies on another grid"):
        _source(cohort).batch(0, frozenset({"pair", "paired"}))
    with pytest.raises(GeometryError, match="c0_venous_paired.nii.gz: lies on another grid than the venous scan that"):
        _source(cohort).check({"paired"})


def test_counterparts_are_looked_at_before_the_first_step(tmp_path: Path) -> None:
    cohort = _with_counterparts(tmp_path)
    _source(cohort).check({"paired"})
    away = Grid.of(SHAPE, 3.0, origin=[30.0, 0.0, 0.0])
    write_image(volume_of(np.zeros(SHAPE, np.float32), away), tmp_path / "c1_arterial_paired.nii.gz", "int16")
    with pytest.raises(GeometryError, match="than the arterial scan that it is paired with"):
        _source(cohort).check({"paired"})
    (tmp_path / "c1_arterial_paired.nii.gz").unlink()
    with pytest.raises(ImageError, match="c1_arterial_paired.nii.gz"):
        _source(cohort).check({"paired"})


@pytest.mark.parametrize("patch", [None, (16, 16, 16)])
def test_parts_of_a_batch_are_those_of_the_whole_one(tmp_path: Path, patch: tuple[int, ...] | None) -> None:
    """Cases of three shapes: without a patch each part is padded to the largest scan of the whole batch."""
    cohort = _cohort(tmp_path, 4, ("venous", "arterial"))
    for number, shape in enumerate([(20, 18, 10), (36, 18, 10), (20, 18, 40)]):
        for phase in ("venous", "arterial"):
            _write(tmp_path, f"c{number}_{phase}", -100 + 10 * number, shape=shape)
    source = _source(cohort, cohort, patch=patch, batch=6, augment=Augment(), seed=2)
    for step in range(2):
        whole, parts = source.batch(step, BOTH), [source.batch(step, BOTH, (k, 3)) for k in range(3)]
        assert whole.moving is not None and whole.moving.shape[2:] == (patch or (48, 32, 48))
        for name in ("moving", "fixed", "moving_mask", "supervised", "supervised_labels", "chance"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
        assert whole.chance is not None and len(whole.chance.unique()) == 12


def test_a_part_reads_its_own_scans_alone(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _source(cohort, batch=2, cache_gb=0.0)
    read: list[str] = []
    scan = source.scans.scan
    monkeypatch.setattr(source.scans, "scan", lambda case, *more: read.append(case.id) or scan(case, *more))
    source.batch(0, PAIR, (0, 2))
    first = set(read)
    source.batch(0, PAIR, (1, 2))
    assert len(first) == 1 and first != {read[-1]}
