#!/bin/bash
# A run of Winnow on the nodes of one Slurm job:
#
#   sbatch --nodes=4 cluster/slurm.sh curate ltd /shared/data.jsonl --out /shared/out --store /shared/winnow --profile gpu
#
# The environment with Winnow must be active where sbatch is called, and be on a file system that the nodes share.
# Before the time limit Slurm sends SIGTERM; the run ends, and the job goes back to the queue and goes on from its store.
#SBATCH --job-name=winnow
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch [--nodes=N] cluster/slurm.sh COMMAND ..." >&2
    exit 2
fi

# Nobody else on the network may run code on this cluster: a token of its own, readable by this user only.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=$HOME/.winnow-token-$SLURM_JOB_ID
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH")

steps=() # the process of each `srun` below
finish() {
    kill "${steps[@]}" 2>/dev/null || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT

preempted=
driver=
end_driver() {
    preempted=yes
    if [ -n "$driver" ]; then kill -TERM "$driver" 2>/dev/null || true; fi
}
trap end_driver TERM

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
export RAY_ADDRESS=$ip:$((20000 + SLURM_JOB_ID % 10000)) # several jobs may share a node

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --block --head --node-ip-address="$ip" --port="${RAY_ADDRESS#*:}" --include-dashboard=false &
steps+=($!)
for attempt in $(seq 60); do
    ray health-check --address="$RAY_ADDRESS" >/dev/null 2>&1 && break
    if [ "$attempt" = 60 ]; then
        echo "error: Ray did not start on $head" >&2
        exit 1
    fi
    sleep 2
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 --exclude="$head" \
        ray start --block --address="$RAY_ADDRESS" &
    steps+=($!)
fi

# In the background, so that the shell sees SIGTERM while it waits.
python -m jobs "$@" &
driver=$!
if [ -n "$preempted" ]; then end_driver; fi # the signal came before the driver was there
code=0
wait "$driver" || code=$?
if [ -n "$preempted" ]; then
    code=0
    wait "$driver" || code=$? # the first `wait` may have ended with the signal, not with the driver
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
