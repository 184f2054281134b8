from __future__ import annotations

import pytest

from jssr.core.launched import Launched, launched
from jssr.errors import TrainingError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SRUN = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_PROCID": "3"}


def test_who_started_it_and_which_it_is() -> None:
    assert launched({}) is None
    assert launched(TORCHRUN) == Launched("torchrun", 5, 8, 4)
    assert launched(SRUN) == Launched("srun", 3, 4, 2)
    assert launched(SRUN | TORCHRUN) == Launched("torchrun", 5, 8, 4)
    assert launched({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}) == Launched("fabric", 1, 2)
    assert [Launched("srun", 3, 4, 2).nodes, Launched("fabric", 1, 2).nodes] == [2, 1]


def test_a_program_in_a_script_of_sbatch_runs_once() -> None:
    assert launched(BATCH) is None


def test_a_step_of_fewer_tasks_than_the_job() -> None:
    step = {**SRUN, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "1"}
    assert launched(step) == Launched("srun", 1, 2, 2)
    assert launched({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}) is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TrainingError, match="expected a number in the variable SLURM_PROCID, as srun sets it"):
        launched({name: value for name, value in SRUN.items() if name != "SLURM_PROCID"})
    with pytest.raises(TrainingError, match="the same number of processes on every machine, got 5"):
        launched({**SRUN, "SLURM_NTASKS": "5"})
