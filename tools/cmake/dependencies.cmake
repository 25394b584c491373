# What Coterie stands on. Every target below is linked by name; nothing else looks for a library.
# Installed too, beside coterieConfig.cmake: what a program links when it uses the library is found
# the same way.
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)

# OpenBLAS itself, not any BLAS: the kernels it chose are part of the reproducibility promise.
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
add_library(OpenBLAS::OpenBLAS INTERFACE IMPORTED)
target_link_libraries(OpenBLAS::OpenBLAS INTERFACE PkgConfig::OPENBLAS)

set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C HL) # HL: dimension scales
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 at ${HDF5_INCLUDE_DIRS} is not parallel; install libhdf5-openmpi-dev or set HDF5_ROOT")
endif()
add_library(HDF5::Parallel INTERFACE IMPORTED)
target_include_directories(HDF5::Parallel INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(HDF5::Parallel INTERFACE ${HDF5_HL_LIBRARIES} ${HDF5_LIBRARIES})

find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
add_library(Random123::Random123 INTERFACE IMPORTED)
target_include_directories(Random123::Random123 INTERFACE ${RANDOM123_INCLUDE_DIR})
