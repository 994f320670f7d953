"""What to write here for names that users of other libraries look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_A_LOSS = "a loss is a function: "
_A_PART = "assign it in __init__: self.layers = "
_A_SCHEDULE = "a schedule is a function of the step, given as learning_rate: "

# By the names of torch.nn, keras.layers and flax.linen.
OF_MODULES: Mapping[str, str] = {
    "BCELoss": f"{_A_LOSS}nn.binary_cross_entropy(p, y, from_logits=False)",
    "BCEWithLogitsLoss": f"{_A_LOSS}nn.binary_cross_entropy(logits, y)",
    "CTCLoss": f"{_A_LOSS}nn.ctc",
    "CosineEmbeddingLoss": f"{_A_LOSS}nn.cosine_embedding(a, b, labels)",
    "CosineSimilarity": "nn.cosine_similarity(a, b)",
    "CrossEntropyLoss": f"{_A_LOSS}nn.cross_entropy(logits, labels), with axis=1 for (N, C, ...)",
    "HuberLoss": f"{_A_LOSS}nn.huber(predictions, targets)",
    "KLDivLoss": f"{_A_LOSS}nn.kl_divergence(log_predictions, targets)",
    "L1Loss": f"{_A_LOSS}nn.mae(predictions, targets)",
    "MSELoss": f"{_A_LOSS}nn.mse(predictions, targets)",
    "MultiMarginLoss": f"{_A_LOSS}nn.multi_margin(logits, labels)",
    "NLLLoss": f"{_A_LOSS}nn.nll(log_probabilities, labels), with axis=1 for (N, C, ...)",
    "SmoothL1Loss": f"{_A_LOSS}nn.smooth_l1(predictions, targets)",
    "ModuleList": f"a list of modules is enough; {_A_PART}[...]",
    "ModuleDict": f"a dictionary of modules is enough; {_A_PART}{{...}}",
    "Parameter": "a module holds no arrays; return them from parameters(self, key) and read self.p",
    "ParameterList": "return a dictionary of arrays from parameters(self, key) and read self.p",
    "ParameterDict": "return a dictionary of arrays from parameters(self, key) and read self.p",
    "Buffer": "return it from initial_state(self), read self.state and call self.set_state",
    "UpsamplingNearest2d": "nn.Upsample(scale_factor=2)",
    "UpsamplingBilinear2d": 'nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)',
    "Dense": "nn.Linear(inputs, outputs), or nn.LazyLinear(outputs)",
    "Conv": "nn.Conv1d, nn.Conv2d or nn.Conv3d",
    "BatchNorm": "nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d",
    "BatchNormalization": "nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d",
    "LayerNormalization": "nn.LayerNorm(sizes)",
    "Conv2D": "nn.Conv2d, with channels_last=True for Keras's layout",
    "MaxPooling2D": "nn.MaxPool2d, with channels_last=True for Keras's layout",
    "MultiHeadAttention": "nn.MultiheadAttention(size, heads, batch_first=True)",
    "Embed": "nn.Embedding(count, size)",
    "Model": "nn.Graph(inputs, outputs), or a class of your own from nn.Module",
}

# By the names of torch.optim and optax.
OF_OPTIMIZERS: Mapping[str, str] = {
    "LBFGS": "nn.optim.minimize(function, start)",
    "lbfgs": "nn.optim.minimize(function, start)",
    "lr_scheduler": f"{_A_SCHEDULE}adam(cosine_decay_schedule(1e-3, steps))",
    "softmax_cross_entropy": f"{_A_LOSS}nn.cross_entropy(logits, one_hot)",
    "softmax_cross_entropy_with_integer_labels": f"{_A_LOSS}nn.cross_entropy(logits, labels)",
    "sigmoid_binary_cross_entropy": f"{_A_LOSS}nn.binary_cross_entropy(logits, y)",
    "l2_loss": "0.5 * (x - y) ** 2; nn.mse(x, y) has no factor of one half",
    "squared_error": 'nn.mse(x, y, reduction="none")',
    "huber_loss": "nn.huber(x, y)",
    "hinge_loss": "nn.hinge(x, y)",
    "ctc_loss": "nn.ctc",
    "nadamw": "nn.optim.adamw(rate, nesterov=True)",
    "incremental_update": "tree.map(lambda n, o: step * n + (1 - step) * o, new, old), or ema",
    "zero_nans": "nn.optim.apply_if_finite(optimizer, most_in_a_row)",
    "named_chain": "chain(...), whose state is the tuple of the states",
}


def missing(
    module: str, name: str, instead: Mapping[str, str], elsewhere: Mapping[str, Sequence[str]]
) -> AttributeError:
    """The error for `module.name`, with what to write if that is known.

    `elsewhere` lists public names by where they are, for those that stand in another place or are
    written in small letters here.
    """
    hint = instead.get(name)
    for place, names in elsewhere.items():
        if hint is None and name.lower() in names:
            hint = f"{place}.{name.lower()}"
    repair = "" if hint is None else f". Here: {hint}."
    return AttributeError(f"module {module!r} has no attribute {name!r}{repair}")
