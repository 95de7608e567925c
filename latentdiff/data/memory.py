"""What fits into the memory of this machine."""

import os


def total_memory():
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows can't tell
        return 2**40
