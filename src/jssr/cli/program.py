"""The program, `jssr` and `python -m jssr`: the command line, and an end of the process that takes nothing apart."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from jssr.cli import main

AT_ONCE = ("register", "align", "segment", "synthesise", "warp", "convert")
"""Commands of which nothing is left to do once they have returned: no file is open, and no server or process runs."""


def run() -> None:
    """Run the command line and end the process with its exit code.

    Python takes all modules and objects apart before it ends, and torch's take 0.3 s. The system frees them at once.
    Threads are waited for, what was registered for the end is done and output is written, as Python does it.
    """
    try:
        main()
    except SystemExit as end:
        if not (_may_end_at_once() and isinstance(end.code, int | None)):
            raise
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        except (AttributeError, OSError, ValueError):  # closed, or nobody reads it: Python says so
            raise end from None
        os._exit((end.code or 0) & 0xFF)


def _may_end_at_once() -> bool:
    """Whether the command is one of `AT_ONCE`, and nobody goes on after it: a profiler, a debugger, an interpreter."""
    watched = sys.getprofile() is not None or sys.gettrace() is not None or sys.flags.interactive or sys.flags.inspect
    watched = watched or any(name in sys.modules for name in ("cProfile", "coverage"))  # through sys.monitoring
    return not watched and next((word for word in sys.argv[1:] if not word.startswith("-")), "") in AT_ONCE
