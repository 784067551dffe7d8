"""Read what an untrusted process gives: never more than a cap, never longer than a limit."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any, Literal

CHUNK = 65_536


@dataclass
class Collected:
    """What came out: JSON lines of the result pipe, printed bytes, and how it ended."""

    lines: list[Any] = field(default_factory=list)
    printed: bytes = b""
    ended: Literal["", "timeout", "flood"] = ""


def collect(
    process: subprocess.Popen[bytes], results: int, task: bytes, seconds: float, most: int
) -> Collected:
    """Feed a process its task and read its output and its result pipe until both end.

    Args:
        process: started with pipes for standard input and output.
        results: file descriptor of the result pipe's reading end.
        task: bytes for its standard input.
        seconds: on the clock.
        most: bytes of printed text and results together.
    """
    assert process.stdin and process.stdout
    feeding = process.stdin.fileno()
    got, raw, until = Collected(), b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as ready:
        for source in (results, process.stdout.fileno()):
            ready.register(source, selectors.EVENT_READ)
        os.set_blocking(feeding, False)
        ready.register(feeding, selectors.EVENT_WRITE)
        while ready.get_map():
            left = until - time.monotonic()
            if left <= 0:
                got.ended = "timeout"
                break
            for key, _ in ready.select(min(left, 0.5)):
                if key.fd == feeding:
                    task = _feed(process, task, ready)
                    continue
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    ready.unregister(key.fd)
                elif key.fd == results:
                    raw += chunk
                else:
                    got.printed += chunk
            if len(raw) + len(got.printed) > most:
                got.ended = "flood"
                break
    got.lines = _parsed(raw)
    return got


def _feed(process: subprocess.Popen[bytes], task: bytes, ready: selectors.BaseSelector) -> bytes:
    """Write what fits; close and forget the pipe once all is written or nobody reads."""
    assert process.stdin
    descriptor = process.stdin.fileno()
    try:
        task = task[os.write(descriptor, task[:CHUNK]) :]
    except BrokenPipeError:
        task = b""
    if not task:
        ready.unregister(descriptor)
        with contextlib.suppress(OSError):
            process.stdin.close()
    return task


def _parsed(raw: bytes) -> list[Any]:
    """The complete lines that are JSON; a torn or forged one is left out."""
    found = []
    for line in raw.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all it started, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
