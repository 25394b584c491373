# cmake -C tools/cmake/sanitize.cmake -S . -B build-sanitize -G Ninja
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g1" CACHE STRING "") # at -O0 the gradient checks take minutes; g1: lines for backtraces
set(COTERIE_SANITIZE "address,undefined" CACHE STRING "")
set(COTERIE_WERROR ON CACHE BOOL "")
