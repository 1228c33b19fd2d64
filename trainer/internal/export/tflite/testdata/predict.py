"""Runs TensorFlow Lite models with LiteRT and with MediaPipe Tasks' ImageClassifier and prints what they answer, as JSON.

usage: predict.py PIXELS.bin SIZE MODEL.tflite ...
"""
import json
import sys
import time
import types

import numpy as np
from ai_edge_litert.interpreter import Interpreter

# MediaPipe imports these for drawing only.
for name in ("cv2", "matplotlib", "matplotlib.pyplot"):
    sys.modules[name] = types.ModuleType(name)
import mediapipe as mp

pixels, size, *paths = sys.argv[1:]
size = int(size)
images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)


def describe(detail):
    scale, zero = detail["quantization"]
    return f"{detail['name']}: {np.dtype(detail['dtype']).name}{detail['shape_signature'].tolist()} {scale:g} {zero}"


def real(values, detail):
    scale, zero = detail["quantization"]
    return (values.astype("f4") - zero) * scale if scale else values


def litert(path):
    model = Interpreter(path, num_threads=2)
    model.allocate_tensors()
    before, after = model.get_input_details()[0], model.get_output_details()[0]
    answers = []
    start = time.monotonic()
    for image in images:
        model.set_tensor(before["index"], image[None].astype(before["dtype"]))
        model.invoke()
        answers.append(real(model.get_tensor(after["index"])[0], after))
    took = time.monotonic() - start
    # Several at once, which the batch dimension is there for.
    few = images[:3].astype(before["dtype"])
    model.resize_tensor_input(before["index"], few.shape)
    model.allocate_tensors()
    model.set_tensor(before["index"], few)
    model.invoke()
    batch = real(model.get_tensor(after["index"]), after)
    named = Interpreter(path).get_signature_runner("serving_default")(image=few[:1])["probabilities"][0]
    return {
        "ends": [describe(before), describe(after)],
        "probabilities": np.concatenate(answers).tolist(),
        "batch": batch.flatten().tolist(),
        "named": real(named, after).tolist(),
        "ms": 1000 * took / len(images),
    }


def mediapipe(path):
    vision = mp.tasks.vision
    options = vision.ImageClassifierOptions(base_options=mp.tasks.BaseOptions(model_asset_path=path), max_results=-1)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(images[0].astype("u1")))
        found = classifier.classify(image).classifications[0]
    best = sorted(found.categories, key=lambda category: category.index)
    return {"head": found.head_name, "labels": [c.category_name for c in best], "scores": [c.score for c in best]}


print(json.dumps([litert(path) | {"mediapipe": mediapipe(path)} for path in paths]))
