#!/usr/bin/env bash
# A sweep on a SLURM allocation: Ray on every node of it, the driver on the first. Arguments go to `cvae-pipe sweep`.
#
#   sbatch --nodes 4 --cpus-per-task 16 docs/ray-on-slurm.sh --trials 400 --name mnist
#   sbatch --nodes 4 --gpus-per-node 4 docs/ray-on-slurm.sh --trials 4000 --gpus-per-trial 0.0625
#
# Submit it again, with more nodes or fewer, and the sweep goes on. CVAE_PIPE_HOME must be on a disk that outlives the
# job; no other node looks there.
#SBATCH --job-name=cvae-pipe
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@120
set -euo pipefail

port=${RAY_PORT:-$((20000 + SLURM_JOB_ID % 20000))} # two jobs on one node must not meet
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
read -r ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="${hosts[0]}" hostname --ip-address)
address=$ip:$port
export RAY_USAGE_STATS_ENABLED=0

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # Ray ends with its steps

on() { # HOST ARGUMENTS...: `ray start` there, in the background
  local host=$1
  shift
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$host" ray start "$@" --block --disable-usage-stats \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &
}

on "${hosts[0]}" --head --node-ip-address="$ip" --port="$port" --include-dashboard=false
until ray status --address="$address" >/dev/null 2>&1; do
  sleep 2
done
for host in "${hosts[@]:1}"; do
  on "$host" --address="$address"
done

# Two minutes before the time limit SLURM tells this script, and the sweep ends as on Ctrl-C: resumable.
cvae-pipe sweep --executor ray --ray-address "$address" "$@" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM INT
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # the signal ended the wait, not the driver
  code=0
  wait "$driver" || code=$?
done
exit "$code"
