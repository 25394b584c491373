#!/usr/bin/env bash
# tests/support/two-hosts: half of the ranks on each, neighbours together; exit codes pass through; nothing is left when it is killed.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/hosts.bash"

"$two_hosts" mpirun -n 4 --tag-output hostname | sort >"$scratch/names"
mapfile -t names < <(sed 's/.*>//' "$scratch/names")
[[ ${#names[@]} -eq 4 && "${names[0]}" == "${names[1]}" && "${names[2]}" == "${names[3]}" && "${names[0]}" != "${names[2]}" ]] ||
    fail "4 ranks on: $(cat "$scratch/names")"

# ends CODE ARGUMENT...
ends() {
    local code="$1" got=0
    shift
    "$two_hosts" "$@" >"$scratch/out" 2>&1 || got=$?
    [ "$got" -eq "$code" ] || fail "two-hosts $* ended with $got, not $code: $(cat "$scratch/out")"
}
ends 5 sh -c 'exit 5'
ends 64
ends 64 --rate
ends 64 --rate fast true
ends 64 --mtu 9k true
ends 0 --mtu 9000 true
ends 0 --rate 100mbit true

# What a command leaves behind ends with it.
"$two_hosts" sh -c "sleep 100 & echo \$! >'$scratch/left'"
readlink "/proc/$(cat "$scratch/left")/ns/net" >/dev/null && fail "a process has outlived its host"

for signal in TERM KILL; do
    rm -f "$scratch/hosts"
    "$two_hosts" sh -c "echo \$COTERIE_HOSTS \$\$ >'$scratch/new' && mv '$scratch/new' '$scratch/hosts' && exec sleep 100" &
    for ((i = 0; i < 100; i++)); do [ -e "$scratch/hosts" ] && break || sleep 0.1; done
    read -r first second command <"$scratch/hosts"
    kill -"$signal" $!
    wait $! 2>/dev/null || true
    # What nobody has waited for yet has no namespaces any more either.
    for process in "${first##*-}" "${second##*-}" "$command"; do
        for ((i = 0; i < 50; i++)); do readlink "/proc/$process/ns/net" >/dev/null || break; sleep 0.1; done
        [ "$i" -lt 50 ] || fail "process $process has outlived SIG$signal"
    done
done
echo "two hosts came and went"
