#!/usr/bin/env bash
# One would guess: in a script of sbatch, without srun, Lightning Fabric sees one process, starts the others itself where it
#   is asked for several devices, and runs one device alone.
# What happens: it takes the script for a task of srun. With devices=2 it says that others start the processes, so that
#   launch() waits for a second one that nobody starts. With devices=1 and --ntasks=2 it refuses to be made.
# Source: SLURMEnvironment.detect asks whether SLURM_NTASKS is set, and sbatch sets it for the script; srun alone sets
#   SLURM_STEP_ID. The constructor asks for SLURM_NTASKS_PER_NODE, which is set only where it was an option.
# Who is hurt: whoever trains in a script of sbatch on one device, or on several of one machine without srun.
# Also seen: precision="16-mixed" on a CPU computes in bfloat16, with a warning only.
# Seen with lightning-fabric 2.6.6 and torch 2.13.0, with the variables that sbatch sets, without Slurm:
#   devices=2: SLURMEnvironment, world of 2, processes started by others: True
#   devices=1: refused (You set `--ntasks=2` in your SLURM bash script, but this variable is not supported. ...)
#   16-mixed on a CPU: bf16-mixed
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 lightning-fabric==2.6.6
cd "$folder"
export SLURM_JOB_ID=7 SLURM_JOB_NAME=train.sbatch SLURM_NTASKS=2 SLURM_NNODES=1 SLURM_NODELIST=localhost
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
venv/bin/python -W ignore - <<'PYTHON'
import os

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

os.environ["SLURM_NTASKS_PER_NODE"] = "2"
made = Fabric(accelerator="cpu", devices=2)
environment = made.strategy.cluster_environment
others = environment.creates_processes_externally
print(f"devices=2: {type(environment).__name__}, world of {made.world_size}, processes started by others: {others}")
assert others and made.world_size == 2
del os.environ["SLURM_NTASKS_PER_NODE"]
try:
    Fabric(accelerator="cpu", devices=1)
except RuntimeError as error:
    print(f"devices=1: refused ({error})")
else:
    raise AssertionError("devices=1 is not refused")
half = Fabric(accelerator="cpu", devices=1, precision="16-mixed", plugins=[LightningEnvironment()])
print(f"16-mixed on a CPU: {half.strategy.precision.precision}")
assert half.strategy.precision.precision == "bf16-mixed"
PYTHON
