"""The script for a SLURM allocation, with a `srun`, `scontrol`, `ray` and `cvae-pipe` that write down their calls."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "ray-on-slurm.sh"

FAKES = {
    "scontrol": 'printf "node1\\nnode2\\nnode3\\n"',
    # as SLURM: run the command of the step, on the node that was asked for
    "srun": """
        while [[ $1 == -* ]]; do [[ $1 == --nodelist=* ]] && node=${1#*=}; shift; done
        NODE=$node exec "$@" """,
    "hostname": 'echo "10.0.0.1 192.168.0.1"',
    "ray": """
        echo "$NODE ray $*" >> "$RECORD"
        if [[ $1 == start ]]; then touch "$UP"; exec sleep 60; else [[ -e $UP ]]; fi""",
    "cvae-pipe": """
        echo "cvae-pipe $*" >> "$RECORD"
        trap 'echo stopped >> "$RECORD"; exit 130' TERM
        eval "$WORK" """,
}


@pytest.fixture
def allocation(tmp_path):
    """Start the script on a pretended allocation of three nodes; its process, and the file of what was called."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    record = tmp_path / "record"

    def start(*arguments: str, work: str = "exit 0") -> tuple[subprocess.Popen, Path]:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "12345",
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_CPUS_PER_TASK": "16",
            "SLURM_GPUS_ON_NODE": "4",
            "RECORD": str(record),
            "UP": str(tmp_path / "up"),
            "NODE": "",
            "WORK": work,
        }
        return subprocess.Popen(["bash", str(SCRIPT), *arguments], env=environment, start_new_session=True), record

    return start


def test_the_script_is_bash():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_ray_runs_on_every_node_and_the_sweep_on_the_first_with_what_was_asked(allocation):
    process, record = allocation("--trials", "400", "--name", "a study", work="sleep 0.5; exit 7")
    assert process.wait(timeout=30) == 7
    lines = record.read_text().splitlines()
    starts = {line.split()[0]: line for line in lines if "ray start" in line}
    assert sorted(starts) == ["node1", "node2", "node3"]
    assert "--head --node-ip-address=10.0.0.1 --port=32345" in starts["node1"]
    assert all("--address=10.0.0.1:32345" in starts[node] for node in ("node2", "node3"))
    assert all("--block" in line and "--num-cpus=16 --num-gpus=4" in line for line in starts.values())
    assert "cvae-pipe sweep --executor ray --ray-address 10.0.0.1:32345 --trials 400 --name a study" in lines


def test_the_signal_before_the_time_limit_stops_the_sweep_politely_and_ray_with_it(allocation):
    process, record = allocation(work="while :; do sleep 0.1; done")
    deadline = time.monotonic() + 20
    while "cvae-pipe" not in (record.read_text() if record.exists() else "") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert record.read_text().splitlines()[-1] == "stopped"
    deadline = time.monotonic() + 10
    while _of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _of_session(process.pid)


def _of_session(session: int) -> list[str]:
    """Processes that are left of it."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if "defunct" not in line]
