"""Start the process with memory settings that suit training on a CPU.

glibc gives large buffers back to the system after every step and pays page
faults for them in the next one. These variables stop that; they are read before
``main`` runs, so the process has to start again with them. Measured on a
4-core machine: +18% tokens a second with four threads, +40% with two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

MALLOC_SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
GUARD = "COURSE_RESTARTED"


def on_glibc() -> bool:
    """Tell whether this is Linux with the GNU C library."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


def restart_environment(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Give the environment to start again with, or None when there is no need.

    Args:
        environ: the present environment. A setting already there is kept;
            ``COURSE_RESTARTED`` in it means that this was done before.
    """
    if environ.get(GUARD) or all(name in environ for name in MALLOC_SETTINGS):
        return None
    return {**MALLOC_SETTINGS, **environ, GUARD: "1"}


def restart_with_memory_settings() -> None:
    """Replace this process by the same command with the settings, once, on glibc Linux.

    Where the process cannot be replaced, it goes on as it is: slower, not wrong.
    """
    wanted = restart_environment(os.environ)
    if wanted is None or not on_glibc() or len(sys.orig_argv) < 2:
        return
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
    except OSError:
        return
