"""Checks an ONNX model with onnx itself and runs it with onnxruntime; prints what both say, as JSON.

usage: onnx_run.py MODEL.onnx PIXELS.bin SIZE
"""
import hashlib
import json
import sys
import time

import numpy as np
import onnx
import onnxruntime

path, pixels, size = sys.argv[1:]
size = int(size)
images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)

model = onnx.load(path)
onnx.checker.check_model(path, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def attribute(a):
    value = onnx.helper.get_attribute_value(a)
    return f"{a.name}={round(value, 9) if isinstance(value, float) else value}"


def listing():
    """The file's structure as text; arrays by their shape and the hash of their values rounded to 4 digits."""
    sets = ", ".join(f"{s.domain or 'ai.onnx'} {s.version}" for s in model.opset_import)
    yield f"ir_version {model.ir_version}, {sets}, producer {model.producer_name}, metadata " + ", ".join(p.key for p in model.metadata_props)
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for v in values:
            yield f"{kind} {v.name} {onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower()}{dims(v)}"
    for n in model.graph.node:
        yield f"{n.output[0]} = {n.op_type}({', '.join(n.input)}) {' '.join(map(attribute, n.attribute))}".rstrip()
    for i in model.graph.initializer:
        array = onnx.numpy_helper.to_array(i)
        digest = hashlib.sha256(np.round(array, 4).tobytes()).hexdigest()[:8]
        yield f"{i.name} {array.dtype}{list(array.shape)} {digest}"


def session(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def milliseconds(threads, batch):
    """The fastest of some runs, as other programs share the machine."""
    s, best = session(threads), float("inf")
    for i in range(0, 8 * batch, batch):
        feed = np.take(images, range(i, i + batch), axis=0, mode="wrap")
        start = time.perf_counter()
        s.run(None, {"image": feed})
        best = min(best, time.perf_counter() - start)
    return 1000 * best / batch


one = session(1)
answers = np.concatenate([one.run(["probabilities"], {"image": images[i : i + 16]})[0] for i in range(0, len(images), 16)])
single = one.run(None, {"image": images[:1]})[0]
json.dump({
    "listing": "\n".join(listing()) + "\n",
    "inferred": len(inferred.graph.value_info),
    "nodes": len(model.graph.node),
    "metadata": {p.key: p.value for p in model.metadata_props},
    "probabilities": answers.astype(float).ravel().tolist(),
    "single": single.astype(float).ravel().tolist(),
    "ms": {f"{threads} threads, batch {batch}": milliseconds(threads, batch) for threads, batch in ((1, 1), (2, 1), (2, 8))},
}, sys.stdout)
