# Source this (bash) to build or test the trainer by hand; the Makefile sets the same.
# TensorFlow and HDF5 are C libraries: the rpath lets binaries built here run without LD_LIBRARY_PATH.
_deps=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.deps/tensorflow
export CGO_CFLAGS="-O2 -I$_deps/include -I/usr/include/hdf5/serial"
export CGO_LDFLAGS="-L$_deps/lib -L/usr/lib/$(uname -m)-linux-gnu/hdf5/serial -Wl,-rpath,$_deps/lib"
export LD_LIBRARY_PATH="$_deps/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
unset _deps
