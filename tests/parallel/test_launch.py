"""How many processes a run has, from options and from what schedulers set."""

from __future__ import annotations

import os
import re
from unittest import mock

import pytest

from chomp.errors import ConfigError
from chomp.parallel.launch import Launch, find_launch, share_of_node

SLURM = {
    "SLURM_JOB_ID": "4100",
    "SLURM_STEP_NODELIST": "gpu[007-010]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
}
ORTE = "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_MCA_orte_hnp_uri": ORTE}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}


def found(environment: dict[str, str], *options: object, gpus: int = 8) -> Launch:
    coordinator, processes, process = options or (None, None, None)
    # JAX's part reads the environment of the process.
    with mock.patch.dict(os.environ, environment):
        return find_launch(coordinator, processes, process, environment, lambda: gpus)  # type: ignore[arg-type]


def test_by_hand_all_three_options_are_needed_and_win() -> None:
    assert found(SLURM, "host0:1234", 2, 1) == Launch("host0:1234", 2, 1)
    assert found(SLURM, None, 1, None) == Launch()
    with pytest.raises(ConfigError, match=re.escape("need all of --coordinator HOST:PORT --processes N --process I")):
        found({}, "host0:1234", 2, None)
    with pytest.raises(ConfigError, match="numbered from 0"):
        found({}, "host0:1234", 2, 2)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        found({}, "host0", 2, 1)


def test_one_slurm_task_on_a_node_takes_all_its_gpus() -> None:
    launch = found(SLURM)
    assert launch == Launch("gpu007:61444", 4, 2, None, "SLURM")
    # Two tasks on each node share the GPUs that both see, or have their own.
    two = {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}
    assert found(two).local_devices == (4, 5, 6, 7)
    assert found(two, gpus=1).local_devices is None
    with pytest.raises(ConfigError, match="3 processes on this node cannot share its 8 GPUs"):
        share_of_node(3, 0, 8)


def test_what_is_no_step_of_several_tasks_is_one_process() -> None:
    batch_script = {name: value for name, value in SLURM.items() if not name.startswith("SLURM_STEP")}
    assert found(batch_script) == Launch()
    # An interactive shell (`srun --pty`) in an allocation of several tasks.
    assert found({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) == Launch()
    assert found({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == Launch()
    assert found({}) == Launch()


def test_open_mpi() -> None:
    assert found({**OPEN_MPI, "JAX_COORDINATOR_PORT": "777"}) == Launch("10.96.0.1:777", 2, 1, None, "Open MPI")
    without = {name: value for name, value in OPEN_MPI.items() if "orte" not in name}
    with pytest.raises(ConfigError, match="does not say where process 0 is; pass --coordinator"):
        found(without)


def test_a_pod_of_an_indexed_job_is_not_silently_one_process() -> None:
    with pytest.raises(ConfigError, match=r"install jax\[k8s\], or pass --coordinator"):
        found(POD)
    assert found(POD, None, 1, None) == Launch()
