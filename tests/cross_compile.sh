#!/bin/sh
# Cross-compiles the plugin for Windows with MinGW-w64, warnings being errors.
# usage: cross_compile.sh OUTPUT.dll
set -eu
native=$(dirname "$0")/../vsanimup/native
include=$(${PYTHON:-python3} -c 'import importlib.util as u; print(u.find_spec("vapoursynth").submodule_search_locations[0] + "/include")')
# The variant with POSIX threads has std::thread in every version of the compiler.
compiler=$(command -v x86_64-w64-mingw32-g++-posix || command -v x86_64-w64-mingw32-g++)
"$compiler" -std=c++17 -O0 -Wall -Wextra -Werror -shared -static \
    -DVS_USE_API_42 -DANIMUP_VERSION_MAJOR=0 -DANIMUP_VERSION_MINOR=0 \
    -I"$include" "$native"/*.cpp -o "$1"
