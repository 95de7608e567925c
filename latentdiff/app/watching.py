"""A function that runs in a thread of its own, seen from outside while it runs."""

import queue
import threading
import time

import numpy as np

PAUSE = 0.4  # seconds between two previews: a preview costs a decoder


class Stopped(Exception):
    """The one who watched wants no more."""


def watched(function, stop, preview=True):
    """Runs `function(callback)` in a thread; yields (step, num_steps, images or None), and returns its result.

    Args:
        function: takes the `callback` of `generate`, and raises what it raises.
        stop: `threading.Event`; once it is set, `callback` raises `Stopped`. Closing the generator sets it.
        preview: whether to decode images, at most one each `PAUSE` seconds.
    """
    seen, done, last = queue.Queue(), [], [-PAUSE]

    def callback(step, num_steps, decode):
        if stop.is_set():
            raise Stopped
        now = time.monotonic()
        shown = preview and step < num_steps and now - last[0] >= PAUSE
        last[0] = now if shown else last[0]
        seen.put((step, num_steps, _batch(decode()) if shown else None))

    def run():
        try:
            done.append((function(callback), None))
        except BaseException as error:
            done.append((None, error))
        finally:
            seen.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := seen.get()) is not None:
            yield item
    finally:
        if not done:
            stop.set()
        thread.join()
    result, error = done[0]
    if error is not None:
        raise error
    return result


def _batch(images):
    images = np.asarray(images)
    return images[None] if images.ndim == 3 else images
