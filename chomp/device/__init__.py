"""The GPUs of this machine and the environment a run needs on them; never imports JAX."""

from chomp.device.environment import (
    Decision,
    apply,
    changes,
    environment_report,
    recommended_environment,
    shell_line,
    unset_memory_variables,
    visible_gpus,
)
from chomp.device.flag_check import FlagCheck, check_xla_flags, require_xla_flags
from chomp.device.packages import cuda_packages, fitting_wheels, problems, require_compatible
from chomp.device.probe import Gpu, Probe, Process, probe_gpus
from chomp.device.rules import RULES, FlagRule

__all__ = [
    "RULES",
    "Decision",
    "FlagCheck",
    "FlagRule",
    "Gpu",
    "Probe",
    "Process",
    "apply",
    "changes",
    "check_xla_flags",
    "cuda_packages",
    "environment_report",
    "fitting_wheels",
    "probe_gpus",
    "problems",
    "recommended_environment",
    "require_compatible",
    "require_xla_flags",
    "shell_line",
    "unset_memory_variables",
    "visible_gpus",
]
