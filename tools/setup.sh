#!/usr/bin/env bash
# The one place that knows which system packages Coterie needs. On Debian and its kin the missing
# ones are installed (with sudo unless root). Elsewhere, and for a user who may not install, what the
# build needs is looked for, wherever it comes from, and named where it is missing.
set -euo pipefail

build_packages=(
    gcc libc6-dev cmake ninja-build pkg-config git ca-certificates
    openmpi-bin libopenmpi-dev libopenblas-dev libhdf5-openmpi-dev hdf5-tools
    libyaml-dev librandom123-dev libjansson-dev zlib1g-dev libssl-dev
)
# The reference and the test of the layers are Python; training is compared with PyTorch; statistics
# files are read by other programs too; the report is looked at in a browser; valgrind and clang are
# second opinions; the job script runs under a Slurm of its own; two hosts are network namespaces;
# clusters are simulated by SimGrid.
check_packages=(
    libcmocka-dev python3 python3-numpy python3-h5py python3-xarray python3-h5netcdf python3-matplotlib
    python3-torch netcdf-bin chromium valgrind clang clang-format slurm-wlm munge libsimgrid-dev
    iproute2 procps util-linux
)

packages_for() {
    case "$1" in
    build) printf '%s\n' "${build_packages[@]}" ;;
    check) printf '%s\n' "${build_packages[@]}" "${check_packages[@]}" ;;
    *) return 1 ;;
    esac
}

is_installed() {
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

install_packages() {
    local as_root=() log
    [[ "$(id -u)" -eq 0 ]] || as_root=(sudo)
    echo "Installing $*"
    log="$(mktemp)"
    if ! "${as_root[@]}" apt-get -qq update >"$log" 2>&1 ||
        ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --no-install-recommends "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: apt-get failed" >&2
        return 1
    fi
    rm -f "$log"
}

may_install() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null &&
        { [[ "$(id -u)" -eq 0 ]] || command -v sudo >/dev/null; }
}

# There is no list to ask, or nothing can be done about it: look for what the build looks for.
name_what_is_missing() {
    local missing=() name
    for name in gcc cmake ninja pkg-config mpicc mpirun; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    for name in yaml-0.1 jansson openblas zlib libcrypto; do
        pkg-config --exists "$name" 2>/dev/null || missing+=("$name")
    done
    command -v h5pcc >/dev/null || pkg-config --exists hdf5-openmpi 2>/dev/null || missing+=(parallel-hdf5)
    gcc -E -include Random123/philox.h -x c /dev/null >/dev/null 2>&1 || missing+=(Random123)
    [[ ${#missing[@]} -eq 0 ]] && return 0
    echo "setup: missing: ${missing[*]}" >&2
    cat >&2 <<END
setup: Coterie needs gcc 12 or later, CMake 3.25, ninja, pkg-config, Open MPI, OpenBLAS, HDF5 built
setup: with that MPI, libyaml, Random123, jansson, zlib, libcrypto; on Debian 12 these are:
setup: $(packages_for "$1" | tr '\n' ' ')
END
    return 1
}

# Whether dpkg knows all that the tests need as installed.
is_complete() {
    local package
    command -v dpkg-query >/dev/null || return 1
    for package in $(packages_for check); do
        is_installed "$package" || return 1
    done
}

main() {
    local missing=() package
    if [[ "${1:-}" == complete ]]; then
        is_complete
        return
    fi
    if ! packages_for "${1:-}" >/dev/null; then
        cat >&2 <<END
usage: tools/setup.sh build|check    install what building, or the tests, need
       tools/setup.sh complete       whether every package that the tests need is installed
END
        return 64
    fi
    if ! may_install; then
        name_what_is_missing "$1"
        return
    fi
    for package in $(packages_for "$1"); do
        is_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

main "$@"
