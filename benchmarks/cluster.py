"""A Ray cluster of two nodes on loopback against two local workers: the same jobs, wall time side by side.

    python -m benchmarks.cluster --jobs 12 --epochs 10 --rounds 3

Both begin with workers that have run a job, so that neither starting nor loading is in the figures. Needs the extra
`ray`; sets RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, by which nodes on 127.0.0.1 are taken at their word.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.runs.execute import set_up_process
from pipeline.runs.sending import build_shared
from pipeline.stages.context import Context
from pipeline.store.home import Home
from sweeps.execution.cluster import Cluster
from sweeps.execution.jobs import EpochDone, Executor, Job
from sweeps.execution.local import LocalExecutor

NODES = 2


def seconds_of(executor: Executor, configs: list[RunConfig]) -> float:
    """Wall time of these jobs on an executor whose workers are warm."""
    jobs = [Job(f"seed {config.train.seed}", config, "val") for config in configs]
    began, ended = time.perf_counter(), 0
    waiting = list(jobs)
    while ended < len(jobs):
        while waiting and executor.free:
            executor.submit(waiting.pop(0))
        ended += sum(not isinstance(event, EpochDone) for event in executor.events(timeout=0.5))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray.cluster_utils import Cluster as Loopback

    from sweeps.execution.ray import RayExecutor

    set_up_process(1)
    base = build_config(flags={"data.dataset": args.dataset, "train.epochs": args.epochs})
    data = Home.from_environment().data_dir
    node = {"num_cpus": 1, "object_store_memory": 300 * 2**20, "node_ip_address": "127.0.0.1"}
    loopback = Loopback(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    for _ in range(NODES - 1):
        loopback.add_node(**node)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        homes = [Home(Path(folder, name), data) for name in ("local", "ray")]
        build_shared(Context(base, homes[0]), "val")
        shutil.copytree(homes[0].root, homes[1].root)
        local = LocalExecutor(homes[0], NODES)
        remote = RayExecutor(Context(base, homes[1]), Cluster(loopback.address), NODES)
        try:
            seeds = iter(range(1, 10**6))
            for executor in (local, remote):
                warm = [base.with_settings({"train.seed": next(seeds), "train.epochs": 1}) for _ in range(NODES)]
                seconds_of(executor, warm)
            for _ in range(args.rounds):
                configs = [base.with_settings({"train.seed": next(seeds)}) for _ in range(args.jobs)]
                ours, theirs = seconds_of(local, configs), seconds_of(remote, configs)
                ratios.append(theirs / ours)
                print(f"2 local workers {ours:.1f} s, 2 nodes {theirs:.1f} s: {theirs / ours:.3f}", flush=True)
        finally:
            local.close()
            remote.close()
            loopback.shutdown()
    print(f"2 nodes against 2 local workers: {statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})")


if __name__ == "__main__":
    main()
