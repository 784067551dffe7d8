"""Run one notebook with papermill, in its own folder, with limits on time and output.

A notebook goes in as text and comes back as text, so a job can run in another process or on
another machine. What ended a failed run is named: an error in a cell, a timeout, a dead kernel,
too much output.
"""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError

MOST_OUTPUT = 2_000_000  # characters one cell may give, pictures included
ENGINE = "course"


@dataclass(frozen=True, slots=True)
class Job:
    """One notebook to run: its text, profile, papermill parameters and the limits."""

    name: str
    notebook: str
    profile: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cell_seconds: int = 900
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a job: the executed notebook as text, or what ended it and in which cell."""

    name: str
    notebook: str = ""
    seconds: float = 0.0
    kind: str = ""  # "", cell error, timeout, dead kernel, output, other
    error: str = ""
    cell: int = -1


class TooMuchOutput(CourseError):
    """A cell gave more output than a notebook should hold."""


def run(job: Job) -> Ran:
    """Run a job in a new folder; never raises for what a cell does.

    The kernel gets ``COURSE_PROFILE``, ``COURSE_RUNS`` (in that folder), no progress bars and,
    for ``threads`` above 0, ``OMP_NUM_THREADS``.
    """
    import papermill

    began = time.monotonic()
    register()
    with tempfile.TemporaryDirectory(prefix="course-build-") as folder:
        raw, ran = Path(folder) / "in.ipynb", Path(folder) / "out.ipynb"
        raw.write_text(job.notebook, encoding="utf-8")
        environment = {"COURSE_PROFILE": job.profile, "COURSE_RUNS": f"{folder}/runs",
                       "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0"}  # fmt: skip
        if job.threads:
            environment["OMP_NUM_THREADS"] = str(job.threads)
        try:
            papermill.execute_notebook(
                str(raw), str(ran), parameters=dict(job.parameters), cwd=folder,
                kernel_name="python3", engine_name=ENGINE, execution_timeout=job.cell_seconds,
                store_widget_state=False, progress_bar=False,
                env={**os.environ, **environment},
            )  # fmt: skip
        except Exception as error:  # papermill, nbclient and kernels share no base class
            kind, told, cell = explain(error, ran)
            return Ran(job.name, "", time.monotonic() - began, kind, told, cell)
        return Ran(job.name, ran.read_text(encoding="utf-8"), time.monotonic() - began)


def explain(error: Exception, ran: Path) -> tuple[str, str, int]:
    """Say what ended a run: its kind, one line, and the cell (-1 where unknown)."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return "cell error", f"{error.ename}: {error.evalue}"[:600], int(error.cell_index)
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = f"{type(error).__name__}: " + " | ".join(lines[:2])[:600]
    kind = "other"
    if isinstance(error, CellTimeoutError):
        kind = "timeout"
    elif isinstance(error, DeadKernelError):
        kind = "dead kernel"
    elif isinstance(error, TooMuchOutput):
        kind = "output"
    return kind, told, _last_started(ran)


def _last_started(ran: Path) -> int:
    """The last cell that papermill had begun when it saved, or -1."""
    import nbformat

    try:
        book = nbformat.read(ran, as_version=4)
    except Exception:  # not saved yet, or torn
        return -1
    begun = [
        i for i, c in enumerate(book.cells)
        if c.metadata.get("papermill", {}).get("start_time")
    ]  # fmt: skip
    return begun[-1] if begun else -1


def register() -> None:
    """Make papermill know our engine: its own, with the kernel's environment and an output cap."""
    import papermill.engines as engines

    class Engine(engines.NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, execution_timeout: int = 900, **kwargs: Any
        ) -> Any:
            client = _client()(
                nb_man, timeout=execution_timeout, kernel_name=kernel_name,
                store_widget_state=kwargs.get("store_widget_state", False),
            )  # fmt: skip
            return client.execute(env=kwargs.get("env"))

    engines.papermill_engines.register(ENGINE, Engine)


@functools.cache
def _client() -> Any:
    """Papermill's client, which kills the kernel of a cell that floods its output."""
    from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient

    class Client(PapermillNotebookClient):  # type: ignore[misc]
        given, counted, flooded = 0, -1, False

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if cell_index != self.counted:
                self.given, self.counted = 0, cell_index
            if msg["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                self.given += len(str(msg["content"]))
                if self.given > MOST_OUTPUT:
                    # Killed here and now, and no message read any more: behind a flood no other
                    # task gets its turn. The client then finds a dead kernel and cleans up.
                    self.flooded = True
                    os.killpg(self.km.provisioner.pgid, signal.SIGKILL)
                    raise CellExecutionComplete
            return super().process_message(msg, cell, cell_index)

        def execute(self, **kwargs: Any) -> Any:
            try:
                return super().execute(**kwargs)
            except (DeadKernelError, CellTimeoutError, RuntimeError):
                if not self.flooded:
                    raise
                raise TooMuchOutput(
                    "a cell gives too much output", where=f"cell {self.counted}",
                    got=f"more than {MOST_OUTPUT:,} characters",
                    next_step="print less, or show a part",
                ) from None  # fmt: skip

    return Client
