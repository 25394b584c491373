#!/usr/bin/env bash
# Every C file is formatted as .clang-format says, and none is longer than one idea.
set -euo pipefail

cd "${COTERIE_SOURCE:-$(dirname "$0")/../..}"
longest=600
status=0

mapfile -t files < <(find src include tests -name '*.[ch]' | sort)
[[ ${#files[@]} -gt 0 ]] || { echo "no C files under $PWD"; exit 1; }

while read -r lines file; do
    if [[ "$file" != total && $lines -gt $longest ]]; then
        echo "$file: $lines lines; a file of more than $longest wants to be split"
        status=1
    fi
done < <(wc -l "${files[@]}")

for name in clang-format-14 clang-format; do
    if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then
        echo "${#files[@]} files, $("$name" --version)"
        "$name" --dry-run --Werror "${files[@]}" || status=1
        exit $status
    fi
done
[[ $status -eq 0 ]] || exit $status
# Other versions format some lines otherwise. 77: skipped, says ctest.
echo "clang-format 14 is missing: the format of ${#files[@]} files is NOT checked"
exit 77
