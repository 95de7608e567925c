"""Lets Keras find our classes when `latentdiff` was imported before Keras and nothing of it was used yet.

`import latentdiff, keras; keras.saving.load_model("model.keras")` must work, and importing latentdiff must not import
Keras, which takes seconds. So when Keras gets imported, placeholders are registered under the names of our classes. The
first one that Keras opens a model with imports the classes; they register themselves in the place of the placeholders.
"""

import sys

NAMES = """
    AdaptiveBlock AdaptiveOutput Attention AttentionBlock Autoencoder ClipPair DiT Downsample GroupNorm LPIPS
    LatentDiffusion NoiseSchedule Objective PatchDiscriminator Patchify PositionEmbedding PowerAveragedAdamW ResnetBlock
    SpatialTransformer TextAndSizeEmbedding TextEncoder TimestepEmbedding TransformerBlock UNet Unpatchify Upsample
    WarmUp WarmUpAdamW
"""
REGISTERED = tuple(f"latentdiff>{name}" for name in NAMES.split())


class Placeholder:
    """Stands for a registered class until it is imported by `load`."""

    def __init__(self, name, load):
        self.name, self.load = name, load

    def from_config(self, config):
        import keras

        self.load()
        # Not by `get_registered_object`: while Keras opens a model, it has a copy of what was registered before.
        return keras.saving.get_custom_objects()[self.name].from_config(config)


class AfterKeras:
    """A finder of `sys.meta_path` that finds `keras` as the others do, and calls `then()` once it is imported."""

    def __init__(self, then):
        self.then = then

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            execute = spec.loader.exec_module

            def execute_then(module):
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self.then()

            spec.loader.exec_module = execute_then
        return spec


def register_after_keras(load):
    """Registers placeholders as soon as Keras is imported; `load()` imports the classes that they stand for."""

    def register():
        import keras

        known = keras.saving.get_custom_objects()
        for name in REGISTERED:
            known.setdefault(name, Placeholder(name, load))

    sys.meta_path.insert(0, AfterKeras(register))
