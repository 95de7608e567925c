"""An experiment: every setting of a training run, in one typed place. An unknown field is an error."""

import dataclasses
import difflib
import inspect
import itertools
import typing
from collections.abc import Callable, Sequence


def one_caption(record, rng):
    """The caption of the image, as it is."""
    return [record["caption"]]


def _autoencoder():
    return {
        "latent_channels": 8,
        "widths": (96, 128, 128),
        "num_blocks": 1,
        "patch_size": 2,
        "groups": 16,
        "kl_weight": 1e-3,
        "perceptual_weight": 0.5,
    }


def _network():
    from latentdiff.models.sizes import SIZES  # slow to import

    return {**SIZES["emoji-128"], "dropout": 0.1}


def _generate():
    return {"sampler": "dpmpp_2m", "num_steps": 12, "guidance_scale": 3.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings of both training stages. The default networks are those of the shipped preset `emoji-128`.

    Parts (`autoencoder`, `network`, `noise_schedule`, `generate`) are dicts of constructor arguments, or dataclasses
    with fields of these names.

    Raises:
        ValueError: an unknown field or constructor argument, with the nearest known one; a value of another type or
            out of range.
    """

    # === Data ===

    image_size: int = 128
    """Height and width of the training images, in pixels."""
    bucket_step: int | None = None
    """Images keep their proportions, at sizes of about the area of `image_size` whose sides are multiples of so many
    pixels (`data.buckets`): a multiple of what autoencoder and network need. None crops the central square."""
    background: str = "white"
    """Colour behind what is transparent in images, such as "white" or "#ffcc00"."""
    crop: str = "centre"
    """Which part the autoencoder trains on of images that are not square: "centre", or "random", another one each time.
    Stage two takes the centre, or with `bucket_step` nearly all."""
    split: str | None = None
    """The split to train on; None takes all images."""
    validation_split: str | None = None
    """The split that validation and the PSNR of the autoencoder use; None validates on nothing."""
    captions: Callable = one_caption
    """`(record, rng) -> list of str`: the captions of one image. Each list has the same length. Training draws one."""
    variations: Sequence = ()
    """Functions of `latentdiff.data.variations`, such as `mirrored`: each adds a varied image with its own caption."""
    kept_out: Sequence = ()
    """Tuples of things. No variation shows all things of a tuple."""
    plain_share: float = 0.5
    """Share of each batch that is original images; their variations are the rest."""
    flip: bool = False
    """Whether the autoencoder also trains on mirrored images."""
    flip_latents: bool = False
    """Whether stage two also trains on mirrored images, with the same captions. Their latents are cached, too."""
    sample_latents: bool = False
    """Whether stage two trains on samples of the posterior of the latents in place of its mean."""
    seed: int = 0
    """Seed of the weights, the noise, the order of the images and the variations."""
    dtype: str = "float32"
    """Keras dtype policy. "mixed_bfloat16" is faster on GPUs and TPUs."""
    read_processes: int = 2
    """Processes that decode images which do not fit into memory; 0 decodes them by threads of this one."""
    backup_minutes: float | None = None
    """Minutes between backups within an epoch, from which a run resumes in the middle of it; None backs up after each
    epoch only. On JAX each step is then waited for."""

    # === Autoencoder ===

    autoencoder: dict = dataclasses.field(default_factory=_autoencoder)
    """Arguments of `Autoencoder`."""
    autoencoder_batch_size: int = 16
    """Images in a batch."""
    autoencoder_epochs: int = 5
    """Number of epochs. A backup is written after each."""
    autoencoder_passes: int = 10
    """How often an epoch goes through all images."""
    autoencoder_learning_rate: float = 1e-4
    """Peak of the learning rate; it warms up first, and decays to zero."""
    autoencoder_ema: float = 0.999
    """Momentum of the moving average of the weights."""

    # === Diffusion ===

    network: dict = dataclasses.field(default_factory=_network)
    """`network`, a name of `models.networks.NETWORKS` ("unet" if left out), and the arguments of its class, without the
    shapes of latents and context. Rows of `models.sizes.SIZES` are such dicts."""
    noise_schedule: dict = dataclasses.field(default_factory=lambda: {"kind": "cosine"})
    """Arguments of `NoiseSchedule`."""
    prediction_type: str = "velocity"
    """What the U-Net predicts: "noise", "velocity" or "latents"."""
    context_dropout: float = 0.1
    """Share of the captions that are replaced by the empty one, for classifier-free guidance."""
    min_snr_gamma: float | None = None
    """Gamma of min-SNR weighting; None weighs all timesteps alike."""
    sequence_length: int = 32
    """Tokens of a caption. Only used with `--text-encoder`."""
    separator: str | None = None
    """A token, such as ",", at which a caption is cut into parts that are encoded apart; see `TextEncoder`."""
    batch_size: int = 32
    """Latents in a batch."""
    epochs: int = 10
    """Number of epochs. A backup and a preset are written after each."""
    passes: int = 50
    """How often an epoch goes through all images."""
    learning_rate: float = 1e-4
    """Peak of the learning rate; it warms up first, and decays to zero."""
    schedule: str = "cosine"
    """How the learning rate goes on after its warm-up: "cosine" to zero, "constant", or "inverse_sqrt" of the step."""
    accumulated_batches: int = 1
    """Batches whose gradients make one update, as one batch of so many times its size would; the average counts
    updates. Adds no memory but for one more copy of the trained weights."""
    ema: float = 0.999
    """Momentum of the moving average of the weights."""
    ema_half_life: float | None = None
    """Images after which the moving average has forgotten half, whatever the batch size; replaces `ema`."""
    average_lengths: Sequence = ()
    """Further averages of the weights, such as (0.05, 0.1): shares of the training that they go back over. `latentdiff
    train average` mixes them into one of any length afterwards. Each is a copy of the weights in memory."""
    cache_text: bool = False
    """Whether the text encoder encodes each caption once, before training, and its features are read from the disk."""
    steps_per_execution: int = 1
    """Training steps in one compiled call. 10 is faster where a step takes few milliseconds."""
    gradient_checkpointing: bool = False
    """Whether the blocks of the network keep their inputs alone for the gradient: less memory, and one more
    forward pass."""
    query_chunk_size: int | None = None
    """Queries of attention whose scores are in memory at a time; None for all."""

    lora: dict = dataclasses.field(default_factory=dict)
    """`rank`, `alpha`, `targets` and `parts` of an adapter, see `models.lora.Adapters.add`. It is trained in place of
    the network, for the preset of `--init`, whose `network`, `noise_schedule` and `generate` count. Empty for none."""
    textual_inversion: dict = dataclasses.field(default_factory=dict)
    """`word`, `num_vectors` and `like` of a new word, see `models.words.Words.add`. It is trained in place of the
    network, for the preset of `--init`. Captions must have it. Empty for none."""
    prior: dict = dataclasses.field(default_factory=dict)
    """`prompt`, `num_images` (200) and `weight` (1) of images that the preset of `--init` makes and that are trained
    on, too: as many a batch as images of the data, with this weight on their loss (DreamBooth). Empty for none."""

    distilled_steps: Sequence = (4, 2)
    """Steps of each phase of `latentdiff train distillation`; each is half of the one before. The first phase learns
    from the preset as it samples by default, guided, in as many steps as its own or just above."""

    # === The preset ===

    generate: dict = dataclasses.field(default_factory=_generate)
    """Defaults of the preset that is written: arguments of `TextToImage`, such as `num_steps`."""
    preview_prompts: Sequence | None = None
    """Prompts of the preview images; None takes the first four captions, () draws none."""

    def __new__(cls, *args, **fields):
        check_names(fields, [field.name for field in dataclasses.fields(cls)], cls.__name__)
        return super().__new__(cls)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is dict and dataclasses.is_dataclass(value):
                object.__setattr__(self, field.name, dataclasses.asdict(value))
            _check_type(field.name, getattr(self, field.name), field.type)
            _check_range(field.name, getattr(self, field.name))
        self._check_parts()
        _check_halved(self.distilled_steps)

    def replace(self, **changes):
        """A copy with other values of these fields."""
        return dataclasses.replace(self, **changes)

    def _check_parts(self):
        from latentdiff import Autoencoder, NoiseSchedule, TextToImage  # slow to import
        from latentdiff.models.networks import network_class

        parts = {"autoencoder": Autoencoder, "noise_schedule": NoiseSchedule, "generate": TextToImage}
        parts["network"] = network_class(self.network)
        for name, known in ADAPTATIONS.items():
            check_names(getattr(self, name), known, name)
            if getattr(self, name) and known[0] not in getattr(self, name):
                raise ValueError(f"`{name}` must have `{known[0]}`. Received: {name}={getattr(self, name)!r}")
        if self.lora and self.textual_inversion:
            raise ValueError("`lora` must be empty where `textual_inversion` is not. Received: both")
        given = {"latent_shape", "context_dim", "num_tokens", "model", "kwargs"}  # by the run
        for name, kind in parts.items():
            known = [*(set(inspect.signature(kind).parameters) - given), *(["network"] if name == "network" else [])]
            check_names(getattr(self, name), known, name)


def check_names(given, known, what):
    """Raises ValueError if a key of `given` is not one of `known`; names the nearest of them."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {sorted(known)}."
            raise ValueError(f"`{what}` has no `{name}`: {hint} Received: {name}={given[name]!r}")


# The settings of each way to adapt a preset; it needs the first of them.
ADAPTATIONS = {
    "lora": ["rank", "alpha", "targets", "parts"],
    "textual_inversion": ["word", "num_vectors", "like"],
    "prior": ["prompt", "num_images", "weight"],
}
CHOICES = {"schedule": ("cosine", "constant", "inverse_sqrt")}
POSITIVE = {"image_size", "autoencoder_batch_size", "autoencoder_epochs", "autoencoder_passes", "batch_size"}
POSITIVE |= {"epochs", "passes", "steps_per_execution", "accumulated_batches", "sequence_length", "query_chunk_size"}
POSITIVE |= {"bucket_step"}
SHARES = {"plain_share", "context_dropout", "autoencoder_ema", "ema"}
NOT_NEGATIVE = {
    "seed",
    "read_processes",
    "backup_minutes",
    "ema_half_life",
    "learning_rate",
    "autoencoder_learning_rate",
    "min_snr_gamma",
}


def _check_type(name, value, expected):
    allowed = typing.get_args(expected) or (expected,)
    if float in allowed:
        allowed += (int,)
    if Callable in allowed:
        fits = callable(value)
    else:
        fits = isinstance(value, allowed) and (isinstance(value, bool) <= (bool in allowed))
        fits = fits and not (Sequence in allowed and isinstance(value, str))
    if not fits:
        names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed)
        raise ValueError(f"`{name}` must be of type {names}. Received: {name}={value!r}")


def _check_halved(steps):
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in steps)
    if not steps or not whole or any(2 * after != before for before, after in itertools.pairwise(steps)):
        raise ValueError(
            f"`distilled_steps` must be whole numbers, each half of the one before. Received: distilled_steps={steps!r}"
        )


def _check_range(name, value):
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"`{name}` must be one of {CHOICES[name]}. Received: {name}={value!r}")
    if name in POSITIVE and value is not None and value < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    if name in SHARES and not 0.0 <= value <= 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1]. Received: {name}={value!r}")
    if name in NOT_NEGATIVE and value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"`{name}` must not be negative. Received: {name}={value!r}")
