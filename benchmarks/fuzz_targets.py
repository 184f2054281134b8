"""What `benchmarks/fuzz.py` damages, and the commands that read it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

RIGID = "--system rigid --threads 1"
TINY = "--checkpoint tiny.safetensors --threads 1"
IMAGES = {
    "NIfTI": ("fixed.nii", "moving.nii.gz", "moving_float.nii.gz"),
    "NRRD": ("moving.nrrd", "moving_plain.nrrd", "moving.nhdr", "moving.raw"),
    "MetaImage": ("moving.mha", "moving_plain.mha", "moving_pair.mhd", "moving_pair.raw"),
    "Analyze, NIfTI pairs": ("moving.hdr", "moving.img"),
    "MINC": ("moving.mnc",),
    "pictures": ("moving.png", "moving.jpg", "moving.tif"),
    "DICOM series": ("ct",),
    "DICOM objects": ("enhanced.dcm",),
}
PAIRS = {".nhdr": (".raw",), ".raw": (".nhdr", ".mhd"), ".mhd": (".raw",), ".hdr": (".img",), ".img": (".hdr",)}
TRANSFORMS = (
    "affine.tfm", "affine.mat", "affine.h5", "affine.xfm", "affine.x5", "field.nii.gz", "field.nrrd", "field.mha",
    "field.h5", "field.tfm", "field.x5", "chain.h5", "flirt:flirt.txt", "niftyreg:niftyreg.txt",
    "greedy:greedy.txt", "afni:afni.txt", "elastix.txt", "spline.tfm", "y_spm.nii", "ras.nii.gz", "fnirt.nii.gz",
    "nreg.nii.gz", "linear.dcm", "bent.dcm",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A command, and which of its inputs is damaged.

    Attributes:
        file: the damaged file or folder, as a path in the folder of valid files.
        words: of the command; {f} is the damaged file's argument, OUT a folder for what it writes.
        needs: what else it reads.
    """

    kind: str
    file: str
    words: str
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        words = self.words.split()
        return words[2] if words[0] == "--config" else words[0]


def targets() -> list[Target]:
    return [
        *_of_images(),
        *_of_objects(),
        *_of_labels(),
        *_of_transforms(),
        *_of_texts(),
        *_of_cohorts(),
        *_of_weights(),
    ]


def _of_images() -> list[Target]:
    out = []
    for kind, files in IMAGES.items():
        for file in files:
            stem, ending = Path(file).stem, Path(file).suffix
            pair = tuple(stem + e for e in PAIRS.get(ending, ()))
            header = {".raw": ".mhd" if "pair" in stem else ".nhdr", ".img": ".hdr"}.get(ending)
            argument = stem + header if header else "{f}"
            fixed, system = ("fixed.png", "jrsnet") if kind == "pictures" else ("fixed.nii.gz", "rigid")
            needs = (*pair, fixed)
            out += [
                Target(
                    kind, file, f"register {fixed} {argument} -o OUT/r --system {system} --threads 1 --no-report", needs
                ),
                Target(kind, file, f"register {argument} {fixed} -o OUT/r --system {system} --threads 1", needs),
            ]
            if kind == "pictures":
                continue
            out += [
                Target(kind, file, f"segment {argument} -o OUT/s.nii.gz {TINY}", (*pair, "tiny.safetensors")),
                Target(
                    kind, file, f"warp {argument} --transform field.nii.gz -o OUT/w.nii.gz", (*pair, "field.nii.gz")
                ),
                Target(
                    kind,
                    file,
                    f"warp fixed.nii.gz --transform affine.tfm --reference {argument} -o OUT/w.mha",
                    (*pair, "fixed.nii.gz", "affine.tfm"),
                ),
                Target(kind, file, f"convert affine.tfm --fixed {argument} -o OUT/f.nii.gz", (*pair, "affine.tfm")),
                Target(
                    kind,
                    file,
                    f"synthesise {argument} fixed.nii.gz -o OUT/y.nii.gz {TINY}",
                    (*needs, "tiny.safetensors"),
                ),
            ]
    study = Target("NIfTI", "study/arterial.nii.gz", f"align study -o OUT/a {RIGID} --no-report", ("study",))
    dicom = [
        Target("DICOM series", "dicom_study", "series {f}"),
        Target("DICOM series", "dicom_study", f"align {{f}} -o OUT/a {RIGID} --no-report"),
        Target("DICOM series", "ct", f"register {{f}} ct_fixed -o OUT/r {RIGID} --no-report --dicom", ("ct_fixed",)),
    ]
    return [*out, study, *dicom, *dicom]


def _of_objects() -> list[Target]:
    out = []
    for file in ("seg.dcm", "rs.dcm", "rd.dcm"):
        moved = "affine.tfm", "ct_fixed"
        out += [
            Target("DICOM objects", file, "warp {f} --transform affine.tfm --reference ct_fixed -o OUT/w.dcm", moved),
            Target(
                "DICOM objects",
                file,
                "warp {f} --transform field.nii.gz --reference fixed.nii.gz -o OUT/w.nii.gz",
                ("field.nii.gz", "fixed.nii.gz"),
            ),
        ]
    out.append(
        Target(
            "DICOM objects",
            "rs.dcm",
            "warp {f} --transform affine.tfm --contours points --reference ct_fixed --dose rd.dcm -o OUT/w.dcm",
            ("affine.tfm", "ct_fixed", "rd.dcm"),
        )
    )
    return out


def _of_labels() -> list[Target]:
    pair = ("fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_labels.nii.gz")
    base = f"register fixed.nii.gz moving.nii.gz -o OUT/r {RIGID} --no-report"
    out = []
    for file in ("moving_labels.nii.gz", "moving_labels.nrrd", "moving.seg.nrrd"):
        out += [
            Target("label maps", file, f"{base} --fixed-labels fixed_labels.nii.gz --moving-labels {{f}}", pair),
            Target("label maps", file, f"{base} --moving-mask {{f}}", pair),
            Target(
                "label maps", file, "warp {f} --transform field.nii.gz --kind labels -o OUT/l.nii.gz", ("field.nii.gz",)
            ),
            Target("label maps", file, "warp {f} --transform field.nii.gz -o OUT/l.nrrd", ("field.nii.gz",)),
        ]
    out.append(
        Target(
            "label maps",
            "fixed_labels.nii.gz",
            "phantom OUT/p --from fixed.nii.gz {f} --patients 1 --workers 1 --names names.json",
            ("fixed.nii.gz", "names.json"),
        )
    )
    for file in ("names.json", "names.ctbl", "names.label", "names.csv"):
        out += [
            Target(
                "label names",
                file,
                f"{base} --fixed-labels fixed_labels.nii.gz --moving-labels moving_labels.nii.gz --label-names {{f}}",
                pair,
            ),
            Target(
                "label names",
                file,
                "warp moving_labels.nii.gz --transform field.nii.gz --label-names {f} -o OUT/l.nii.gz",
                ("field.nii.gz", "moving_labels.nii.gz"),
            ),
        ]
    return out


def _of_transforms() -> list[Target]:
    out = []
    for given in TRANSFORMS:
        of, _, file = given.rpartition(":")
        named = f"{of}:{{f}}" if of else "{f}"
        pair = ("fixed.nii.gz", "moving.nii.gz")
        both = "--fixed fixed.nii.gz --moving moving.nii.gz"
        out += [
            Target("transforms", file, f"convert {named} {both} -o OUT/t.nii.gz", pair),
            Target("transforms", file, f"convert {named} {both} -o OUT/t.h5 --inverse", pair),
            Target(
                "transforms",
                file,
                f"warp moving.nii.gz --transform {named} --reference fixed.nii.gz -o OUT/w.nii.gz",
                pair,
            ),
            Target(
                "transforms",
                file,
                f"warp points.csv --transform {named} --reference fixed.nii.gz -o OUT/p.csv",
                (*pair, "points.csv"),
            ),
            Target(
                "transforms", file, f"register {pair[0]} {pair[1]} --initial {named} -o OUT/r {RIGID} --no-report", pair
            ),
        ]
    return out


def _of_texts() -> list[Target]:
    out, pair = [], ("fixed.nii.gz", "moving.nii.gz")
    for file in ("points.csv", "points.mrk.json", "points.fcsv", "points.pts"):
        marks = "--fixed-landmarks {f} --moving-landmarks points.csv"
        out += [
            Target(
                "points",
                file,
                f"register {pair[0]} {pair[1]} {marks} -o OUT/r {RIGID} --no-report",
                (*pair, "points.csv"),
            ),
            Target("points", file, "warp {f} --transform affine.tfm -o OUT/p.csv", ("affine.tfm",)),
            Target("points", file, "warp {f} --transform field.nii.gz --to moving -o OUT/p.fcsv", ("field.nii.gz",)),
        ]
    out += [Target("recipes, defaults", "defaults.toml", f"--config {{f}} register {pair[0]} {pair[1]} -o OUT/r", pair)]
    for file in ("recipe.json", "recipe.toml", "recipe.yaml"):
        out += [
            Target(
                "recipes, defaults",
                file,
                "train {f} --data prepared -o OUT/t --threads 1 --accelerator cpu",
                ("prepared", "recipe.json"),
            ),
            Target(
                "recipes, defaults",
                file,
                "prepare cohort --recipe {f} --workers 1 --no-rigid -o OUT/p",
                ("cohort", "recipe.json"),
            ),
            Target("recipes, defaults", file, "check cohort --recipe {f}", ("cohort", "recipe.json")),
        ]
    for folder, files in (
        ("result", ("result.json", "displacement.nii.gz", "moved.nii.gz")),
        ("aligned", ("result.json", "arterial/result.json")),
        ("evaluation", ("evaluation.json", "results.csv", "cases/rigid/c0.json")),
    ):
        out += [Target("results", f"{folder}/{file}", f"report {folder}", (folder,)) for file in files]
    return out


def _of_cohorts() -> list[Target]:
    cheap, out = "--threads 1 --workers 1", []
    for folder, files in (
        (
            "cohort",
            (
                "cohort.json",
                "c0/arterial.nii.gz",
                "c0/arterial_labels.nii.gz",
                "cohort.json",
                "c0/arterial_landmarks.csv",
            ),
        ),
        ("decathlon", ("dataset.json", "labelsTr/0.nii.gz")),
        ("chests", ("images/0.png", "masks/0.png")),
    ):
        for file in files:
            kind = "cohort files" if file.endswith("t.json") else "files of cohorts"
            out.append(Target(kind, f"{folder}/{file}", f"check {folder}", (folder,)))
            if folder != "chests":
                out.append(
                    Target(
                        kind, f"{folder}/{file}", f"prepare {folder} -o OUT/p --workers 1 --spacing 4 4 4", (folder,)
                    )
                )
            if folder == "cohort":
                out += [
                    Target(kind, f"{folder}/{file}", f"evaluate {folder} -o OUT/e --system rigid {cheap}", (folder,)),
                    Target(
                        kind,
                        f"{folder}/{file}",
                        f"benchmark {folder} -o OUT/b --run tiny.safetensors {cheap}",
                        (folder, "tiny.safetensors"),
                    ),
                    Target(kind, f"{folder}/{file}", f"align {folder}/c0 -o OUT/a {RIGID} --no-report", (folder,)),
                ]
    train = "train recipe.json --data prepared -o OUT/t --threads 1 --accelerator cpu"
    for file in ("cohort.json", "prepared.json", "c1/venous.nii.gz", "c1/venous_labels.nii.gz"):
        out.append(Target("prepared cohorts", f"prepared/{file}", train, ("prepared", "recipe.json")))
    return out


def _of_weights() -> list[Target]:
    out, pair = [], ("fixed.nii.gz", "moving.nii.gz")
    out = [
        Target("weights", "tiny.safetensors", "info {f}"),
        Target(
            "weights", "tiny.safetensors", "segment fixed.nii.gz -o OUT/s.nii.gz --checkpoint {f} --threads 1", pair
        ),
        Target(
            "weights",
            "tiny.safetensors",
            f"register {pair[0]} {pair[1]} -o OUT/r --checkpoint {{f}} --threads 1 --no-report",
            pair,
        ),
        Target(
            "weights",
            "tiny.safetensors",
            "train recipe.json --data prepared -o OUT/t --threads 1 --start-from {f} --accelerator cpu",
            ("prepared", "recipe.json"),
        ),
        Target("weights", "run/weights.safetensors", "info run", ("run",)),
        *(
            Target(
                "weights",
                f"run/{file}",
                "train recipe.json --data prepared -o run --resume --threads 1 --accelerator cpu",
                ("run", "prepared", "recipe.json"),
            )
            for file in ("checkpoint/state.json", "losses.csv")
        ),
    ]
    return out * 2


def chosen(cases: int, only: str | None) -> list[Target]:
    """So many, in turn from each kind and from each of its commands."""
    every = [t for t in targets() if only is None or t.kind == only or t.command == only]
    kinds = defaultdict(list)
    for target in every:
        kinds[target.kind].append(target)
    out: list[Target] = []
    for turn in range(cases):
        for several in kinds.values():
            share = max(1, round(len(several) ** 0.5))
            out += [several[(turn * share + k) % len(several)] for k in range(share)]
        if len(out) >= cases:
            break
    return out[:cases]
