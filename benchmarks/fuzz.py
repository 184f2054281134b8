"""Commands on damaged files: each ends with a whole result, or with exit code 1, one line and nothing written.

    python benchmarks/fuzz.py [--cases 1000] [--seed 1] [--only KIND] [--kinds] [--keep FOLDER]

Small valid files of every kind (`fuzz_inputs.py`) are damaged one at a time (`fuzz_mutations.py`), by the seed and the
number of the case alone. Each command runs in a forked process (`fuzz_run.py`). The table is printed as Markdown.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_run import Outcome, run  # noqa: E402

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
    "affine.tfm", "affine.mat", "affine.h5", "affine.xfm", "affine.x5", "field.nii.gz", "field.nrrd", "field.mha", "field.h5",
    "field.tfm", "field.x5", "chain.h5", "flirt:flirt.txt", "niftyreg:niftyreg.txt", "greedy:greedy.txt", "afni:afni.txt",
    "elastix.txt", "spline.tfm", "y_spm.nii", "ras.nii.gz", "fnirt.nii.gz", "nreg.nii.gz", "linear.dcm", "bent.dcm",
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
    return [*_of_images(), *_of_objects(), *_of_labels(), *_of_transforms(), *_of_texts(), *_of_cohorts(), *_of_weights()]


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
                Target(kind, file, f"register {fixed} {argument} -o OUT/r --system {system} --threads 1 --no-report", needs),
                Target(kind, file, f"register {argument} {fixed} -o OUT/r --system {system} --threads 1", needs),
            ]
            if kind == "pictures":
                continue
            out += [
                Target(kind, file, f"segment {argument} -o OUT/s.nii.gz {TINY}", (*pair, "tiny.safetensors")),
                Target(kind, file, f"warp {argument} --transform field.nii.gz -o OUT/w.nii.gz", (*pair, "field.nii.gz")),
                Target(kind, file, f"warp fixed.nii.gz --transform affine.tfm --reference {argument} -o OUT/w.mha",
                       (*pair, "fixed.nii.gz", "affine.tfm")),
                Target(kind, file, f"convert affine.tfm --fixed {argument} -o OUT/f.nii.gz", (*pair, "affine.tfm")),
                Target(kind, file, f"synthesise {argument} fixed.nii.gz -o OUT/y.nii.gz {TINY}", (*needs, "tiny.safetensors")),
            ]  # fmt: skip
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
            Target("DICOM objects", file, "warp {f} --transform field.nii.gz --reference fixed.nii.gz -o OUT/w.nii.gz",
                   ("field.nii.gz", "fixed.nii.gz")),
        ]  # fmt: skip
    out.append(Target("DICOM objects", "rs.dcm", "warp {f} --transform affine.tfm --contours points --reference ct_fixed "
                      "--dose rd.dcm -o OUT/w.dcm", ("affine.tfm", "ct_fixed", "rd.dcm")))  # fmt: skip
    return out


def _of_labels() -> list[Target]:
    pair = ("fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_labels.nii.gz")
    base = f"register fixed.nii.gz moving.nii.gz -o OUT/r {RIGID} --no-report"
    out = []
    for file in ("moving_labels.nii.gz", "moving_labels.nrrd", "moving.seg.nrrd"):
        out += [
            Target("label maps", file, f"{base} --fixed-labels fixed_labels.nii.gz --moving-labels {{f}}", pair),
            Target("label maps", file, f"{base} --moving-mask {{f}}", pair),
            Target("label maps", file, "warp {f} --transform field.nii.gz --kind labels -o OUT/l.nii.gz", ("field.nii.gz",)),
            Target("label maps", file, "warp {f} --transform field.nii.gz -o OUT/l.nrrd", ("field.nii.gz",)),
        ]
    out.append(Target("label maps", "fixed_labels.nii.gz", "phantom OUT/p --from fixed.nii.gz {f} --patients 1 --workers 1 "
                      "--names names.json", ("fixed.nii.gz", "names.json")))  # fmt: skip
    for file in ("names.json", "names.ctbl", "names.label", "names.csv"):
        out += [
            Target("label names", file, f"{base} --fixed-labels fixed_labels.nii.gz --moving-labels moving_labels.nii.gz "
                   "--label-names {f}", pair),
            Target("label names", file, "warp moving_labels.nii.gz --transform field.nii.gz --label-names {f} -o OUT/l.nii.gz",
                   ("field.nii.gz", "moving_labels.nii.gz")),
        ]  # fmt: skip
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
            Target("transforms", file, f"warp moving.nii.gz --transform {named} --reference fixed.nii.gz -o OUT/w.nii.gz", pair),
            Target("transforms", file, f"warp points.csv --transform {named} --reference fixed.nii.gz -o OUT/p.csv",
                   (*pair, "points.csv")),
            Target("transforms", file, f"register {pair[0]} {pair[1]} --initial {named} -o OUT/r {RIGID} --no-report", pair),
        ]  # fmt: skip
    return out


def _of_texts() -> list[Target]:
    out, pair = [], ("fixed.nii.gz", "moving.nii.gz")
    for file in ("points.csv", "points.mrk.json", "points.fcsv", "points.pts"):
        marks = "--fixed-landmarks {f} --moving-landmarks points.csv"
        out += [
            Target("points", file, f"register {pair[0]} {pair[1]} {marks} -o OUT/r {RIGID} --no-report", (*pair, "points.csv")),
            Target("points", file, "warp {f} --transform affine.tfm -o OUT/p.csv", ("affine.tfm",)),
            Target("points", file, "warp {f} --transform field.nii.gz --to moving -o OUT/p.fcsv", ("field.nii.gz",)),
        ]
    out += [Target("recipes, defaults", "defaults.toml", f"--config {{f}} register {pair[0]} {pair[1]} -o OUT/r", pair)]
    for file in ("recipe.json", "recipe.toml", "recipe.yaml"):
        out += [
            Target("recipes, defaults", file, "train {f} --data prepared -o OUT/t --threads 1 --accelerator cpu",
                   ("prepared", "recipe.json")),
            Target("recipes, defaults", file, "prepare cohort --recipe {f} --workers 1 --no-rigid -o OUT/p",
                   ("cohort", "recipe.json")),
            Target("recipes, defaults", file, "check cohort --recipe {f}", ("cohort", "recipe.json")),
        ]  # fmt: skip
    for folder, files in (("result", ("result.json", "displacement.nii.gz", "moved.nii.gz")),
                          ("aligned", ("result.json", "arterial/result.json")),
                          ("evaluation", ("evaluation.json", "results.csv", "cases/rigid/c0.json"))):  # fmt: skip
        out += [Target("results", f"{folder}/{file}", f"report {folder}", (folder,)) for file in files]
    return out


def _of_cohorts() -> list[Target]:
    cheap, out = "--threads 1 --workers 1", []
    for folder, files in (("cohort", ("cohort.json", "c0/arterial.nii.gz", "c0/arterial_labels.nii.gz", "cohort.json",
                                      "c0/arterial_landmarks.csv")),
                          ("decathlon", ("dataset.json", "labelsTr/0.nii.gz")),
                          ("chests", ("images/0.png", "masks/0.png"))):  # fmt: skip
        for file in files:
            kind = "cohort files" if file.endswith("t.json") else f"files of cohorts"
            out.append(Target(kind, f"{folder}/{file}", f"check {folder}", (folder,)))
            if folder != "chests":
                out.append(Target(kind, f"{folder}/{file}", f"prepare {folder} -o OUT/p --workers 1 --spacing 4 4 4", (folder,)))
            if folder == "cohort":
                out += [
                    Target(kind, f"{folder}/{file}", f"evaluate {folder} -o OUT/e --system rigid {cheap}", (folder,)),
                    Target(kind, f"{folder}/{file}", f"benchmark {folder} -o OUT/b --run tiny.safetensors {cheap}",
                           (folder, "tiny.safetensors")),
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
        Target("weights", "tiny.safetensors", "segment fixed.nii.gz -o OUT/s.nii.gz --checkpoint {f} --threads 1", pair),
        Target("weights", "tiny.safetensors", f"register {pair[0]} {pair[1]} -o OUT/r --checkpoint {{f}} --threads 1 --no-report",
               pair),
        Target("weights", "tiny.safetensors", "train recipe.json --data prepared -o OUT/t --threads 1 --start-from {f} "
               "--accelerator cpu", ("prepared", "recipe.json")),
        Target("weights", "run/weights.safetensors", "info run", ("run",)),
        *(Target("weights", f"run/{file}", f"train recipe.json --data prepared -o run --resume --threads 1 --accelerator cpu", ("run", "prepared", "recipe.json"))
          for file in ("checkpoint/state.json", "losses.csv")),
    ]  # fmt: skip
    return out * 2


PRELOADED = (
    "torch", "SimpleITK", "nibabel", "pydicom", "highdicom", "h5py", "scipy.ndimage", "scipy.optimize", "matplotlib.pyplot",
    "lightning_fabric", "omegaconf", "yaml", "jssr", "jssr.api.scans", "jssr.api.transforms", "jssr.api.objects", "jssr.api.learning",
    "jssr.api.evaluation", "jssr.api.cohorts", "jssr.api.phantoms", "jssr.api.results", "jssr.cli.tables", "jssr.training.loop",
    "jssr.evaluation.runner", "jssr.registration.pipeline", "jssr.io.dicom.read", "jssr.io.dicom.objects", "rich.markdown",
    "jssr.registration.dicom", "jssr.report.view", "jssr.systems.jssr", "jssr.systems.rigid", "jssr.systems.discrete",
)  # fmt: skip


def preload() -> None:
    """Import all that commands import, once, without any thread: what is forked afterwards starts at once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"
    os.environ["MPLBACKEND"] = "agg"
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            print("not imported:", name)
    import torch

    torch.set_num_threads(1)
    from jssr.evaluation import runner

    def here(job, items, workers, apart=False):
        for item in items:
            yield item, job(item)

    runner.in_processes = here  # a process of its own for each method takes seconds to begin


def inputs(home: Path) -> None:
    """Make the valid files, in a process of their own: it uses threads, which no fork may inherit."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            from fuzz_inputs import make

            make(home)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the valid files could not be made")


def one(number: int, seed: int, target: Target, good: Path, place: Path, whole: bool = False) -> tuple[Outcome, str]:
    """Run one case; `whole` leaves its file as it is.

    Returns:
        How it ended, and what was done to which file.
    """
    from fuzz_mutations import damage

    random = np.random.default_rng([seed, number])
    shutil.rmtree(place, ignore_errors=True)
    folder, out, log = (place / name for name in ("in", "out", "log"))
    for made in (folder, out, log):
        made.mkdir(parents=True)
    for name in {Path(target.file).parts[0], *target.needs}:
        source = good / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copy(source, folder / name)
    file, told = folder / target.file, "whole"
    if not whole:
        others = sorted(p for p in good.iterdir() if p.is_file())
        file, told = damage(file, others, random)
    words = target.words.format(f=file.relative_to(folder)).replace("OUT", str(out)).split()
    return run(words, folder, out, log, target.command), f"{target.file}: {told}"


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


def table(rows: Sequence[tuple[Target, Outcome]]) -> str:
    """Kind and command against how the cases ended, as Markdown."""
    out = ["| damaged | command | cases | refused | read | faults |", "| --- | --- | --- | --- | --- | --- |"]
    count: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for target, outcome in rows:
        for key in ((target.kind, target.command), ("all", "")):
            count[key]["faults" if outcome.fault else outcome.end] += 1
            count[key]["cases"] += 1
    for (kind, command), found in count.items():
        if kind != "all":
            out.append(_row(kind, command, found))
    return "\n".join([*sorted(out[2:]), _row("all", "", count["all", ""])][:0] + out[:2] + sorted(out[2:]) + [_row("all", "", count["all", ""])])


def _row(kind: str, command: str, found: Counter[str]) -> str:
    return f"| {kind} | {command} | {found['cases']} | {found['refused']} | {found['read']} | {found['faults']} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", help="one kind, or one command")
    options.add_argument("--whole", action="store_true", help="each target once, undamaged")
    options.add_argument("--first", type=int, default=0, help="number of the first case")
    options.add_argument("--good", type=Path, help="folder of valid files; made where it is not there")
    given = options.parse_args()
    preload()
    rows = []
    with tempfile.TemporaryDirectory(prefix="jssr-fuzz-") as temporary:
        good = given.good or Path(temporary) / "good"
        if not good.exists():
            inputs(good)
        start = time.perf_counter()
        picked = targets() if given.whole else chosen(given.cases, given.only)
        for number, target in enumerate(picked):
            if number < given.first:
                continue
            outcome, told = one(number, given.seed, target, good, Path(temporary) / "case", given.whole)
            rows.append((target, outcome))
            if outcome.fault or outcome.seconds > 10 or (given.whole and outcome.end != "read"):
                print(f"{number} {outcome.end.upper()} {outcome.code} {outcome.seconds:.1f}s {target.kind} [{told}] {target.words}")
                print("    " + outcome.said[-420:].replace("\n", "\n    "), flush=True)
        print(table(rows))
        print(f"{len(rows)} cases in {time.perf_counter() - start:.0f} s; the longest {max(o.seconds for _, o in rows):.1f} s")


if __name__ == "__main__":
    main()
