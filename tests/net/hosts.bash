# Shared by the network tests, after cli.bash: two hosts, or skipped with the reason.
two_hosts="$COTERIE_SOURCE/tests/support/two-hosts"
"$two_hosts" true || exit $?

# apart N COMMAND...: the program on N ranks, half of them on each host.
apart() {
    local n="$1"
    shift
    timeout 300 "$two_hosts" mpirun -n "$n" "$COTERIE" "$@"
}
