# cmake -C tools/cmake/debug.cmake -S . -B build-debug -G Ninja
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(COTERIE_WERROR ON CACHE BOOL "")
