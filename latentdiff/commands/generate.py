"""`latentdiff generate`: from prompts to image files."""

from latentdiff.commands import UsageError, editing, lora, remote, words
from latentdiff.commands.output import Output, check_writable
from latentdiff.commands.preset import find_preset, in_tiles, opened_preset
from latentdiff.commands.prompts import OPTIONS, read_request

BATCH_SIZE = 16  # images made at a time; those made are on the disk before the next are begun
MAX_FRAMES = 50


def run(args):
    """Makes and writes the images, see `latentdiff generate --help`."""
    if args.server is not None:
        return remote.run(args)
    request = read_request(args)
    output = Output(args.output, request, args.grid)
    _check(args)
    with opened_preset(args.preset) as (opened, bar):
        lora.load(opened, args)
        words.load(opened, args)
        pipeline, inputs = editing.open_editor(in_tiles(opened, args.tile_size), args)
        request = _resolve(pipeline, request)
        output.prepare()
        bar.tell_seeds(request.drawn)
        try:
            _make(pipeline, request, inputs, args, bar, output)
        finally:
            bar.tell(output.save_grid())


def _check(args):
    """Checks of the arguments that are left."""
    if args.trajectory:
        if args.trajectory.suffix.lower() != ".gif":
            raise UsageError(f"--trajectory must end in .gif. Received: {args.trajectory}")
        check_writable(args.trajectory)
    editing.check(args, OPTIONS)
    lora.check(args)
    words.check(args)
    find_preset(args.preset)


def _resolve(pipeline, request):
    try:
        return pipeline.resolve(request)
    except ValueError as error:
        raise UsageError(error) from error


def _make(pipeline, request, inputs, args, bar, output):
    """Makes and writes the images of a resolved request."""
    steps, arrays = pipeline.count_steps(request), pipeline.arrays(len(request), **inputs)
    starts = range(0, len(request), BATCH_SIZE)
    bar.start(sum(max(steps[start : start + BATCH_SIZE]) for start in starts))
    told = {"preset": args.preset, **lora.record(args), **words.record(args), **editing.record(args)}
    for start in starts:
        rows = slice(start, start + BATCH_SIZE)
        batch = request.rows(rows.start, rows.stop)
        wanted = args.trajectory and start == 0
        frames = _Trajectory(steps[0]) if wanted else None

        def watcher(step, num_steps, decode, frames=frames):
            if step:
                bar.advance()
            if frames:
                frames.add(step, num_steps, decode)

        images = pipeline.draw(batch, {name: values[rows] for name, values in arrays.items()}, BATCH_SIZE, watcher)
        for index, image in enumerate(images):
            bar.tell(output.add(image, {**batch.record(index, pipeline.takes), **told}))
        if frames:
            frames.save(args.trajectory, images[0])
            bar.tell(args.trajectory)


class _Trajectory:
    """The first image of a batch, from what the loop begins with to its end, in `num_steps` steps."""

    def __init__(self, num_steps):
        self.num_steps = num_steps
        self.frames = []

    def add(self, step, num_steps, decode):
        """Takes the image after a step, of a longer run only some, evenly spread."""
        if step == 0 or (step < self.num_steps and step % -(-num_steps // MAX_FRAMES) == 0):
            self.frames.append(decode()[0])

    def save(self, path, image):
        from latentdiff.data.images import save_animation

        save_animation(path, [*self.frames, image])
