"""Frozen features and logistic regression: C by cross-validation on all photos that are not for testing."""
import common
import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CHOICES = (0.0003, 0.001, 0.003, 0.01, 0.1)

args = common.arguments()
classes, sides = common.split(args)
# The project's head learns from the validation photos too once they have chosen; so does this one.
files, labels = sides["train"][0] + sides["val"][0], sides["train"][1] + sides["val"][1]

base = common.load_base(args)
pooled = keras.layers.GlobalAveragePooling2D()(base.output)
features = keras.Model(base.input, pooled).predict(common.photos(files, labels), verbose=0)
folds = max(2, min(4, np.bincount(labels).min()))
search = GridSearchCV(
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    {"logisticregression__C": CHOICES},
    cv=StratifiedKFold(folds, shuffle=True, random_state=args.seed),
    n_jobs=-1,
).fit(features, labels)
print("C", search.best_params_["logisticregression__C"])

# One model file from photo to answer, as the other systems leave.
scaler, logistic = (step for _, step in search.best_estimator_.steps)
coefficients, intercept = logistic.coef_, logistic.intercept_
if len(classes) == 2:  # scikit-learn gives one row then: the second class against the first
    coefficients, intercept = np.vstack([0 * coefficients, coefficients]), np.append(0 * intercept, intercept)
kernel = coefficients.T / scaler.scale_[:, None]
dense = keras.layers.Dense(len(classes), activation="softmax")
model = keras.Model(base.input, dense(pooled))
dense.set_weights([kernel, intercept - scaler.mean_ @ kernel])
common.finish(args, model, sides)
