"""A strong plain fine-tuning: 3 epochs of the head, then 15 of the whole network, as a careful Keras user writes it."""
import common
import keras
import tensorflow as tf

DECODED = 256  # pixels a side of what is kept in memory between epochs
RATE = 3e-4

args = common.arguments()
classes, sides = common.split(args)


def one_hot(image, label):
    return image, tf.one_hot(label, len(classes))


def keep(image, label):
    return tf.cast(tf.round(image), tf.uint8), label


def augment(image, label):
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image), tf.zeros((1, 0, 4)), area_range=(0.5, 1.0), aspect_ratio_range=(0.8, 1.25),
        min_object_covered=0.0, use_image_if_no_bounding_boxes=True)
    image = tf.image.resize(tf.slice(image, begin, size), (common.SIZE, common.SIZE), antialias=True)
    image = tf.image.random_flip_left_right(image)
    image = tf.image.random_brightness(image, 25)
    image = tf.image.random_contrast(image, 0.8, 1.2)
    image = tf.image.random_saturation(tf.clip_by_value(image, 0, 255) / 255, 0.8, 1.2) * 255
    image.set_shape((common.SIZE, common.SIZE, 3))
    return tf.clip_by_value(image, 0, 255), label


files, labels = sides["train"]
rotate = keras.layers.RandomRotation(0.04)
train = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .map(common.decode(DECODED), num_parallel_calls=tf.data.AUTOTUNE)
    .map(keep)
    .cache()
    .shuffle(len(files))
    .map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    .map(one_hot)
    .batch(common.BATCH)
    .map(lambda x, y: (rotate(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    .prefetch(tf.data.AUTOTUNE)
)
val = common.photos(*sides["val"]).map(one_hot).cache()

base = common.load_base(args)
base.trainable = False
inputs = keras.Input((common.SIZE, common.SIZE, 3))
x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
x = keras.layers.Dropout(0.2)(x)
model = keras.Model(inputs, keras.layers.Dense(len(classes), activation="softmax")(x))
loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)

head = common.epochs(args, 3)
model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
model.fit(train, validation_data=val, epochs=head, verbose=2)

base.trainable = True
for layer in base.layers:
    layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
whole = common.epochs(args, 15)
steps = -(-len(files) // common.BATCH)
rate = keras.optimizers.schedules.CosineDecay(0.0, steps * max(whole - 1, 1), warmup_target=RATE, warmup_steps=steps)
model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0), loss, metrics=["accuracy"])
best = keras.callbacks.EarlyStopping("val_loss", patience=whole, restore_best_weights=True)
model.fit(train, validation_data=val, epochs=whole, callbacks=[best], verbose=2)
common.finish(args, model, sides)
