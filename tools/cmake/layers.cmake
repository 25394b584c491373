# One static library a layer. With COTERIE_TESTS each is also built in double precision (suffix
# _f64).

add_library(coterie_flags INTERFACE)
# -ffp-contract=off: an element's bits must not depend on whether the compiler found a multiply-add
# in the vector loop but not in its remainder. The two others change no result and let loops with
# sqrtf vectorize.
target_compile_options(coterie_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(COTERIE_WERROR)
  target_compile_options(coterie_flags INTERFACE -Werror)
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  target_compile_options(coterie_flags INTERFACE -march=x86-64-v2)
endif()
if(COTERIE_SANITIZE)
  target_compile_options(coterie_flags INTERFACE
    -fsanitize=${COTERIE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(coterie_flags INTERFACE -fsanitize=${COTERIE_SANITIZE})
endif()
target_compile_definitions(coterie_flags INTERFACE _GNU_SOURCE)

find_package(Git QUIET)
set(COTERIE_REVISION "unknown")
if(Git_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${CMAKE_SOURCE_DIR} describe --always --dirty --abbrev=12
                  OUTPUT_VARIABLE git_revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(git_revision)
    set(COTERIE_REVISION ${git_revision})
  endif()
endif()
# For the one file that says what this build is, so that a new revision compiles nothing else again.
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/base/version.c PROPERTIES COMPILE_DEFINITIONS
  "COTERIE_VERSION=\"${PROJECT_VERSION}\";COTERIE_REVISION=\"${COTERIE_REVISION}\";COTERIE_COMPILER=\"${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}\"")

# Clang 14 leaves some loops of these kernels as they are, which is right but slow, and says so.
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/math/fused_plain.c ${CMAKE_SOURCE_DIR}/src/math/fused_avx2.c
    ${CMAKE_SOURCE_DIR}/src/math/fused_avx512.c APPEND PROPERTY COMPILE_OPTIONS "-Wno-pass-failed")
endif()

# With a check at each access gcc takes 14 s to optimize one of these, and half a second not to.
if(COTERIE_SANITIZE)
  set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/math/fused_plain.c ${CMAKE_SOURCE_DIR}/src/math/fused_avx2.c
    ${CMAKE_SOURCE_DIR}/src/math/fused_avx512.c APPEND PROPERTY COMPILE_OPTIONS "-O0")
endif()

# Kernels for wider vectors than the baseline has; src/math/vectors.c says when they are taken.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  foreach(kernels small_gemm_avx2 fused_avx2)
    set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/math/${kernels}.c APPEND PROPERTY
      COMPILE_OPTIONS "-mavx2;-mfma")
  endforeach()
  foreach(kernels small_gemm_avx512 small_gemm_avx512_intel fused_avx512)
    set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/math/${kernels}.c APPEND PROPERTY
      COMPILE_OPTIONS "-mavx512f;-mavx512vl;-mfma")
  endforeach()
endif()

function(coterie_layer_target target precision suffix layer depends private)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${layer}/*.c)
  if(NOT sources)
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  else()
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:coterie_flags> ${private})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src) # "layer/private.h"
  endif()
  target_compile_definitions(${target} ${scope} ${precision})
  target_include_directories(${target} ${scope}
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  foreach(dependency IN LISTS depends)
    if(dependency MATCHES "::|^m$")
      target_link_libraries(${target} ${scope} ${dependency})
    else()
      target_link_libraries(${target} ${scope} coterie_${dependency}${suffix})
    endif()
  endforeach()
endfunction()

function(coterie_layer layer)
  cmake_parse_arguments(ARG "" "" "DEPENDS;PRIVATE" ${ARGN})
  coterie_layer_target(coterie_${layer} "" "" ${layer} "${ARG_DEPENDS}" "${ARG_PRIVATE}")
  if(COTERIE_TESTS)
    coterie_layer_target(coterie_${layer}_f64 COT_DOUBLE "_f64" ${layer} "${ARG_DEPENDS}" "${ARG_PRIVATE}")
  endif()
endfunction()
