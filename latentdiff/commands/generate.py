"""`latentdiff generate`: from prompts to picture files."""

from latentdiff.commands import UsageError, remote
from latentdiff.commands.editing import Editing
from latentdiff.commands.output import Output, check_writable
from latentdiff.commands.preset import find_preset, opened_preset
from latentdiff.commands.prompts import arguments, read_requests

BATCH_SIZE = 16  # pictures made at a time; those made are on the disk before the next are begun
MAX_FRAMES = 50


def run(args):
    """Makes and writes the pictures, see `latentdiff generate --help`."""
    if args.server is not None:
        return remote.run(args)
    requests, drawn = read_requests(args)
    output = Output(args.output, requests, args.grid)
    _check(args)
    editing = Editing(args)
    with opened_preset(args.preset) as (opened, bar):
        pipeline = editing.open(opened)
        records = _records(pipeline, requests, args, editing)
        steps = _count_steps(pipeline, records, editing)
        output.prepare()
        bar.tell_seed(drawn)
        try:
            _make(pipeline, records, steps, args, editing, bar, output)
        finally:
            bar.tell(output.save_grid())


def _make(pipeline, records, steps, args, editing, bar, output):
    """Makes and writes the pictures of these records, which take so many steps each."""
    starts = range(0, len(records), BATCH_SIZE)
    bar.start(sum(max(steps[start : start + BATCH_SIZE]) for start in starts))
    for start in starts:
        batch = records[start : start + BATCH_SIZE]
        wanted = args.trajectory and start == 0
        frames = _Trajectory(pipeline, batch[0], steps[0], editing.arrays.get("images")) if wanted else None
        pictures = _generate(pipeline, batch, args, editing, bar, frames)
        for picture, record in zip(pictures, batch, strict=True):
            bar.tell(output.add(picture, record))
        if frames:
            frames.save(args.trajectory, pictures[0])
            bar.tell(args.trajectory)


def _check(args):
    """Checks of the arguments that are left."""
    if args.trajectory:
        if args.trajectory.suffix.lower() != ".gif":
            raise UsageError(f"--trajectory must end in .gif. Received: {args.trajectory}")
        check_writable(args.trajectory)
    if args.guidance_interval and not args.guidance_interval[0] < args.guidance_interval[1]:
        raise UsageError(f"--guidance-interval must be LOW HIGH with LOW < HIGH. Received: {args.guidance_interval}")
    find_preset(args.preset)


def _records(pipeline, requests, args, editing):
    """The full settings of each picture, as they go into its file and into the manifest."""
    records = []
    for request in requests:
        record = {**request, "sampler": args.sampler or pipeline.sampler, "preset": args.preset}
        for name in ("num_steps", "guidance_scale"):
            record[name] = getattr(pipeline, name) if record[name] is None else record[name]
        record |= {name: value for name, value in _guidance(pipeline, args).items() if value} | editing.settings
        records.append(record)
    return records


def _count_steps(pipeline, records, editing):
    """The steps that each picture takes; finds out on the way whether the settings are right."""
    try:
        return editing.count_steps(pipeline, arguments(records))
    except ValueError as error:
        raise UsageError(error) from error


def _guidance(pipeline, args):
    """How guidance is limited, for all pictures alike; numbers that JSON can hold."""
    from latentdiff.diffusion.guidance import finite_interval

    given = {name: getattr(args, name) for name in ("guidance_rescale", "guidance_interval")}
    limits = {name: getattr(pipeline, name) if value is None else value for name, value in given.items()}
    return {**limits, "guidance_interval": finite_interval(limits["guidance_interval"])}


def _generate(pipeline, batch, args, editing, bar, frames):
    def callback(step, num_steps, decode):
        bar.advance()
        if frames:
            frames.add(step, num_steps, decode)

    options = {"sampler": args.sampler, **_guidance(pipeline, args), "batch_size": len(batch), "callback": callback}
    return editing.generate(pipeline, arguments(batch), **options)


class _Trajectory:
    """The first picture of a batch, from static or from the picture that it begins with, in `num_steps` steps."""

    def __init__(self, pipeline, record, num_steps, picture=None):
        from keras import ops

        from latentdiff.diffusion import noise
        from latentdiff.models import pixels

        self.num_steps = num_steps
        self.frames = [picture]
        if picture is None:
            latents = noise.normal([record["seed"]], pipeline.latent_shape)
            self.frames = [ops.convert_to_numpy(pixels.to_uint8(pipeline.model.autoencoder.decode(latents)))[0]]

    def add(self, step, num_steps, decode):
        """Takes the picture after a step, of a longer run only some, evenly spread."""
        if step < self.num_steps and step % -(-num_steps // MAX_FRAMES) == 0:
            self.frames.append(decode()[0])

    def save(self, path, picture):
        from latentdiff.data.images import save_animation

        save_animation(path, [*self.frames, picture])
