#!/usr/bin/env bash
# What is installed can be used: by find_package, by pkg-config, each header by itself, and as a
# program.
set -euo pipefail

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
prefix="$scratch/prefix"
compiler="$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$COTERIE_BUILD/CMakeCache.txt")"
sanitizers="$(sed -n 's/^COTERIE_SANITIZE:[A-Z]*=//p' "$COTERIE_BUILD/CMakeCache.txt")"
flags=(${sanitizers:+-fsanitize=$sanitizers})

# Reaches from the top layer (recipe) to the bottom one, through HDF5 and MPI.
cat >"$scratch/consumer.c" <<'END'
#include <coterie/coterie.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    cot_comm *world = NULL;
    cot_recipe *recipe = NULL;
    MPI_Init(&argc, &argv);
    if (cot_comm_create(MPI_COMM_WORLD, 1, &world) != COT_OK) return 1;
    const char *text = "model: {experts: 7, expert_hidden: 2}";
    if (cot_recipe_parse(text, "consumer", 0, NULL, &recipe) != COT_OK) return 1;
    char *newest = cot_checkpoint_newest(world, ".");
    printf("coterie %s, %zu experts, %s\n", cot_version(), recipe->model.experts,
           newest != NULL ? newest : "no checkpoint");
    cot_recipe_destroy(&recipe);
    cot_comm_destroy(&world);
    return MPI_Finalize();
}
END

cat >"$scratch/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(coterie 0.1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE coterie::coterie)
END

quietly() {
    "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
}

run_consumer() {
    local said
    said="$(cd "$scratch" && ASAN_OPTIONS=detect_leaks=0 "$1")"
    echo "$2: $said"
    [[ "$said" =~ ^coterie\ [0-9.]+,\ 7\ experts,\ no\ checkpoint$ ]]
}

quietly cmake --install "$COTERIE_BUILD" --prefix "$prefix"

quietly cmake -S "$scratch" -B "$scratch/build" -DCMAKE_C_COMPILER="$compiler" \
    -DCMAKE_C_FLAGS="${flags[*]-}" -DCMAKE_PREFIX_PATH="$prefix"
quietly cmake --build "$scratch/build"
run_consumer "$scratch/build/consumer" find_package

pc="$(find "$prefix" -name coterie.pc -printf '%h')"
export PKG_CONFIG_PATH="$pc${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
read -ra use <<<"$(pkg-config --static --cflags --libs coterie)"
"$compiler" "${flags[@]}" "$scratch/consumer.c" -o "$scratch/consumer" "${use[@]}"
run_consumer "$scratch/consumer" pkg-config

read -ra use <<<"$(pkg-config --cflags coterie)"
count=0
for header in "$prefix"/include/coterie/*.h; do
    echo "#include <coterie/${header##*/}>" >"$scratch/one.c"
    "$compiler" -std=gnu17 -Wall -Wextra -Werror -fsyntax-only "${use[@]}" "$scratch/one.c"
    count=$((count + 1))
done
echo "$count headers compile alone"

"$prefix/bin/coterie" --version
[[ -f "$prefix/share/coterie/recipes/mnist.yaml" ]]
[[ -x "$prefix/share/coterie/report" && -f "$prefix/share/coterie/analysis/coterie_files.py" ]]
