"""`latentdiff generate --init-image --mask`: images that begin with an image."""

from latentdiff.commands import UsageError, options_given

OPTIONS = {"images": "--init-image", "masks": "--mask"}


def check(args, settings):
    """Checks the files and that no option goes without the one that it needs.

    Args:
        args: of `latentdiff generate`.
        settings: rows of the table of settings.

    Raises:
        UsageError: an option that needs another, a file that is no image, a mask of another size than the image.
    """
    given = {"images": args.init_image, "masks": args.mask}
    needs = {row.name: row.needs for row in settings if row.needs in OPTIONS} | {"mask": "images"}
    for name, needed in needs.items():
        if options_given(args, [name]) and given[needed] is None:
            raise UsageError(f"{options_given(args, [name])[0]} needs {OPTIONS[needed]}")
    sizes = [_size(given[name], OPTIONS[name]) for name in OPTIONS if given[name] is not None]
    if len(set(sizes)) > 1:
        told, received = (" x ".join(map(str, size)) for size in sizes)
        raise UsageError(f"--mask must have the size of --init-image, {told} pixels. Received: {received} pixels")


def open_editor(pipeline, args):
    """The pipeline for the job, around the model of a `TextToImage`, and its inputs as it takes them.

    Raises:
        UsageError: an image of other proportions than the model's, or one that can't be used at all.
    """
    if args.init_image is None:
        return pipeline, {}
    from latentdiff import ImageToImage, Inpaint
    from latentdiff.data.images import load_mask, load_picture

    given = {"images": _read(load_picture, args.init_image, "--init-image", pipeline.image_size)}
    if args.mask is None:
        return ImageToImage.from_pipeline(pipeline), given
    given["masks"] = _read(load_mask, args.mask, "--mask", pipeline.image_size)
    return Inpaint.from_pipeline(pipeline), given


def record(args):
    """What is recorded of the files in each image."""
    files = {"init_image": args.init_image, "mask": args.mask}
    return {name: str(path) for name, path in files.items() if path is not None}


def _read(load, path, option, image_size):
    """What a function of `latentdiff.data.images` reads from an image file."""
    try:
        return load(path, image_size)
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {path} can't be used with this preset: {error}") from error


def _size(path, option):
    """(width, height) of an image file as it is shown."""
    from latentdiff.data.images import read_image

    try:
        return read_image(path).size
    except OSError as error:
        raise UsageError(f"{option} {path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
