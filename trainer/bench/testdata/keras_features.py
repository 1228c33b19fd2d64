"""Runs a base model over a folder of photos as a Keras user does, and prints images and seconds.

python keras_features.py MODEL.h5 FEATURES-LAYER FOLDER SIZE
"""
import json
import sys
import time

import keras
import tensorflow as tf

path, layer, folder, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
whole = keras.models.load_model(path, compile=False)
model = keras.Model(whole.input, whole.get_layer(layer).output)
photos = keras.utils.image_dataset_from_directory(
    folder, image_size=(size, size), batch_size=32, shuffle=False, verbose=False
).map(lambda x, y: x, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
model.predict(photos.take(1), verbose=0)  # tracing is not counted
start = time.perf_counter()
features = model.predict(photos, verbose=0)
print(json.dumps({"images": len(features), "seconds": time.perf_counter() - start}))
