"""Classifies photos with Keras alone: classify.py MODEL.h5 FIT PHOTO… prints one JSON line a photo.

The photos are prepared as usage says: decoded (shrunk by libjpeg as long as the shorter side suffices), resized with
antialiasing to the model's square, 0…255. Everything else is in the model.
"""
import json, os, sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import h5py
import tensorflow as tf

path, photos = sys.argv[1], sys.argv[2:]
model = tf.keras.models.load_model(path, compile=False)
size = model.input_shape[1]
with h5py.File(path) as f:
    labels = f.attrs["cultivar_labels"]
labels = json.loads(labels if isinstance(labels, str) else labels.decode())


def prepare(name):
    data = tf.io.read_file(name)
    height, width = tf.image.extract_jpeg_shape(data)[:2].numpy()
    ratio = 1
    while ratio < 8 and -(-min(height, width) // (2 * ratio)) >= size:
        ratio *= 2
    image = tf.io.decode_jpeg(data, channels=3, ratio=ratio)
    return tf.image.resize(image, (size, size), method="bilinear", antialias=True)


for name in photos:
    p = model.predict(tf.expand_dims(prepare(name), 0), verbose=0)[0]
    print(json.dumps({"path": name, "top": labels[int(p.argmax())], "probability": float(p.max())}))
