"""The peak of memory: of this process, forgotten when asked, and of the programs that it ran."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import numpy as np
from jssr.io.provenance import forget_peak, peak_memory_mib
from jssr.io.provenance import run_program
forget_peak()  # what the imports took and gave back
told = [peak_memory_mib()]
np.ones(80 * 2**20)  # 640 MiB
told.append(peak_memory_mib())
forget_peak()
told.append(peak_memory_mib())
run_program([sys.executable, "-c", "import time; held = b'1' * (500 * 2**20); time.sleep(0.5)"])
told.append(peak_memory_mib())
forget_peak()
held = np.ones(80 * 2**20)
told.append(peak_memory_mib())
run_program(["sleep", "0.3"])  # small, called by a large process
told.append(peak_memory_mib())
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
@pytest.mark.parametrize("keeps", [False, True], ids=["plain", "as-the-command-line-keeps-memory"])
def test_the_peak_is_forgotten_when_asked_and_counts_programs(keeps):
    program = ("from jssr.cli.memory import keep_freed_memory\nkeep_freed_memory()\n" if keeps else "") + PROGRAM
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=env)
    out = run.stdout
    start, held, forgotten, program, large, small = json.loads(out)
    # Systems take back pages that lie idle, so that a little less than was asked for is held.
    assert 500 < held - start < 700
    assert forgotten < held - 500
    assert 450 < program - forgotten < 700
    assert 500 < large - forgotten < 700 and small - large < 30
