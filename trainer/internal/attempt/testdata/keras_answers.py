"""Answers for JPEG files with an exported model as a Keras user would: keras_answers.py MODEL.h5 SIZE FILE…"""
import json
import sys

import keras
import tensorflow as tf

model = keras.models.load_model(sys.argv[1], compile=False)
size = int(sys.argv[2])
photos = [
    tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(name), channels=3), [size, size], antialias=True)
    for name in sys.argv[3:]
]
print(json.dumps(model.predict(tf.stack(photos), verbose=0).tolist()))
