#!/usr/bin/env bash
# docs/recipe.md is what the program prints, and help answers as it should on one rank and several.
set -euo pipefail

source_folder="${COTERIE_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}"
coterie="${COTERIE:?the program}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "$1"
    exit 1
}

"$coterie" help recipe --markdown >"$scratch/recipe.md"
diff -u "$source_folder/docs/recipe.md" "$scratch/recipe.md" ||
    fail "docs/recipe.md is out of date: coterie help recipe --markdown > docs/recipe.md"

# refuse TEXT ARGUMENT...: exit code 64 and one line with TEXT.
refuse() {
    local text="$1" code=0
    shift
    "$coterie" "$@" >"$scratch/out" 2>"$scratch/error" || code=$?
    [[ $code -eq 64 ]] || fail "coterie $*: exit code $code, not 64"
    [[ ! -s "$scratch/out" && $(wc -l <"$scratch/error") -eq 1 ]] ||
        fail "coterie $*: not one line on standard error"
    grep -qF -- "$text" "$scratch/error" || fail "coterie $*: $(cat "$scratch/error")"
}

refuse "did you mean 'coterie help train'?" help trian
refuse "'coterie help' lists them" help nonsense
refuse "unexpected 'recipe'" help train recipe
refuse "--markdown is for" help --markdown
refuse "--markdown is for" help train --markdown
refuse "see 'coterie help help'" help --nonsense

"$coterie" help >"$scratch/help"
"$coterie" | diff - "$scratch/help" || fail "coterie alone does not print what coterie help does"
for command in train eval inspect data help; do
    grep -q "^  $command " "$scratch/help" || fail "coterie help does not list $command"
    "$coterie" help "$command" | grep -q "coterie $command" || fail "coterie help $command"
done
for code in 64 65 66 70 73 74 75 78; do
    grep -q "^  $code  " "$scratch/help" || fail "coterie help does not explain exit code $code"
done
[[ $(wc -L <"$scratch/help") -le 100 ]] || fail "coterie help is too wide"

# Several ranks print once.
mpirun --oversubscribe -n 3 "$coterie" help | diff - "$scratch/help" ||
    fail "coterie help does not print once on 3 ranks"
