"""Lists an HDF5 file as h5dump does, but short: every group, attribute and dataset with type and shape.

usage: h5_list.py FILE.h5
"""
import sys

import h5py


def describe(attribute):
    kind = attribute.get_type()
    if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
        return "string"
    return f"{attribute.dtype}{list(attribute.shape)}"


def show(name, item):
    kind = "group" if isinstance(item, h5py.Group) else f"{item.dtype}{list(item.shape)}"
    print(f"/{name}: {kind}")
    for key in sorted(item.attrs):
        value = item.attrs[key]
        text = f" = {value}" if isinstance(value, str) and len(value) < 30 else ""
        if getattr(value, "dtype", None) is not None and value.dtype.kind == "S":
            text = " = " + ", ".join(v.decode() for v in value)
        print(f"  @{key}: {describe(h5py.h5a.open(item.id, key.encode()))}{text}")


with h5py.File(sys.argv[1]) as f:
    show("", f["/"])
    f.visititems(show)
