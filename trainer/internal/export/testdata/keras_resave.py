"""Loads an .h5 with tf-keras and saves it as tf-keras does.

usage: keras_resave.py FROM.h5 TO.h5
"""
import sys

import tf_keras

source, target = sys.argv[1:]
tf_keras.models.load_model(source).save(target, save_format="h5")
