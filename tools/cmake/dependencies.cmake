# What Coterie stands on. Every target below is linked by name; nothing else looks for a library.
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)

# OpenBLAS itself, not any BLAS: the kernels it chose are part of the reproducibility promise.
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
add_library(OpenBLAS::OpenBLAS ALIAS PkgConfig::OPENBLAS)

set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 at ${HDF5_INCLUDE_DIRS} is not parallel; install libhdf5-openmpi-dev or set HDF5_ROOT")
endif()
add_library(hdf5_parallel INTERFACE)
add_library(HDF5::Parallel ALIAS hdf5_parallel)
target_include_directories(hdf5_parallel SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(hdf5_parallel INTERFACE ${HDF5_LIBRARIES})

find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
add_library(random123 INTERFACE)
add_library(Random123::Random123 ALIAS random123)
target_include_directories(random123 SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})
