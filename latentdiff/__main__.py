"""`python -m latentdiff` is the command `latentdiff`."""

import sys

from latentdiff.cli import main

sys.exit(main())
