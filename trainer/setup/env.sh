# Source this (bash) to build or test the trainer by hand; the Makefile sources it too.
# TensorFlow and HDF5 are C libraries. The rpaths let binaries find TensorFlow without LD_LIBRARY_PATH: beside bin/ in
# this tree and in an installed prefix, and at its absolute place for test binaries.
_deps=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.deps/tensorflow
_hdf5="-I/usr/include/hdf5/serial"
_hdf5_lib="-L/usr/lib/$(uname -m)-linux-gnu/hdf5/serial"
if [ "$(uname -s)" = Darwin ]; then
  _hdf5="-I$(brew --prefix hdf5)/include"
  _hdf5_lib="-L$(brew --prefix hdf5)/lib"
fi
export CGO_CFLAGS="-O2 -I$_deps/include $_hdf5"
export CGO_LDFLAGS="-L$_deps/lib $_hdf5_lib -Wl,-rpath,$_deps/lib"
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
unset _deps _hdf5 _hdf5_lib
