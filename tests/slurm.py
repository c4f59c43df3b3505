"""A real Slurm on loopback: controller, two nodes and their keys, in a folder of its own."""

import os
import secrets
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from orthanc import free_port
from validators import program

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "srun")
OVER = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")

# A job that is requeued waits as long as its credentials live, two minutes if nothing is said. A
# busy machine needs seconds to take them.
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
ReturnToService=2
KillWait=30
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """What a user does with it, by the programs that a user has."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def said(self, name, *words, **how):
        """Run one of its programs and return what it printed; it has to end well."""
        line = [program(name), *map(str, words)]
        ran = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, check=False, **how
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.strip()

    def submitted(self, *words, cwd, **environment):
        """Submit what `words` say from the folder `cwd`, and return the number of the job."""
        line = [program("sbatch"), "--parsable", *map(str, words)]
        how = {"env": {**self.environment, **environment}, "cwd": cwd, "text": True}
        return subprocess.run(line, check=True, capture_output=True, **how).stdout.strip()

    def facts(self, job):
        """Return what the controller knows of a job, or of each task of an array."""
        lines = self.said("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def until(self, holds, *, what, limit_s=900):
        """Wait until `holds()`."""
        end_s = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > end_s:
                pytest.fail(f"{what}: not within {limit_s} s\n{self.logs()}")
            time.sleep(0.1)

    def ended(self, job):
        """Wait for the end of a job and return its facts, or those of each task of an array."""
        self.until(
            lambda: all(facts["JobState"] in OVER for facts in self.facts(job)),
            what=f"job {job} ends",
        )
        return self.facts(job)

    def logs(self):
        """Return the ends of the logs of its services."""
        return "\n".join(
            f"{path.name}:\n{path.read_text('utf-8', 'replace')[-1500:]}"
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def running_slurm(folder, *, nodes=2, cpus=2):
    """Start a Slurm and end it, with all that its jobs began.

    Args:
        folder: For its state, keys and logs; its path has to be short, as sockets lie there.
        nodes: How many, all of them this machine.
        cpus: That each node is said to have.

    Yields:
        A `Slurm`.
    """
    for name in PROGRAMS:
        program(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    _write_settings(folder, nodes, cpus)
    slurm = Slurm(folder)
    with ExitStack() as stack:
        stack.callback(_end_all, slurm)
        places = {"socket": "sock", "key-file": "key", "seed-file": "seed", "pid-file": "pid"}
        words = [f"--{name}={folder}/munge.{end}" for name, end in places.items()]
        _start(stack, slurm, "munged", "--foreground", "--force", *words)
        slurm.until((folder / "munge.sock").exists, what="munged listens", limit_s=20)
        _start(stack, slurm, "slurmctld", "-D")
        for number in range(1, nodes + 1):
            _start(stack, slurm, "slurmd", "-D", "-N", f"n{number}")
        slurm.until(lambda: _idle(slurm) == nodes, what="nodes are idle", limit_s=60)
        yield slurm


def _write_settings(folder, nodes, cpus):
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    host = socket.gethostname()
    rows = []
    for number in range(1, nodes + 1):
        (folder / f"spool.n{number}").mkdir()
        rows.append(
            f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 "
            f"Port={free_port()} CPUs={cpus} State=UNKNOWN"
        )
    user = psutil.Process().username()
    facts = {"host": host, "port": free_port(), "user": user, "folder": folder}
    text = CONFIGURATION.format(**facts, nodes="\n".join(rows))
    (folder / "slurm.conf").write_text(text)


def _start(stack, slurm, name, *words):
    with (slurm.folder / f"{name}.out.log").open("ab") as log:
        process = subprocess.Popen(
            [program(name), *words], env=slurm.environment, stdout=log, stderr=log
        )
    stack.callback(_end, process)


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _idle(slurm):
    """Return how many nodes wait for work; none while the controller does not answer."""
    line = [program("sinfo"), "--noheader", "--Node", "--format=%t"]
    ran = subprocess.run(line, env=slurm.environment, capture_output=True, text=True, check=False)
    return ran.stdout.split().count("idle")


def _end_all(slurm):
    """End what the services and the jobs left: their children have parents of their own."""
    mark = f"SLURM_CONF={slurm.folder}"
    for process in psutil.process_iter():
        try:
            if any(f"{k}={v}".startswith(mark) for k, v in process.environ().items()):
                process.kill()
        except psutil.Error:
            continue


def outputs(folder: Path):
    """Return what the jobs that were submitted from a folder printed."""
    return "\n".join(path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.out")))
