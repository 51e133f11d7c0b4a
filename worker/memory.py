"""Large blocks of memory go back to the system as soon as they are free."""

import contextlib
import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h of glibc
LARGE_BYTES = 256 * 1024


def return_large_blocks() -> None:
    """Keep glibc from hoarding what one huge answer of a bus has taken. Elsewhere there is nothing to do.

    By itself glibc raises its mmap threshold to the largest block that was ever freed, up to 32 MB; from then on each
    thread takes such blocks from a heap of its own and keeps them: 18 inboxes, two of them answering without end,
    came to 280 MB. Setting the threshold turns that adjustment off (mallopt(3), glibc 2.41).
    """
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
