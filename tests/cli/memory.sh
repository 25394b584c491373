#!/usr/bin/env bash
# Memory stays flat: 2,000 more steps, evaluations and checkpoints do not raise the program's peak.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"

# peak STEPS: the peak of resident memory, in KiB, of a run of so many steps.
peak() {
    "$python" - "$COTERIE" train "$scratch/small.yaml" --set "output.dir=$scratch/run-$1" --set train.epochs=1000 \
        --set checkpoint.every_steps=100 --set checkpoint.every_epochs=0 --steps "$1" <<'END'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL, timeout=300)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
END
}

few="$(peak 300)"
many="$(peak 2300)"
echo "peak memory: $few KiB after 300 steps, $many KiB after 2300"
# The allocator's and the kernel's grain: a leak of one byte a parameter in each step would be over 100 MiB.
[ "$many" -lt $((few + 2048)) ] || fail "memory grows with the number of steps"
