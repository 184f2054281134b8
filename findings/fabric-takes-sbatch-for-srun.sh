#!/usr/bin/env bash
# One would guess: in a script of sbatch, without srun, Lightning Fabric sees one process, starts the others itself where it
#   is asked for several devices, and runs one device alone.
# What happens: it takes the script for a task of srun, where sbatch was given a number of tasks. With devices=2 and
#   --ntasks=1 launch() starts no second process: the training runs on one device, and no warning says so. With
#   --ntasks-per-node=2 launch() waits for a second process that nobody starts. With --ntasks=2 and devices=1 it refuses
#   to be made.
# Source: SLURMEnvironment.detect asks whether SLURM_NTASKS is set, and sbatch sets it for the script where it has the
#   option; srun alone sets SLURM_STEP_ID. The constructor asks for SLURM_NTASKS_PER_NODE, set only where it was an option.
# Who is hurt: whoever trains in a script of sbatch without srun, on several devices of one machine, or on one.
# Also seen: precision="16-mixed" on a CPU computes in bfloat16, with a warning only.
# Seen with lightning-fabric 2.6.6 and torch 2.13.0, with the variables that sbatch sets, without Slurm:
#   --ntasks=1, devices=2: SLURMEnvironment, processes started by others: True, world of 1
#   --ntasks-per-node=2, devices=2: SLURMEnvironment, processes started by others: True, world of 2
#   --ntasks=2, devices=1: refused (You set `--ntasks=2` in your SLURM bash script, but this variable is not supported. ...)
#   16-mixed on a CPU: bf16-mixed
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 lightning-fabric==2.6.6
cd "$folder"
export SLURM_JOB_ID=7 SLURM_JOB_NAME=train.sbatch SLURM_NNODES=1 SLURM_NODELIST=localhost
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
venv/bin/python -W ignore - <<'PYTHON'
import os

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

for options, variables, world in (
    ("--ntasks=1", {"SLURM_NTASKS": "1"}, 1),
    ("--ntasks-per-node=2", {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, 2),
):
    os.environ.update(variables)
    made = Fabric(accelerator="cpu", devices=2)
    environment = made.strategy.cluster_environment
    others = environment.creates_processes_externally
    if world == 1:
        made.launch()  # with two it would wait
    told = f"{type(environment).__name__}, processes started by others: {others}, world of {made.world_size}"
    print(f"{options}, devices=2: {told}")
    assert others and made.world_size == world
del os.environ["SLURM_NTASKS_PER_NODE"]
try:
    Fabric(accelerator="cpu", devices=1)
except RuntimeError as error:
    print(f"--ntasks=2, devices=1: refused ({error})")
else:
    raise AssertionError("devices=1 is not refused")
half = Fabric(accelerator="cpu", devices=1, precision="16-mixed", plugins=[LightningEnvironment()])
print(f"16-mixed on a CPU: {half.strategy.precision.precision}")
assert half.strategy.precision.precision == "bf16-mixed"
PYTHON
