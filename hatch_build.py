"""When the package is built, or by `python hatch_build.py` alone: compiles the inner loops (`core/*.c`), and
fetches what the viewer draws with, NiiVue (BSD-2), from npm. Both stay out of the repository and go into the wheel:
nothing is compiled on first use, and no page loads anything from elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@niivue/niivue@0.69.0"
MEMBER = "package/dist/niivue.umd.js"
SHA512 = (
    "37dc9688207bcb81b39afe18628488970cecf5f6b3601941508a51c839aeb63e"
    "e38cc023405fd9bd2e634a01a71616eb6d50e6a73410739f6d914a978d11267f"
)
SOURCE = Path(__file__).parent / "src" / "jssr"
VENDOR = SOURCE / "viewer" / "static" / "vendor"
LOOPS = sorted((SOURCE / "core").glob("*.[ch]"))
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-shared", "-fPIC")
VARIANTS = {"libkernels.so": (), "libkernels-avx2.so": ("-mavx2", "-mfma", "-mf16c", "-mbmi2")}
"""Of any processor, and of those with AVX2, FMA and F16C; `jssr.core.kernels` chooses when it runs."""


def fetch() -> None:
    """Put NiiVue into `VENDOR`, if it is not there.

    Raises:
        RuntimeError: no npm, no such package, or another content than the one that was tested.
    """
    target = VENDOR / "niivue.umd.js"
    if target.is_file() and hashlib.sha512(target.read_bytes()).hexdigest() == SHA512:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([npm, "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True)
        packs = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packs) != 1:
            raise RuntimeError(f"npm pack {PACKAGE} failed: {done.stderr.strip()[-300:]}")
        with tarfile.open(fileobj=io.BytesIO(packs[0].read_bytes())) as archive:
            member = archive.extractfile(MEMBER)
            content = b"" if member is None else member.read()
    if hashlib.sha512(content).hexdigest() != SHA512:
        raise RuntimeError(f"{PACKAGE}: its {MEMBER} is not the one that was tested")
    VENDOR.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def compilers() -> list[list[str]]:
    """C compilers to try: $CC, those that are usual, and Zig's, which `pip install ziglang` brings to any system."""
    named = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
    usual = [[found] for name in ("cc", "gcc", "clang") if (found := shutil.which(name))]
    return [*named, *usual, [sys.executable, "-m", "ziglang", "cc"]]


def build_loops() -> None:
    """Compile the inner loops beside their source, where that is newer.

    Raises:
        RuntimeError: no compiler could.
    """
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in LOOPS)).hexdigest()
    newest = max(file.stat().st_mtime for file in LOOPS)
    intel = platform.machine().lower() in ("x86_64", "amd64")
    for name, flags in VARIANTS.items():
        target = LOOPS[0].with_name(name)
        if (flags and not intel) or (target.is_file() and target.stat().st_mtime >= newest):
            continue
        told = ""
        for compiler in compilers():
            fresh = target.with_suffix(f".{os.getpid()}")  # in one step: a process may be reading the old one
            sources = [str(file) for file in LOOPS if file.suffix == ".c"]
            command = [*compiler, *FLAGS, *flags, f'-DJSSR_SOURCE="{digest}"', "-o", str(fresh), *sources, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                fresh.replace(target)
                break
            fresh.unlink(missing_ok=True)
            told = told or done.stderr.strip()[-300:]
        else:
            raise RuntimeError(f"no C compiler took the loops of core/: {told}")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run alone
    pass
else:

    class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
        """Runs before the package is built. A wheel must have the viewer; an editable installation may lack it. Either
        may lack the compiled loops: torch then does what they do."""

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            try:
                build_loops()
                build_data["pure_python"], build_data["infer_tag"] = False, True
            except RuntimeError as error:
                self.app.display_warning(f"jssr will take several times the time: {error}")
            try:
                fetch()
            except RuntimeError as error:
                if version != "editable":
                    raise
                self.app.display_warning(f"jssr view will not work: {error}")


if __name__ == "__main__":
    problems = []
    for step in (build_loops, fetch):
        try:
            step()
        except RuntimeError as error:
            problems.append(f"error: {error}")
    sys.exit("\n".join(problems) or None)
