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


def mediapipe(path, classes):
    found = classify(path, 1e-9)  # 0 would be taken for none
    names = {c.index: c.category_name for c in found.categories}
    scores = {c.index: c.score for c in found.categories}
    # Without a threshold of the caller's own, the model's is what counts.
    sure = {c.index: c.score for c in classify(path, None).categories}
    every = range(classes)
    return {"head": found.head_name, "labels": [names.get(i, "") for i in every], "scores": [scores.get(i, 0) for i in every],
            "sure": [sure.get(i, 0) for i in every]}


def classify(path, threshold):
    vision = mp.tasks.vision
    options = vision.ImageClassifierOptions(base_options=mp.tasks.BaseOptions(model_asset_path=path), max_results=-1, score_threshold=threshold)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(images[0].astype("u1")))
        return classifier.classify(image).classifications[0]


results = [litert(path) for path in paths]
for path, result in zip(paths, results):
    result["mediapipe"] = mediapipe(path, len(result["named"]))
print(json.dumps(results))
