"""Fetches what the viewer draws with, NiiVue (BSD-2), from npm, when the package is built; so does `python
hatch_build.py` alone. It stays out of the repository and goes into the wheel: no page loads anything from elsewhere."""

from __future__ import annotations

import hashlib
import io
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
VENDOR = Path(__file__).parent / "src" / "jssr" / "viewer" / "static" / "vendor"


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


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run alone
    pass
else:

    class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
        """Runs before the package is built. A wheel must have the viewer; an editable installation may lack it."""

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            try:
                fetch()
            except RuntimeError as error:
                if version != "editable":
                    raise
                self.app.display_warning(f"jssr view will not work: {error}")


if __name__ == "__main__":
    try:
        fetch()
    except RuntimeError as error:
        sys.exit(f"error: {error}")
