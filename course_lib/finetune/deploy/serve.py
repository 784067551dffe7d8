"""Serving a verified version: ``transformers serve`` behind a door that checks and logs requests.

    with Served("models") as served:
        served.chat("Where is my parcel?")

or any OpenAI client on ``served.url``. The model's process listens on a port of its own on
127.0.0.1, runs offline, and ends with this one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from course_lib.errors import UsageError
from course_lib.finetune.deploy.model_process import ModelProcess, bind
from course_lib.finetune.deploy.servable import find as find_servable
from course_lib.finetune.deploy.version_files import compare_files


class Served:
    """A model being served, from ``with`` to its end.

    Args:
        target, name, version: what to serve, as for ``servable.find``.
        port: of 127.0.0.1; 0 takes a free one.
        log: file of the request log, appended to; None for ``requests.jsonl`` here.
        log_text: keep the texts of requests and replies in it; without it, none are kept.
        most_waiting: requests in progress at most; more are answered 429.
        say: gets a line for each thing worth telling.

    Attributes:
        url: such as ``http://127.0.0.1:8321/v1``; model: the name clients give.

    Raises:
        CourseError: as ``servable.find``.
        EnvironmentProblem: when the port is taken, the extra ``serve`` is not installed, or the
            model's process does not start (the end of its own log is shown).
    """

    def __init__(
        self,
        target: Path | str,
        *,
        name: str = "",
        version: str = "",
        port: int = 0,
        log: Path | str | None = None,
        log_text: bool = False,
        most_waiting: int = 256,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._found = find_servable(target, name, version)
        self._port, self._say = port, say
        self._log_text, self._most_waiting = log_text, most_waiting
        self.log = Path(log or "requests.jsonl")
        self.model = self._found.id
        self._closing = contextlib.ExitStack()
        self._stats: dict[str, tuple[int, ...]] = {}

    def __enter__(self) -> Served:
        """Start both servers and wait until a reply has come."""
        try:
            return self._start()
        except BaseException:
            self._closing.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End both servers."""
        self._closing.close()

    def chat(self, text: str, **settings: Any) -> str:
        """Send one user message and give the reply.

        Args:
            text: the message.
            settings: fields of the request, such as ``max_tokens=32, temperature=0.7``.

        Raises:
            UsageError: when the request was refused; the server's message is in it.
        """
        import httpx

        body = {"messages": [{"role": "user", "content": text}], **settings}
        reply = httpx.post(f"{self.url}/chat/completions", json=body, timeout=None, trust_env=False)
        if reply.status_code != 200:
            raise UsageError(reply.json()["error"]["message"], where=f"HTTP {reply.status_code}")
        return str(reply.json()["choices"][0]["message"]["content"])

    def wait(self) -> None:
        """Serve until Ctrl-C.

        Raises:
            EnvironmentProblem: when the model's process ended.
        """
        while True:
            self.process.check()
            time.sleep(0.5)

    def check(self) -> None:
        """Check that the model's process runs and its files are those it loaded.

        Raises:
            EnvironmentProblem: when the process ended.
            CheckpointError: when a file was changed, named with its hash.
        """
        self.process.check()
        now = _stats(self._found.folder)
        if now != self._stats:  # touched, at least: compare contents
            compare_files(self._found.folder, self._found.listing)
            self._stats = now

    def _start(self) -> Served:
        listening = bind(self._port)
        self._closing.callback(listening.close)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        self._say(f"starting {self.model} ...")
        self.process = ModelProcess(self._found.folder)
        self._closing.callback(self.process.close)
        self.process.wait_ready()
        self._stats = _stats(self._found.folder)
        compare_files(self._found.folder, self._found.listing)  # it loaded what was verified
        self._run_door(listening)
        self._say(f"{self.model} is served at {self.url}; requests are logged in {self.log}")
        return self

    def _run_door(self, listening: socket.socket) -> None:
        """Run the gateway in a thread until closing."""
        import uvicorn

        from course_lib.finetune.deploy.gateway import build_app

        config = uvicorn.Config(build_app(self._door()), log_level="warning", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)

        def end() -> None:
            server.should_exit = True
            thread.join(10)

        thread.start()
        self._closing.callback(end)

    def _door(self) -> Any:
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        from course_lib.finetune.deploy.gateway import Door

        folder = str(self._found.folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.model_max_length = 2**31  # the door compares with the context itself
        config = AutoConfig.from_pretrained(folder)
        try:
            settings = GenerationConfig.from_pretrained(folder).to_diff_dict()
        except OSError:
            settings = {}
        ends = settings.get("eos_token_id", tokenizer.eos_token_id)
        turn = tokenizer.get_added_vocab().get("<|end|>")  # of the course's own chat template
        found = {*(ends if isinstance(ends, list) else [ends]), turn} - {None}
        settings |= {"eos_token_id": sorted(found), "pad_token_id": tokenizer.pad_token_id}
        return Door(
            model=self.model,
            upstream=self.process.url,
            tokenizer=tokenizer,
            context=int(getattr(config, "max_position_embeddings", 512)),
            check=self.check,
            log=self.log,
            log_text=self._log_text,
            most_waiting=self._most_waiting,
            generation=settings,
        )


def _stats(folder: Path) -> dict[str, tuple[int, ...]]:
    """Give size, time and inode of each file: what changes when a file is written or replaced."""
    found = ((p, p.stat()) for p in folder.rglob("*") if p.is_file())
    return {str(p): (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for p, s in found}
