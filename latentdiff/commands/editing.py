"""`latentdiff generate --init-image`: pictures that begin with a picture."""

from latentdiff.commands import UsageError, options_given

NEED_IMAGE = ("strength", "mask", "keep_pixels")


class Editing:
    """What the arguments ask for: to generate, to change a picture, or to paint a part of it.

    Attributes:
        settings: what is recorded of it in each picture; empty where nothing is edited.
        arrays: the picture and perhaps the mask, as `ImageToImage` and `Inpaint` take them, once `open` has read them.

    Raises:
        UsageError: options that need others, or a file that is no picture; a mask of another size than the picture.
    """

    def __init__(self, args):
        self.image, self.mask, self.keep_pixels = args.init_image, args.mask, args.keep_pixels
        self.settings, self.arrays = {}, {}
        if self.image is None:
            given = options_given(args, NEED_IMAGE)
            if given:
                raise UsageError(f"{given[0]} needs --init-image, the picture to begin with")
            return
        size = _size(self.image, "--init-image")
        if self.mask is None:
            if self.keep_pixels:
                raise UsageError("--keep-pixels needs --mask, which tells the pixels to paint from those to keep")
        elif _size(self.mask, "--mask") != size:
            told = " x ".join(map(str, size))
            received = " x ".join(map(str, _size(self.mask, "--mask")))
            raise UsageError(f"--mask must have the size of --init-image, {told} pixels. Received: {received} pixels")
        self.strength = args.strength
        if self.strength is None:
            self.strength = 0.8 if self.mask is None else 1.0
        self.settings = {"init_image": str(self.image), "strength": self.strength}
        if self.mask is not None:
            self.settings |= {"mask": str(self.mask), "keep_pixels": self.keep_pixels}

    def open(self, pipeline):
        """The pipeline for the job, around the model of a `TextToImage`; reads the files in its size.

        Raises:
            UsageError: a picture of other proportions than the model's, or one that can't be used at all.
        """
        if self.image is None:
            return pipeline
        from latentdiff import ImageToImage, Inpaint
        from latentdiff.data.images import load_mask, load_picture

        self.arrays["images"] = _read(load_picture, self.image, "--init-image", pipeline.image_size)
        if self.mask is not None:
            self.arrays["masks"] = _read(load_mask, self.mask, "--mask", pipeline.image_size)
        return (ImageToImage if self.mask is None else Inpaint).from_pipeline(pipeline)

    def count_steps(self, pipeline, arguments):
        """Steps taken for each picture with these arguments of `TextToImage.generate`; raises its ValueErrors."""
        return pipeline.count_steps(pipeline.settings(**arguments, strength=self.settings.get("strength", 1.0)))

    def generate(self, pipeline, arguments, **options):
        """Pictures of these arguments of `TextToImage.generate`, by the pipeline that `open` gave."""
        if self.image is None:
            return pipeline.generate(**arguments, **options)
        inputs = {**self.arrays, **{name: arguments[name] for name in ("prompts", "negative_prompts")}}
        rest = {name: values for name, values in arguments.items() if name not in inputs}
        if self.mask is not None:
            rest["keep_pixels"] = self.keep_pixels
        return pipeline.generate(inputs, strength=self.strength, **rest, **options)


def _read(load, path, option, image_size):
    """What a function of `latentdiff.data.images` reads from a picture file."""
    try:
        return load(path, image_size)
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {path} can't be used with this preset: {error}") from error


def _size(path, option):
    """(width, height) of a picture file as it is shown."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).size
    except UnidentifiedImageError as error:
        raise UsageError(f"{option} must be a picture file. Received: {path}") from error
    except OSError as error:
        raise UsageError(f"{option} {path} can't be read: {error.strerror or error}") from error
    except Image.DecompressionBombError as error:
        raise UsageError(f"{option} {path} has too many pixels: {error}") from error
