"""How the C library gives freed memory back to the system."""

import ctypes
import platform
import sys

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP = 2**31 - 1  # bytes at the end of the heap that are not given back
GROW = 64 << 20  # bytes by which the heap grows


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, instead of asking the system for it again.

    PyTorch allocates and frees the large results of layers on a CPU all the time. By default glibc maps each anew, and
    the system clears its pages: a fifth of the CPU time of DAT (`python -m tests.bench.page_faults`). The process
    stays as large as it once was. Returns False where the C library is another, which is left as it is.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, GROW))
    return all(library.mallopt(parameter, value) for parameter, value in wanted)
