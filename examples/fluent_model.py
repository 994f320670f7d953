"""A model in few lines: layers, `compile`, `fit`, `predict`; sizes of inputs are inferred."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn


def main():
    features = fg.random.uniform(fg.random.key(0), (400, 6), minval=-1.0, maxval=1.0)
    places = jnp.arange(10.0)[None, :] / 10
    labels = fg.nn.sigmoid(6 * (features.sum(axis=1, keepdims=True) * 0.5 - places + 0.4))

    layers = nn.Sequential(nn.LazyLinear(20), nn.Sigmoid(), nn.LazyLinear(10), nn.Sigmoid())
    model = nn.compile(layers, loss=nn.rmse, optimizer=nn.optim.adam(0.02))
    model.fit(features, labels, epochs=30, batch_size=40, key=fg.random.key(1), progress=False)
    losses = model.history["train_loss"]
    print(layers)
    print("weights", *(tuple(leaf.shape) for leaf in fg.tree.leaves(model.params)))
    print(f"RMSE {losses[0]:.4f} -> {losses[-1]:.4f}; evaluated {model.evaluate(features, labels)}")
    prediction = model.predict(features[:3])
    print("predict", prediction.shape)
    print(np.round(prediction[0], 2), "predicted\n" + str(np.round(labels[0], 2)), "wanted")
    assert prediction.shape == (3, 10) and losses[-1] < 0.3 * losses[0]

    slope = fg.grad(nn.rmse)(labels[:3], labels[:3])
    print("gradient of RMSE where nothing is wrong:", float(jnp.abs(slope).max()))
    assert np.isfinite(slope).all()


if __name__ == "__main__":
    main()
