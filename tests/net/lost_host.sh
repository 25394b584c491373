#!/usr/bin/env bash
# A rank that is killed, and a host that the network no longer reaches, end the job on every host in seconds; what was saved resumes
# elsewhere to the same bits.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/hosts.bash"
export OMPI_MCA_odls_base_sigkill_timeout=1 # as on a cluster: survivors have Open MPI's second to end by themselves

options=("${promised[@]}" --set checkpoint.every_steps=4)
ranks 2 "${options[@]}" --set "output.dir=$scratch/whole" 2>"$scratch/log" || fail "$(tail -n 5 "$scratch/log")"

# The program, too slow to end before it is interrupted: half a second a checkpoint, 15 checkpoints.
cat >"$scratch/slow" <<END_SLOW
#!/bin/sh
export LD_PRELOAD="$FAULT_LIBRARY" COTERIE_FAULT="call=rename match=.partial action=delay:500"
exec "$COTERIE" "\$@"
END_SLOW

# On the first host: a run, and when it has a checkpoint, the disaster; the job has 30 seconds to end.
cat >"$scratch/disaster" <<'END_DISASTER'
#!/usr/bin/env bash
disaster="$1" folder="$2"
shift 2
read -r _ second <<<"$COTERIE_HOSTS"
mpirun -n 4 bash "$@" --set "output.dir=$folder" &
job=$!
until [ -e "$folder/latest.h5" ]; do
    kill -0 "$job" || exit 1
    sleep 0.1
done
victims="$(pgrep --ns "${second##*-}" --nslist net -x coterie)"
[ "$(wc -w <<<"$victims")" -eq 2 ] || exit 1
case "$disaster" in
rank) kill -KILL "${victims%%$'\n'*}" ;;
host) "$OMPI_MCA_plm_rsh_agent" "$second" ip link set eth0 down ;;
esac
began=$SECONDS
while kill -0 "$job" 2>/dev/null || pgrep --ns "${second##*-}" --nslist net -x coterie; do
    [ $((SECONDS - began)) -lt 30 ] || { echo "still runs"; kill -KILL $job; exit 2; }
    sleep 0.1
done
wait "$job" && exit 3
echo "ended in $((SECONDS - began)) s"
END_DISASTER

# mpirun notices a silent host by probes: after 2 s, then each second, and the third without an answer is the last.
export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3
for disaster in rank host; do
    run="$scratch/$disaster"
    timeout 120 "$two_hosts" bash "$scratch/disaster" "$disaster" "$run" "$scratch/slow" "${options[@]}" >"$scratch/log" 2>&1 ||
        fail "a lost $disaster ends with $?: $(cat "$scratch/log")"
    [ "$(readlink "$run/latest.h5")" != "$(readlink "$scratch/whole/latest.h5")" ] || fail "$disaster: was not interrupted"
    ranks 2 "${options[@]}" --set "output.dir=$run" --resume auto 2>"$scratch/resumed" || fail "$(tail -n 3 "$scratch/resumed")"
    [ "$(digest "$run/latest.h5")" = "$(digest "$scratch/whole/latest.h5")" ] || fail "$disaster: other bits after resuming"
    echo "a lost $disaster: $(tail -n 1 "$scratch/log"), and resumed to the same bits"
done
