"""What the peers share: arguments, photos of one side of the split, the base model, the last line of output."""
import argparse
import json
import os

import keras
import tensorflow as tf

SIZE = 224
BATCH = 32


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--base", required=True, help=".h5 of the base model with any head")
    p.add_argument("--features", required=True, help="layer of the base whose output is pooled features")
    p.add_argument("--photos", required=True, help="folder that the split's files lie in")
    p.add_argument("--split", required=True, help="lines of file, class and split")
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--out", required=True, help="model file to write")
    p.add_argument("--epochs", type=int, default=0, help="at most so many epochs a phase, to try the script; 0: the recipe's")
    args = p.parse_args()
    keras.utils.set_random_seed(args.seed)
    return args


def split(args):
    """The class names, and for each side its files and labels."""
    with open(args.split, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    classes = sorted({line["class"] for line in lines})
    sides = {}
    for side in ("train", "val", "test"):
        chosen = [line for line in lines if line["split"] == side]
        files = [os.path.join(args.photos, line["file"]) for line in chosen]
        sides[side] = (files, [classes.index(line["class"]) for line in chosen])
    return classes, sides


def decode(size):
    def one(file, label):
        image = tf.io.decode_image(tf.io.read_file(file), channels=3, expand_animations=False)
        return tf.image.resize(image, (size, size), antialias=True), label

    return one


def photos(files, labels, shuffle=False):
    """Batches of photos, 0 to 255, as keras.utils.image_dataset_from_directory makes them."""
    ds = tf.data.Dataset.from_tensor_slices((files, labels))
    if shuffle:
        ds = ds.shuffle(len(files))
    ds = ds.map(decode(SIZE), num_parallel_calls=tf.data.AUTOTUNE)
    return ds.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def load_base(args):
    """The base model up to its last feature map, its rescaling included."""
    whole = keras.models.load_model(args.base, compile=False)
    return keras.Model(whole.input, whole.get_layer(args.features).input)


def epochs(args, recipe):
    return min(args.epochs, recipe) if args.epochs else recipe


def finish(args, model, sides):
    """Saves the model, measures it on the test photos and prints the result."""
    model.save(args.out)
    files, labels = sides["test"]
    answers = model.predict(photos(files, labels), verbose=0).argmax(axis=1)
    right = sum(int(a) == b for a, b in zip(answers, labels))
    print(json.dumps({"images": len(files), "test_accuracy": right / len(files)}))
