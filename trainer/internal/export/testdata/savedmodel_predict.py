"""Loads a SavedModel with TensorFlow's Python and prints its signatures and what they answer, as JSON.

usage: savedmodel_predict.py DIR PIXELS.bin SIZE [IMAGE ...]
"""
import json
import sys

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

path, pixels, size, *files = sys.argv[1:]
size = int(size)
images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)
model = tf.saved_model.load(path)


def describe(signature):
    inputs = signature.structured_input_signature[1]
    lines = [f"in {name}: {spec.dtype.name}{spec.shape.as_list()}" for name, spec in sorted(inputs.items())]
    outputs = signature.structured_outputs
    return lines + [f"out {name}: {spec.dtype.name}{spec.shape.as_list()}" for name, spec in sorted(outputs.items())]


def upright(name):
    """What serve_bytes documents, computed by other means: RGB on white, stretched by the antialiased bilinear resize."""
    image = tf.io.decode_image(tf.io.read_file(name), channels=0, expand_animations=False).numpy().astype("float32")
    if image.shape[2] in (2, 4):
        alpha = image[..., -1:] / 255
        image = image[..., :-1] * alpha + 255 * (1 - alpha)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return tf.image.resize(image, (size, size), antialias=True)


answers = model.signatures["serving_default"](image=tf.constant(images))["probabilities"]
result = {
    "signatures": {key: describe(model.signatures[key]) for key in sorted(model.signatures)},
    "probabilities": answers.numpy().astype(float).ravel().tolist(),
    "assets": [asset.filename for asset in loader_impl.parse_saved_model(path).meta_graphs[0].asset_file_def],
}
if files:
    encoded = tf.constant([open(name, "rb").read() for name in files])
    answers = model.signatures["serve_bytes"](image_bytes=encoded)["probabilities"]
    result["bytes_probabilities"] = answers.numpy().astype(float).ravel().tolist()
    batch = tf.stack([upright(name) for name in files])
    answers = model.signatures["serving_default"](image=batch)["probabilities"]
    result["resized_probabilities"] = answers.numpy().astype(float).ravel().tolist()
json.dump(result, sys.stdout)
