"""The signals that an engine handles."""

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What clusters send some time before they end a job: Slurm (`--signal`), LSF (the run limit), Grid Engine (`-notify`,
# `s_rt`, `s_cpu`), and the kernel at a soft limit of CPU time.
NOTICE_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
HANDLED_SIGNALS = (*STOP_SIGNALS, *NOTICE_SIGNALS, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)
