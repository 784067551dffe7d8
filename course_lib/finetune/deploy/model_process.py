"""``transformers serve`` as a process of ours: started offline, watched, ended with us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from course_lib.errors import EnvironmentProblem, ModelError

START_SECONDS = 180.0
# transformers' own command line; it ends when the process that started it is gone
CHILD = """
import os, sys, threading, time
parent = int(sys.argv.pop(1))
def watch():
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
from transformers.cli.transformers import main
sys.argv[0] = "transformers"
sys.exit(main())
"""


def bind(port: int) -> socket.socket:
    """Take a port of 127.0.0.1, or a free one for 0.

    Raises:
        EnvironmentProblem: when it is taken or may not be used.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name != "nt":  # there it would share a port that is in use
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
        taken.listen(512)
    except (OSError, OverflowError) as error:
        taken.close()
        raise EnvironmentProblem(
            f"the port cannot be used ({getattr(error, 'strerror', None) or error})",
            where=f"127.0.0.1:{port}",
            next_step="give another --port, or 0 for a free one",
        ) from None
    return taken


class ModelProcess:
    """``transformers serve`` on a model folder, on a free port of 127.0.0.1.

    Args:
        folder: the model's folder.

    Attributes:
        url: its address, without ``/v1``.

    Raises:
        EnvironmentProblem: when the extra ``serve`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from huggingface_hub.constants import HF_HUB_CACHE
        from transformers.utils.import_utils import is_serve_available

        if not is_serve_available():
            raise EnvironmentProblem(
                "what serving needs is not installed",
                expected="fastapi, uvicorn, pydantic and openai",
                next_step="pip install 'course-lib[serve]'",
            )
        Path(HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)  # it looks there even offline
        free = bind(0)
        port = free.getsockname()[1]
        free.close()
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        handle, said = tempfile.mkstemp(prefix="course-serve-", suffix=".log")
        self._said = Path(said)
        words = ["serve", str(folder.resolve()), "--host", "127.0.0.1", "--port", str(port)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(os.getpid()), *words],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        )
        os.close(handle)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def check(self) -> None:
        """Raise an EnvironmentProblem with the end of what it said when the process has ended."""
        if self._process.poll() is not None:
            raise EnvironmentProblem(
                f"the model's process ended with code {self._process.returncode}",
                got=self.tail(),
                next_step="start 'course serve' again",
            )

    def tail(self) -> str:
        """Give the last three lines it said."""
        lines = self._said.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])

    def wait_ready(self) -> None:
        """Wait until it is healthy and has answered a chat of one word.

        Raises:
            EnvironmentProblem: when it ended, or was not ready in time.
            ModelError: when it cannot answer with this model.
        """
        import httpx

        limit = time.monotonic() + START_SECONDS
        with httpx.Client(base_url=self.url, timeout=START_SECONDS, trust_env=False) as client:
            while True:
                self.check()
                try:
                    if client.get("/health").status_code == 200:
                        break
                except httpx.TransportError:
                    pass  # it does not listen yet
                if time.monotonic() > limit:
                    raise EnvironmentProblem(
                        f"the model's process was not ready in {START_SECONDS:.0f} s",
                        got=self.tail(),
                    )
                time.sleep(0.1)
            body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
            reply = client.post("/v1/chat/completions", json=body)
        if reply.status_code != 200:
            raise ModelError(
                "the model cannot answer a chat",
                where=str(self.folder),
                got=f"HTTP {reply.status_code}: {self.tail()}",
            )

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.unlink(missing_ok=True)
