"""The recipe of the Keras transfer-learning tutorial (tensorflow.org/tutorials/images/transfer_learning), at 224 pixels."""
import common
import keras

args = common.arguments()
classes, sides = common.split(args)
train, val = common.photos(*sides["train"], shuffle=True), common.photos(*sides["val"])

base = common.load_base(args)
base.trainable = False
inputs = keras.Input((common.SIZE, common.SIZE, 3))
x = keras.layers.RandomFlip("horizontal")(inputs)
x = keras.layers.RandomRotation(0.2)(x)
x = base(x, training=False)  # batch norms stay as they are, also when the base is trained
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dropout(0.2)(x)
model = keras.Model(inputs, keras.layers.Dense(len(classes), activation="softmax")(x))

n = common.epochs(args, 10)
model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train, validation_data=val, epochs=n, verbose=2)

base.trainable = True
for layer in base.layers[: len(base.layers) * 2 // 3]:
    layer.trainable = False
model.compile(keras.optimizers.RMSprop(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train, validation_data=val, initial_epoch=n, epochs=2 * n, verbose=2)
common.finish(args, model, sides)
