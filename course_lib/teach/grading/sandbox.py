"""Run a stranger's function where it can harm nothing: bubblewrap, another user, hard limits.

No network, no process but its own, no file of the course or of the grader: the system's
libraries and the Python environment are bound read-only, ``/tmp`` is a small file system in
memory. Only JSON, capped in size, comes out; the verdict is computed outside. What cannot be
isolated is refused, never run.

Source: bubblewrap's manual, bwrap(1); setpriv(1); prlimit(1).
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from course_lib.teach.grading import channel

Outcome = Literal["ran", "error", "timeout", "memory", "flood", "killed", "refused"]
TOOLS = ("bwrap", "setpriv", "prlimit")
MOST_CODE = 100_000  # characters of source


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger's code may use.

    Attributes:
        seconds: on the clock; processor time is limited to as much.
        memory: bytes of address space (torch needs 2 GiB and more).
        output: bytes of printed text and of results.
        processes: processes and threads.
        disk: bytes of ``/tmp``.
    """

    seconds: float = 10.0
    memory: int = 4 * 2**30
    output: int = 1_000_000
    processes: int = 64
    disk: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave: JSON results in the order of the cases, as many as were reached."""

    outcome: Outcome
    results: list[Any] = field(default_factory=list)
    told: str = ""
    seconds: float = 0.0


# Runs inside. Results go out line by line, so that those before an endless loop are kept.
HARNESS = r"""
import json, os, sys
out = os.fdopen(int(sys.argv[1]), "w")
task = json.load(sys.stdin)
def plain(value):
    if hasattr(value, "tolist"): return value.tolist()
    if isinstance(value, (set, frozenset)): return {"set": sorted(map(repr, value))}
    raise TypeError("a result of type " + type(value).__name__ + " cannot be compared")
def tell(kind, value):
    out.write(json.dumps({kind: value}, default=plain) + "\n"); out.flush()
def told(error): return (type(error).__name__ + ": " + str(error))[:400]
space = {"__name__": "student"}
try:
    exec(compile(task["code"], "answer.py", "exec"), space)
    function = space[task["function"]]
except MemoryError: tell("memory", "MemoryError"); sys.exit(0)
except KeyError: tell("broken", "there is no function " + task["function"]); sys.exit(0)
except BaseException as error: tell("broken", told(error)); sys.exit(0)
for case in task["cases"]:
    before = json.dumps(case)
    try:
        found = function(*case)
        if json.dumps(case) != before: raise ValueError("it changed what it was given")
    except MemoryError: tell("memory", "MemoryError"); sys.exit(0)
    except BaseException as error: tell("result", {"error": told(error)}); continue
    try: tell("result", found)
    except BaseException as error: tell("result", {"error": told(error)})
tell("done", True)
"""


def run(
    code: str, *, function: str, cases: Sequence[Sequence[Any]], limits: Limits | None = None
) -> Ran:
    """Run ``function`` of ``code`` on each case, inside the sandbox.

    Args:
        code: the stranger's source.
        function: the name of the function it defines.
        cases: arguments, JSON each.
        limits: the defaults of :class:`Limits` when None.

    Returns:
        What it gave. Nothing the code does raises here.
    """
    if why := available():
        return Ran("refused", told=why)
    if len(code) > MOST_CODE:
        return Ran("flood", told=f"the source has more than {MOST_CODE:,} characters")
    return _run(_launcher(), code, function, cases, limits or Limits())


@functools.cache
def available() -> str:
    """Give ``""`` where isolation works (tested once a process), else the reason it does not."""
    if not sys.platform.startswith("linux"):
        return "the sandbox needs Linux with bubblewrap"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"not installed: {', '.join(missing)} (Debian: bubblewrap, util-linux)"
    return (
        "" if _launcher() else "bubblewrap cannot isolate here; inside a container it often may not"
    )


@functools.cache
def _launcher() -> str:
    """The way of starting that passes the self-test: ``inner``, ``outer`` or ``""``."""
    return next((way for way in ("outer", "inner") if _isolates(way)), "")


PROBE = """
import os, socket
def probe(path):
    held = []
    try: socket.create_connection(("1.1.1.1", 53), 0.2); held.append("network")
    except OSError: pass
    for place in (path, "/etc/shadow"):
        try: open(place).read(1); held.append("reads " + place)
        except OSError: pass
    for place in ("/usr/x", "/x", "/etc/x"):
        try: open(place, "w"); held.append("writes " + place)
        except OSError: pass
    if os.getuid() == 0: held.append("is root")
    try: os.setuid(0); held.append("becomes root")
    except OSError: pass
    children = []
    try:
        for _ in range(200):
            child = os.fork()
            if not child:
                import time; time.sleep(9); os._exit(0)
            children.append(child)
        held.append("forks without end")
    except OSError: pass
    for child in children: os.kill(child, 9)
    return held
"""


def _isolates(way: str) -> bool:
    own = str(Path(__file__).resolve())
    ran = _run(way, PROBE, "probe", [[own]], Limits(seconds=30.0))  # a busy machine starts it late
    return ran.outcome == "ran" and ran.results == [[]]


def _run(way: str, code: str, function: str, cases: Sequence[Sequence[Any]], limits: Limits) -> Ran:
    task = json.dumps({"code": code, "function": function, "cases": cases}).encode()
    read, write = os.pipe()
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            _command(way, limits, write), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=[write], start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
    except OSError as error:
        os.close(read)
        return Ran("refused", told=str(error))
    finally:
        os.close(write)
    try:
        got = channel.collect(process, read, task, limits.seconds, limits.output)
    finally:
        os.close(read)
        channel.end(process)
    return _judge(got, len(cases), process.returncode, time.monotonic() - began)


def _judge(got: channel.Collected, cases: int, code: int, seconds: float) -> Ran:
    lines = [line for line in got.lines if isinstance(line, dict)]
    results = [line["result"] for line in lines if "result" in line][:cases]
    done = any("done" in line for line in lines)
    broken = next((str(line["broken"]) for line in lines if "broken" in line), "")
    outcome: Outcome = "killed"
    told = got.printed[-400:].decode("utf-8", "replace").strip()
    if got.ended == "timeout":
        outcome, told = "timeout", "it ran longer than allowed"
    elif got.ended == "flood":
        outcome, told = "flood", "it printed or gave back more than allowed"
    elif any("memory" in line for line in lines):
        outcome, told = "memory", "it used more memory than allowed"
    elif broken:
        outcome, told = "error", broken
    elif done and len(results) == cases:
        outcome, told = "ran", ""
    elif not told:
        told = f"it ended with code {code} before the last case"
    return Ran(outcome, results, told, seconds)


def _command(way: str, limits: Limits, out: int) -> list[str]:
    """The whole command: ``outer`` drops rights before bubblewrap, ``inner`` inside it."""
    caps = [
        "prlimit", f"--as={limits.memory}", f"--cpu={int(limits.seconds) + 1}", "--core=0",
        f"--fsize={limits.disk}", "--nofile=256", f"--nproc={limits.processes}", "--",
    ]  # fmt: skip
    other = str(random.SystemRandom().randrange(200_000, 2_000_000))
    drop = ["setpriv", f"--reuid={other}", f"--regid={other}", "--clear-groups",
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"]  # fmt: skip
    spaces = ["--new-session", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
              "--unshare-cgroup-try", "--die-with-parent", "--clearenv"]  # fmt: skip
    python = [sys.executable, "-I", "-c", HARNESS, str(out)]
    if way == "outer":
        first = drop if os.geteuid() == 0 else []
        users = ["--unshare-user", "--disable-userns"]
        return [*first, *caps, "bwrap", *users, *spaces, *_binds(limits), *python]
    if os.geteuid() != 0:
        return ["false"]
    return ["bwrap", *spaces, *_binds(limits), *drop, *caps, *python]


def _binds(limits: Limits) -> list[str]:
    """What is seen inside; the last option makes the root read-only."""
    binds = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            binds += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            binds += ["--ro-bind", str(path), str(path)]
    # Before the interpreter's folders: they may lie below /tmp themselves.
    binds += ["--proc", "/proc", "--dev", "/dev", "--size", str(limits.disk), "--perms", "1777",
              "--tmpfs", "/tmp"]  # fmt: skip
    for place in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if not place.startswith("/usr"):
            for parent in reversed(Path(place).parents[:-1]):  # else made for root alone
                binds += ["--perms", "0755", "--dir", str(parent)]
            binds += ["--ro-bind", place, place]
    return [
        *binds, "--chdir", "/tmp", "--setenv", "OMP_NUM_THREADS", "1",
        "--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--remount-ro", "/",
    ]  # fmt: skip
