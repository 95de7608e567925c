"""Low-rank adapters (LoRA) of a `LatentDiffusion`: several at once, with scales that change without compiling anew.

Keras' own `enable_lora` has one adapter per layer, whose scale is a Python number, and saves it merged. An adapter here
is a Keras layer beside the network: its variables are saved and restored as they are, and it can be taken off again.
"""

import contextlib

import keras
import numpy as np
from keras import ops

from latentdiff.models.layers.adapted import adapt, check_plain, kernel_matrix_shape, unadapt

DENSE = (keras.layers.Dense, keras.layers.EinsumDense)
CONVOLUTION = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def _is_attention(layer):
    return isinstance(layer, DENSE) and "attention" in "/".join(layer.path.split("/")[-2:-1])


TARGETS = {
    "attention": _is_attention,
    "linear": lambda layer: isinstance(layer, DENSE),
    "convolution": lambda layer: isinstance(layer, CONVOLUTION),
}
PARTS = ("unet", "text_encoder")


class LoRA(keras.layers.Layer):
    """One adapter: two thin matrices for the kernel of each adapted layer.

    An adapted layer computes with kernel + scale * alpha / rank * down @ up, reshaped to the kernel. The rows of `down`
    are what the kernel sums over: (height, width, inputs) of a convolution. Whatever the layer does with its kernel
    (strides, heads, an activation) therefore stays right.

    Args:
        layers: dict of path -> layer, those to adapt. A path is `unet/` or `text_encoder/` and that of the layer.
        ranks: dict of path -> int.
        alphas: dict of path -> float.
        seed: of the initial values of `down`; `up` starts as zeros, so that a new adapter changes nothing.
        scale: float, the initial value of the variable `scale`.
        trainable: whether `fit` changes it.

    Raises:
        ValueError: a rank below 1, an alpha that is no finite number above 0.

    Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, arXiv:2106.09685.
    """

    def __init__(self, layers, ranks, alphas, seed=0, scale=1.0, name="lora", trainable=True):
        super().__init__(name=name, trainable=trainable, dtype="float32")
        for path in layers:
            _check(path, ranks[path], alphas[path])
        self.ranks = {path: ranks[path] for path in sorted(layers)}
        self.alphas = {path: alphas[path] for path in self.ranks}
        self.scale = self.add_weight(
            name="scale", shape=(), initializer=keras.initializers.Constant(scale), trainable=False
        )
        self.matrices = {
            path: self._matrices(path, layers[path], seed + index) for index, path in enumerate(self.ranks)
        }
        self.built = True

    def _matrices(self, path, layer, seed):
        """`down` (rows, rank) and `up` (rank, columns) of one kernel."""
        rows, columns = kernel_matrix_shape(layer)
        name, rank = path.replace("/", "."), self.ranks[path]
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)  # PyTorch's for a layer
        down = self.add_weight(name=f"{name}.down", shape=(rows, rank), initializer=uniform)
        return down, self.add_weight(name=f"{name}.up", shape=(rank, columns), initializer="zeros")

    def delta(self, path):
        """What the adapter adds to the kernel of a layer, as a matrix (rows, columns)."""
        down, up = self.matrices[path]
        return self.scale * (self.alphas[path] / self.ranks[path]) * ops.matmul(down, up)

    def get_config(self):
        """What `Adapters.restore` needs, beside the model; the values of the matrices are weights."""
        layers = {path: [rank, self.alphas[path]] for path, rank in self.ranks.items()}
        return {"name": self.name, "layers": layers, "trainable": self.trainable}


class Adapters:
    """The adapters of a `LatentDiffusion` by name: `model.lora`.

    While an adapter is `trainable`, `fit` changes the trainable adapters alone. Call `compile` after each change of the
    adapters. `.keras` files and presets hold the adapters of a model as adapters.

    Args:
        model: a `LatentDiffusion`, or a keras.Model with `unet`, `text_encoder` and a list `lora_layers`.
    """

    def __init__(self, model):
        self._model = model
        self.revision = 0  # counts changes: what was compiled before one is compiled again

    def __iter__(self):
        return iter([lora.name for lora in self._model.lora_layers])

    def __len__(self):
        return len(self._model.lora_layers)

    def __getitem__(self, name):
        for lora in self._model.lora_layers:
            if lora.name == name:
                return lora
        raise ValueError(f"`name` must be that of an adapter, one of {list(self)}. Received: {name=}")

    def add(self, name="lora", rank=8, alpha=None, targets="attention", parts="unet", seed=0):
        """Adds a new adapter, which changes nothing until it is trained.

        Args:
            name: str.
            rank: int >= 1.
            alpha: float > 0: the change of a kernel is multiplied by alpha / rank. Default: `rank`.
            targets: which layers: "attention" (projections of attention), "linear" (all dense layers), "convolution",
                or a sequence of these.
            parts: "unet", "text_encoder", or both in a sequence.
            seed: int, of the initial values.

        Returns:
            The `LoRA`.

        Raises:
            ValueError: an adapter of this name, an unknown target or part, no layer to adapt, a quantized layer.
        """
        tests = [TARGETS[target] for target in _names("targets", targets, TARGETS)]
        parts = _names("parts", parts, PARTS)
        layers = {path: layer for path, layer in self.layers(parts).items() if any(test(layer) for test in tests)}
        alpha = rank if alpha is None else alpha
        return self._attach(name, layers, dict.fromkeys(layers, rank), dict.fromkeys(layers, alpha), seed=seed)

    def insert(self, name, matrices, alphas, scale=1.0):
        """Adds an adapter with known matrices, which is not trainable.

        Args:
            name: str.
            matrices: dict of path -> (down (rows, rank), up (rank, columns)), float arrays.
            alphas: dict of path -> float.
            scale: float.

        Returns:
            The `LoRA`.

        Raises:
            ValueError: an adapter of this name, an unknown path, matrices of other shapes than the kernel's.
        """
        layers = self._known(matrices)
        for path, (down, up) in matrices.items():
            rows, columns = kernel_matrix_shape(layers[path])
            if (down.shape[0], up.shape[1]) != (rows, columns) or down.shape[1] != up.shape[0]:
                raise ValueError(
                    f"`matrices` of {path!r} must be ({rows}, rank) and (rank, {columns}). "
                    f"Received: {down.shape} and {up.shape}"
                )
        ranks = {path: down.shape[1] for path, (down, _) in matrices.items()}
        lora = self._attach(name, layers, ranks, alphas, scale=scale, trainable=False)
        for path, values in matrices.items():
            for variable, value in zip(lora.matrices[path], values, strict=True):
                variable.assign(value)
        return lora

    def restore(self, config):
        """Adds an adapter from its config; the values come with the weights of the model."""
        layers = self._known(config["layers"])
        ranks, alphas = ({path: pair[index] for path, pair in config["layers"].items()} for index in (0, 1))
        return self._attach(config["name"], layers, ranks, alphas, trainable=config["trainable"])

    def remove(self, name):
        """Takes an adapter off: the model is as it was before, to the bit."""
        lora = self[name]
        layers = self.layers()
        for path in lora.ranks:
            unadapt(layers[path], lora)
        self._model.lora_layers.remove(lora)
        self._changed()

    def merge(self):
        """Adds all adapters into the kernels, for good, and takes them off."""
        layers = self.layers()
        for path in {path for lora in self._model.lora_layers for path in lora.ranks}:
            kernel = layers[path].kernel
            layers[path]._kernel.assign(kernel)
        self.clear()

    def clear(self):
        """Takes all adapters off."""
        for name in list(self):
            self.remove(name)

    @contextlib.contextmanager
    def merged(self):
        """Within it the adapters are merged, as exports need it; then all is as before, to the bit."""
        loras, layers = list(self._model.lora_layers), self.layers()
        paths = {path for lora in loras for path in lora.ranks}
        kernels = {path: np.array(ops.convert_to_numpy(layers[path]._kernel.value)) for path in paths}
        self.merge()
        try:
            yield
        finally:
            for path, kernel in kernels.items():
                layers[path]._kernel.assign(kernel)
            for lora in loras:
                self._put(lora, layers)

    def layers(self, parts=PARTS, unused=False):
        """The layers that can be adapted, by their path behind the name of their part; perhaps with unused ones."""
        found = {}
        for part in parts:
            model = getattr(self._model, part)
            if not unused:
                model = getattr(model, "sequence_model", model)  # of a text encoder, without heads that nobody uses
            for layer in model._flatten_layers(include_self=False):
                if isinstance(layer, (*DENSE, *CONVOLUTION)) and layer.built:
                    if (path := f"{part}/{layer.path}") in found:
                        raise ValueError(f"Layers to adapt must have different paths. Received: {path!r} twice")
                    found[path] = layer
        return dict(sorted(found.items()))

    def _known(self, paths):
        layers = self.layers()
        if unknown := sorted(set(paths) - set(layers)):
            raise ValueError(f"`paths` must be layers of the model. Received: {', '.join(unknown)}")
        return {path: layers[path] for path in paths}

    def _attach(self, name, layers, ranks, alphas, **options):
        if name in list(self):
            raise ValueError(f"`name` must be a new one beside {list(self)}. Received: {name=}")
        if not layers:
            raise ValueError(f"`targets` must be layers of the model. Received: {name=} with none")
        for path, layer in layers.items():
            check_plain(layer, path)
        lora = LoRA(layers, ranks, alphas, name=name, **options)
        self._put(lora, layers)
        return lora

    def _put(self, lora, layers):
        for path in lora.ranks:
            adapt(layers[path], lora, path)
        self._model._tracker.unlock()
        self._model.lora_layers.append(lora)
        self._changed()

    def _changed(self):
        self.revision += 1
        self._model.train_function = self._model.test_function = self._model.predict_function = None


# === Checks ===


def _names(argument, given, known):
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or set(names) - set(known):
        raise ValueError(f"`{argument}` must be one or some of {sorted(known)}. Received: {argument}={given!r}")
    return names


def _check(path, rank, alpha):
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"`rank` must be a whole number of at least 1. Received: {rank=} for {path}")
    if not 0 < alpha < float("inf"):
        raise ValueError(f"`alpha` must be a number above 0. Received: {alpha=} for {path}")
