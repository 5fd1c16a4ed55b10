"""A SLURM of this one machine, in a temporary folder, for a test."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=one Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurm(RuntimeError):
    """Its daemons are there but do not come up on this machine."""


@dataclass(frozen=True)
class Slurm:
    """environment: in which SLURM's commands find this cluster; jobs: what it did, a line a job."""

    environment: dict[str, str]
    folder: Path

    def said(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that ended, as the controller wrote them down."""
        path = self.folder / "jobs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        pairs = ((word.partition("=") for word in line.split()) for line in lines)
        return [{key: value for key, mark, value in row if mark} for row in pairs]


def why_not() -> str:
    """Why SLURM cannot be started here; empty where it can."""
    absent = [name for name in DAEMONS if _program(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


@contextmanager
def slurm_of_one(folder: Path, cpus: int = 2, memory_mb: int = 6000) -> Iterator[Slurm]:
    """Start munged, slurmctld and slurmd, wait until the node is idle, and end them afterwards.

    Raises:
        NoSlurm: they do not come up.
    """
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    ports = [_free_port() for _ in range(2)]
    conf.write_text(
        _CONF.format(
            host=host, folder=folder, controller_port=ports[0], node_port=ports[1], cpus=cpus,
            memory_mb=memory_mb,
        )
    )  # fmt: skip
    # Snakemake's jobs drop SLURM's variables, as a cluster's srun needs none; ours does.
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    path = f"{srun.parent}:{os.environ.get('PATH', '')}"
    slurm = Slurm(os.environ | {"SLURM_CONF": str(conf), "PATH": path}, folder)
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
         f"--key-file={key}", f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
         f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-i", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    ]  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            command[0] = str(_program(command[0]))
            with (folder / f"{Path(command[0]).name}.out").open("wb") as out:
                running.append(
                    subprocess.Popen(command, env=slurm.environment, stdout=out, stderr=out)
                )
            if command is commands[0]:
                _wait(lambda: (folder / "munge.socket").exists(), running, folder)
        _wait(lambda: slurm.said("sinfo", "-h", "-o", "%t").strip() == "idle", running, folder)
        yield slurm
    finally:
        slurm.said("scancel", "--me")
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(there, running, folder: Path, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not there():
        dead = [one.args for one in running if one.poll() is not None]
        if dead or time.monotonic() > until:
            logs = "\n".join(
                f"{p.name}: {p.read_text(errors='replace')[-800:]}"
                for p in (*folder.glob("*.log"), *folder.glob("*.out"))
            )
            raise NoSlurm(f"SLURM did not start ({dead or 'in time'}).\n{logs}")
        time.sleep(0.2)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
