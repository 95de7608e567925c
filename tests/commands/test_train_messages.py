"""What `latentdiff train` tells while it trains."""

import logging
import sys

from latentdiff.commands import train


def test_messages_are_told_once_whatever_libraries_did_to_the_root_logger(capsys):
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        with train._logging():
            logging.getLogger("latentdiff.recipes").info("epoch 1")
            logging.getLogger("absl").warning("no profiler")
        assert tuple(capsys.readouterr()) == ("epoch 1\n", "")
        logging.getLogger("latentdiff.recipes").warning("later")  # as before
        assert tuple(capsys.readouterr()) == ("", "later\n")
    finally:
        logging.getLogger().removeHandler(handler)
