"""Parses .mlmodel files with coremltools, looks them over with its tools, computes what each answers, and prints it as JSON.

Core ML itself runs on Apple's systems only, so the numbers come from an interpreter here. It is written after the
comments in coremltools' NeuralNetwork.proto, reads the file through coremltools' own classes, and knows nothing of how
the file was made.

usage: coreml_run.py [MODEL.mlmodel PIXELS.bin SIZE ...]
"""
import contextlib
import hashlib
import json
import sys

import coremltools as ct
import numpy as np
import tensorflow as tf
from coremltools.models.neural_network import NeuralNetworkBuilder, quantization_utils


def weights(params, *shape):
    """Apple's validator asks for exactly the right number of values, in one of both widths."""
    half = np.frombuffer(params.float16Value, "<f2").astype("float32")
    full = np.array(params.floatValue, "float32")
    assert (len(half) == 0) != (len(full) == 0)
    return (half if len(half) else full).reshape(shape)


# Each kind of layer as a function from its parameters to one from blobs [n, height, width, channels] to a blob.


def convolution(p):
    height, width = p.kernelSize
    assert list(p.dilationFactor) == [1, 1] and not p.isDeconvolution and p.WhichOneof("ConvolutionPaddingType") == "valid"
    w = weights(p.weights, p.outputChannels, p.kernelChannels, height, width)
    b = weights(p.bias, p.outputChannels) if p.hasBias else np.float32(0)
    (top, bottom), (left, right) = ((e.startEdgeSize, e.endEdgeSize) for e in p.valid.paddingAmounts.borderAmounts)
    pads, strides = [[0, 0], [top, bottom], [left, right], [0, 0]], [1, *p.stride, 1]
    if p.nGroups == 1:
        kernel = tf.constant(w.transpose(2, 3, 1, 0))
        return lambda x: tf.nn.conv2d(tf.pad(x, pads), kernel, strides, "VALID") + b
    assert p.nGroups == p.outputChannels and p.kernelChannels == 1
    kernel = tf.constant(w.transpose(2, 3, 0, 1))
    return lambda x: tf.nn.depthwise_conv2d(tf.pad(x, pads), kernel, strides, "VALID") + b


def inner_product(p):
    assert not p.int8DynamicQuantize
    w = weights(p.weights, p.outputChannels, p.inputChannels).T
    b = weights(p.bias, p.outputChannels) if p.hasBias else np.float32(0)

    def run(x):
        assert x.shape[1:] == [1, 1, p.inputChannels]
        return tf.tensordot(x, w, 1) + b

    return run


def batchnorm(p):
    assert not p.computeMeanVar and not p.instanceNormalization
    gamma, beta, mean, variance = (weights(w, p.channels) for w in (p.gamma, p.beta, p.mean, p.variance))
    return lambda x: gamma * (x - mean) / np.sqrt(variance + np.float32(p.epsilon)) + beta


def pooling(p):
    assert p.type == p.AVERAGE and p.globalPooling and p.WhichOneof("PoolingPaddingType") == "valid"
    return lambda x: tf.reduce_mean(x, [1, 2], keepdims=True)


def activation(p):
    kind = p.WhichOneof("NonlinearityType")
    if kind == "linear":
        return lambda x: p.linear.alpha * x + p.linear.beta
    assert kind == "ReLU"
    return lambda x: tf.maximum(x, 0)


def unary(p):
    assert p.type == p.THRESHOLD
    return lambda x: tf.maximum(np.float32(p.alpha), p.scale * x + p.shift)


LAYERS = {
    "convolution": convolution,
    "innerProduct": inner_product,
    "batchnorm": batchnorm,
    "pooling": pooling,
    "activation": activation,
    "unary": unary,
    "softmax": lambda p: lambda x: tf.nn.softmax(x, axis=3),
    "add": lambda p: lambda *x: tf.add_n(x),
    "concat": lambda p: lambda *x: tf.concat(x, axis=3),
}


def predict(spec, images):
    network = spec.neuralNetworkClassifier
    (before,) = network.preprocessing
    scaler = before.scaler
    bias = np.array([scaler.redBias, scaler.greenBias, scaler.blueBias], "float32")
    program = []
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        (name,) = layer.output
        program.append((name, LAYERS[kind](getattr(layer, kind)), list(layer.input)))
    answers = []
    for i in range(0, len(images), 10):
        blobs = {before.featureName: tf.constant(images[i : i + 10] * np.float32(scaler.channelScale) + bias)}
        for name, run, inputs in program:
            assert name not in blobs
            blobs[name] = run(*(blobs[i] for i in inputs))
        answers.append(blobs[network.labelProbabilityLayerName].numpy().ravel())
    return np.concatenate(answers).astype(float).tolist()


def listing(spec):
    """The file's structure as text; arrays by their number of values and the hash of them rounded to 4 digits."""
    d = spec.description
    metadata = ", ".join(sorted(d.metadata.userDefined))
    yield f"specification {spec.specificationVersion}, predicts {d.predictedFeatureName} by {d.predictedProbabilitiesName}, metadata {metadata}"
    for kind, features in (("input", d.input), ("output", d.output)):
        for f in features:
            yield f"{kind} {f.name}: {' '.join(str(f.type).split())}"
    network = spec.neuralNetworkClassifier
    yield f"preprocessing {' '.join(str(network.preprocessing[0]).split())}"
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        fields, arrays = [], []
        for field, value in getattr(layer, kind).ListFields():
            if field.message_type and field.message_type.name == "WeightParams":
                a = weights(value, -1)
                arrays.append(f"{field.name}[{len(a)}] {hashlib.sha256(np.round(a, 4).tobytes()).hexdigest()[:8]}")
            elif field.message_type:
                fields.append(f"{field.name}({' '.join(str(value).split())})")
            else:
                fields.append(f"{field.name}={value if isinstance(value, (bool, int, float)) else list(value)}")
        yield f"{layer.output[0]} = {kind}({', '.join(layer.input)}) {' '.join(fields + arrays)}".rstrip()
    yield f"probabilities of {network.labelProbabilityLayerName}"


def check(path):
    """What coremltools can do on Linux: it parses the file, its classes take it, and its own tool rewrites the arrays,
    which it finds by each layer's other fields. That is slow, so only for small files of full width. Returns the file and
    the rewritten one."""
    model = ct.models.MLModel(path, skip_model_load=True)
    spec = ct.utils.load_spec(path)
    assert spec == model.get_spec()
    assert len(NeuralNetworkBuilder(spec=model.get_spec()).layers) == len(spec.neuralNetworkClassifier.layers)
    if spec.specificationVersion > 1 or spec.ByteSize() > 100_000:
        return spec, None
    half = quantization_utils.quantize_weights(model, 16)
    return spec, half if hasattr(half, "neuralNetworkClassifier") else half.get_spec()


def answer(path, pixels, size):
    images = np.fromfile(pixels, "<f4").reshape(-1, size, size, 3)
    with contextlib.redirect_stdout(sys.stderr):  # the tool reports its progress
        spec, half = check(path)
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (size, size)
    return {
        "listing": "\n".join(listing(spec)) + "\n",
        "layers": len(spec.neuralNetworkClassifier.layers),
        "labels": list(spec.neuralNetworkClassifier.stringClassLabels.vector),
        "probabilities": predict(spec, images),
        "halved": predict(half, images[:10]) if half else None,
    }


rest = sys.argv[1:]
json.dump([answer(*model) for model in zip(rest[0::3], rest[1::3], map(int, rest[2::3]))], sys.stdout)
