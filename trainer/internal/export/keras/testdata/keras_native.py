"""Loads .keras files with Keras 3 and prints what each answers, as a JSON list; or saves one again as Keras does.

usage: keras_native.py [MODEL.keras PIXELS.bin SIZE ...]
       keras_native.py resave FROM.keras TO.keras
"""
import io
import json
import sys
import warnings
import zipfile

import h5py
import keras
import numpy as np


def listing(archive):
    """The archive's members, the keys of its texts, and its weights."""
    lines = [f"{m.filename}: {'stored' if m.compress_type == zipfile.ZIP_STORED else 'packed'}" for m in archive.infolist()]
    metadata = json.loads(archive.read("metadata.json"))
    lines += [f"metadata {key}" for key in sorted(metadata)]
    for layer in json.loads(archive.read("config.json"))["config"]["layers"]:
        inputs = json.dumps([node["args"] for node in layer["inbound_nodes"]])
        lines.append(f"{layer['module']}.{layer['class_name']} {layer['name']} {sorted(layer['config'])} {inputs}")
    with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as f:
        f.visititems(lambda name, item: lines.append(
            f"/{name}: " + (f"{item.dtype}{list(item.shape)}" if isinstance(item, h5py.Dataset) else f"{dict(item.attrs)}")))
    return "\n".join(lines) + "\n"


def answer(path, pixels, size):
    images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = keras.models.load_model(path)
    answers = model.predict(images, verbose=0)
    with zipfile.ZipFile(path) as archive:
        labels = json.loads(archive.read("metadata.json"))["cultivar_labels"]
        structure = listing(archive)
    return {
        "version": keras.__version__,
        "probabilities": answers.astype(float).ravel().tolist(),
        "labels": labels,
        "parameters": int(model.count_params()),
        "layers": [layer.name for layer in model.layers],
        "warnings": [str(w.message) for w in caught],
        "listing": structure,
    }


if sys.argv[1] == "resave":
    keras.models.load_model(sys.argv[2]).save(sys.argv[3])
else:
    rest = sys.argv[1:]
    models = zip(rest[0::3], rest[1::3], map(int, rest[2::3]))
    json.dump([answer(*model) for model in models], sys.stdout)
