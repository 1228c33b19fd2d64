"""Loads .h5 files with one of the Keras implementations and prints what each answers, as a JSON list.

usage: keras_predict.py keras3|tf_keras [MODEL.h5 PIXELS.bin SIZE ...]
"""
import json
import sys

import h5py
import numpy as np

which, *rest = sys.argv[1:]
if which == "keras3":
    import keras
else:
    import tf_keras as keras


def answer(path, pixels, size):
    images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)
    model = keras.models.load_model(path)
    answers = model.predict(images, verbose=0)
    with h5py.File(path) as f:
        labels = json.loads(f.attrs["cultivar_labels"])
        config_bytes = len(f.attrs["model_config"])
    return {
        "version": keras.__version__,
        "probabilities": answers.astype(float).ravel().tolist(),
        "labels": labels,
        "config_bytes": config_bytes,
        "parameters": int(model.count_params()),
        "layers": [layer.name for layer in model.layers],
    }


models = zip(rest[0::3], rest[1::3], map(int, rest[2::3]))
json.dump([answer(*model) for model in models], sys.stdout)
