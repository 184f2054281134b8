from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jssr
from jssr.core.waiting import waiting

SEEN = """
import sys
from jssr.cli import main
try:
    main(["info"])
except SystemExit:
    pass
import torch
torch.set_num_threads(2)
torch.zeros(2**20).add_(1)
"""


def test_what_the_user_says_holds() -> None:
    assert waiting({"PATH": "/bin"}) == {"OMP_WAIT_POLICY": "passive"}
    for name, value in (("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000"), ("KMP_BLOCKTIME", "200")):
        assert waiting({name: value}) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the library of torch's wheels for Linux")
@pytest.mark.parametrize(("given", "seen"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_the_library_sees_it_in_the_program(given: dict[str, str], seen: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_WAIT", "GOMP_", "KMP_"))}
    source = {"PYTHONPATH": str(Path(jssr.__file__).parents[1]), "OMP_DISPLAY_ENV": "true"}
    done = subprocess.run(
        [sys.executable, "-c", SEEN], env=kept | source | given, capture_output=True, text=True, check=True
    )
    told = [line.split("=")[1].strip(" '") for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    assert told and set(told) == {seen}  # each library of OpenMP in the process tells it
