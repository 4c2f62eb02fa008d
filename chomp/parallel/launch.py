"""How many processes a run has and which of them this is: from options, or from what started the processes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chomp.errors import ConfigError

BY_HAND = "--coordinator HOST:PORT --processes N --process I"
# A node's part of `SLURM_STEP_TASKS_PER_NODE`: `8`, or `8(x4)` for four nodes.
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


@dataclass(frozen=True)
class Launch:
    """The processes of a run.

    Attributes:
        coordinator: `HOST:PORT` at which process 0 listens; None for one process.
        count: processes there are.
        index: which of them this is.
        local_devices: which of this host's visible devices it takes; None for all of them.
        by: what said so, for messages.
    """

    coordinator: str | None = None
    count: int = 1
    index: int = 0
    local_devices: tuple[int, ...] | None = None
    by: str = "the command line"


def find_launch(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
    visible_gpus: Callable[[], int],
) -> Launch:
    """The processes that the options name, else those that SLURM, Open MPI or Kubernetes started, else one.

    JAX's own detection is used for where the coordinator is. It gives each SLURM task one device, also where a task has
    a node for itself, and takes one process where it lacks what it needs to know of the others.

    Args:
        coordinator, processes, process: the options; None where not given.
        visible_gpus: counts the GPUs that this process may use.

    Raises:
        ConfigError: an option is missing, or the environment does not say enough.
    """
    if processes == 1 and coordinator is None and process in (None, 0):
        return Launch()
    if coordinator is not None and processes is not None and process is not None:
        return _by_hand(coordinator, processes, process)
    if any(value is not None for value in (coordinator, processes, process)):
        raise ConfigError(f"several processes by hand need all of {BY_HAND}; --processes 1 alone means one process")
    for found in (_slurm, _open_mpi, _kubernetes):
        launch = found(environment, visible_gpus)
        if launch is not None:
            return launch
    return Launch()


def _by_hand(coordinator: str, processes: int, process: int) -> Launch:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--coordinator {coordinator}: HOST:PORT of process 0 is needed, such as host0:1234")
    if processes < 1 or not 0 <= process < processes:
        raise ConfigError(f"--process {process} of --processes {processes}: the processes are numbered from 0")
    return Launch(coordinator, processes, process) if processes > 1 else Launch()


def _slurm(environment: Mapping[str, str], visible_gpus: Callable[[], int]) -> Launch | None:
    """The tasks of a SLURM step (`srun`); the script of `sbatch` itself is one process."""
    if "SLURM_STEP_NODELIST" not in environment or "SLURM_PROCID" not in environment:
        return None
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1"))
    if count == 1:
        return None
    from jax._src.clusters.slurm_cluster import SlurmCluster

    tasks = _tasks_on_node(environment)
    local = int(environment.get("SLURM_LOCALID", "0"))
    return Launch(
        SlurmCluster.get_coordinator_address(None, environment.get("JAX_COORDINATOR_PORT")),
        count,
        int(environment["SLURM_PROCID"]),
        share_of_node(tasks, local, visible_gpus() if tasks > 1 else 0),
        "SLURM",
    )


def _tasks_on_node(environment: Mapping[str, str]) -> int:
    """Tasks of this step on this node."""
    listed = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE", "1")
    counts = [int(n) for n, times in _TASKS.findall(listed) for _ in range(int(times or 1))]
    node = int(environment.get("SLURM_NODEID", "0"))
    return counts[node] if node < len(counts) else 1


def share_of_node(tasks: int, local: int, gpus: int) -> tuple[int, ...] | None:
    """Which of a node's visible GPUs its task number `local` takes; None for all of them.

    Args:
        tasks: tasks of the run on this node.
        gpus: GPUs that the task may use. The scheduler may have dealt them out, so that each task sees its own.

    Raises:
        ConfigError: they cannot be shared out evenly.
    """
    if tasks == 1 or gpus <= 1:
        return None
    if gpus % tasks:
        raise ConfigError(
            f"{tasks} processes on this node cannot share its {gpus} GPUs evenly; start one process per node, which "
            "takes all of them (--ntasks-per-node 1)"
        )
    each = gpus // tasks
    return tuple(range(local * each, (local + 1) * each))


def _open_mpi(environment: Mapping[str, str], visible_gpus: Callable[[], int]) -> Launch | None:
    count = int(environment.get("OMPI_COMM_WORLD_SIZE", "1"))
    if count == 1:
        return None
    index = int(environment["OMPI_COMM_WORLD_RANK"])
    if "OMPI_MCA_orte_hnp_uri" not in environment:
        raise ConfigError(
            "this version of Open MPI does not say where process 0 is; pass --coordinator HOST:PORT --processes "
            f"{count} --process $OMPI_COMM_WORLD_RANK"
        )
    from jax._src.clusters.ompi_cluster import OmpiCluster

    tasks = int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    local = int(environment.get("OMPI_COMM_WORLD_LOCAL_RANK", "0"))
    return Launch(
        OmpiCluster.get_coordinator_address(None, environment.get("JAX_COORDINATOR_PORT")),
        count,
        index,
        share_of_node(tasks, local, visible_gpus() if tasks > 1 else 0),
        "Open MPI",
    )


def _kubernetes(environment: Mapping[str, str], visible_gpus: Callable[[], int]) -> Launch | None:
    """The pods of an indexed Job; any other pod is one process."""
    if "KUBERNETES_SERVICE_HOST" not in environment or "JOB_COMPLETION_INDEX" not in environment:
        return None
    by_hand = "--coordinator HOST:PORT --processes N --process $JOB_COMPLETION_INDEX (--processes 1 for one process)"
    if importlib.util.find_spec("kubernetes") is None:
        raise ConfigError(
            "this is a pod of an indexed Kubernetes Job, and how many pods it has is not known without the package "
            f"kubernetes; install jax[k8s], or pass {by_hand}"
        )
    from jax._src.clusters.k8s_cluster import K8sCluster

    try:
        if not K8sCluster.is_env_present() or (count := K8sCluster.get_process_count()) == 1:
            return None
        index = K8sCluster.get_process_id()
        coordinator = K8sCluster.get_coordinator_address(None, environment.get("JAX_COORDINATOR_PORT"))
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"Kubernetes does not tell this pod of the others ({first}); pass {by_hand}") from error
    return Launch(coordinator, count, index, None, "Kubernetes")
