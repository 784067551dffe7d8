"""`course serve` against the real `transformers serve`, started once for this file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from course_lib import files
from course_lib.errors import (
    CheckpointError,
    EnvironmentProblem,
    ModelError,
    UnknownNameError,
    UsageError,
)
from course_lib.finetune.deploy.registry import Registry
from course_lib.finetune.deploy.servable import find
from course_lib.finetune.deploy.serve import Served

httpx = pytest.importorskip("httpx")
pytest.importorskip("openai")

THREAD = "thread of the customer: where is my parcel?"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose champion is a real, short fine-tune of the base on the shop's threads."""
    from course_lib.finetune.recipe import finetune

    folder = tmp_path_factory.mktemp("serve")
    settings = {
        "max_steps": 2, "train_rows": 16, "validation_rows": 4, "test_rows": 2,
        "precision": "float32",
    }  # fmt: skip
    finetune(
        "completion", "summaries", settings=settings, out=folder / "run",
        text_column="thread", label_column="subject",
    )  # fmt: skip
    registry = Registry(folder / "models")
    registry.add(folder / "run", "subjects")
    registry.promote("subjects", "v0001")
    return folder / "models"


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("log") / "requests.jsonl"
    with Served(models, log=log) as running:
        yield running


def post(served: Served, body: Any = None, **options: Any) -> Any:
    options = {"json": body} if body is not None else options
    return httpx.post(f"{served.url}/chat/completions", timeout=120, **options)


def ask(text: str, **settings: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **settings}


def log_of(served: Served, least: int = 0) -> list[dict[str, Any]]:
    """Give the log's lines; a streamed reply's line is written after its last words are sent."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        rows = [row for _, row in files.read_jsonl(served.log)] if served.log.is_file() else []
        if len(rows) >= least:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"{len(rows)} lines in the log, {least} expected")


def test_an_openai_client_gets_replies_and_the_log_counts_them(served: Served) -> None:
    from openai import OpenAI

    before = len(log_of(served))
    with OpenAI(base_url=served.url, api_key="none") as client:
        assert [m.id for m in client.models.list()] == ["subjects/v0001"] == [served.model]
        reply = client.chat.completions.create(**ask(THREAD), model=served.model)
        assert reply.model == served.model and reply.usage
        assert 1 <= reply.usage.completion_tokens <= 4
        events = list(
            client.chat.completions.create(**ask(THREAD), model=served.model, stream=True)
        )
    said = "".join(e.choices[0].delta.content or "" for e in events)
    assert said.strip() == (reply.choices[0].message.content or "").strip()
    one, two = log_of(served, before + 2)[before:]
    assert one["prompt_tokens"] == reply.usage.prompt_tokens == two["prompt_tokens"]
    assert one["completion_tokens"] == reply.usage.completion_tokens
    assert one["status"] == 200 and 0 < one["seconds"] < 60 and two["stream"]
    assert "parcel" not in served.log.read_text(), "no text unless it was asked for"


def test_a_temperature_has_an_effect_and_zero_has_none(served: Served) -> None:
    hot = {served.chat(THREAD, max_tokens=12, temperature=1.5, seed=s) for s in range(4)}
    cold = {served.chat(THREAD, max_tokens=12, temperature=0, seed=s) for s in range(3)}
    assert len(hot) > 1 and len(cold) == 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "the body is not JSON"),
        (b'{"messages": [], "messages": []}', 400, "appears twice"),
        (b"\xff\xfe", 400, "not UTF-8"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (b"[]", 422, "the body is a list"),
        (b"{}", 422, "messages: Field required"),
        (b'{"messages": []}', 422, "messages: List should have at least 1 item"),
        (b'{"messages": "hello"}', 422, "messages: Input should be a valid list"),
        (b'{"messages": [{"role": "user"}]}', 422, "messages.0.content: Field required"),
        (b'{"messages": [{"role": "boss", "content": "x"}]}', 422, "'system', 'user' or"),
        (json.dumps(ask("x", max_tokens=0)).encode(), 422, "max_tokens: Input should be greater"),
        (json.dumps(ask("x", max_tokens="9")).encode(), 422, "max_tokens: Input should be a valid"),
        (json.dumps(ask("x", temperature=9)).encode(), 422, "temperature: "),
        (json.dumps(ask("x", n=3)).encode(), 422, "n: Extra inputs are not permitted"),
        (json.dumps(ask("x", model="gpt")).encode(), 404, "no model 'gpt' here"),
        (b'"' + b"x" * 2**21 + b'"', 413, "larger than 1,048,576 bytes"),
    ],
)
def test_a_malformed_body_is_told_what_is_wrong(
    served: Served, body: bytes, status: int, says: str
) -> None:
    reply = post(served, content=body)
    assert reply.status_code == status and says in reply.json()["error"]["message"]
    assert log_of(served)[-1]["status"] == status


def test_a_prompt_longer_than_the_context_is_refused(served: Served) -> None:
    reply = post(served, ask("parcel " * 600))
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["code"] == "context_length_exceeded" and "the model reads 512" in error["message"]
    with pytest.raises(UsageError, match=r"HTTP 400: the prompt has .* tokens"):
        served.chat("parcel " * 600)
    full = post(served, ask("parcel " * 230, max_tokens=5000)).json()["usage"]
    assert full["prompt_tokens"] > 400 and full["total_tokens"] <= 512


def test_a_hundred_requests_at_once_are_all_answered(served: Served) -> None:
    before = len(log_of(served))

    async def all_at_once() -> list[Any]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            url = f"{served.url}/chat/completions"
            asked = (client.post(url, json=ask(f"{THREAD} {i}")) for i in range(100))
            return list(await asyncio.gather(*asked))

    replies = asyncio.run(all_at_once())
    assert [r.status_code for r in replies] == [200] * 100
    assert all(r.json()["usage"]["completion_tokens"] >= 1 for r in replies)
    rows = log_of(served, before + 100)[before:]
    assert len(rows) == 100 and {r["status"] for r in rows} == {200}


def test_a_port_in_use_is_named_before_anything_starts(served: Served, models: Path) -> None:
    taken = int(served.url.split(":")[2].split("/")[0])
    began = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=rf"127.0.0.1:{taken}: the port cannot be used"):
        Served(models, port=taken).__enter__()
    assert time.monotonic() - began < 15
    with pytest.raises(EnvironmentProblem, match=r"127.0.0.1:70000: the port cannot be used"):
        Served(models, port=70000).__enter__()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EnvironmentProblem, match="the port cannot be used"):
            Served(models, port=other.getsockname()[1]).__enter__()


def test_a_version_changed_on_disk_is_no_longer_served(served: Served, models: Path) -> None:
    health = served.url.replace("/v1", "/health")
    assert httpx.get(health).json()["status"] == "ok"
    path = models / "subjects" / "v0001" / "model" / "chat_template.jinja"
    whole, digest = path.read_bytes(), files.sha256_file(path)
    path.chmod(0o644)
    path.write_bytes(whole.replace(b"user", b"boss"))
    try:
        for reply in (post(served, ask(THREAD)), httpx.get(health)):
            assert reply.status_code == 503
            assert "chat_template.jinja" in reply.text and digest in reply.text
        with pytest.raises(CheckpointError, match="chat_template"):
            Served(models)
    finally:
        path.write_bytes(whole)
    assert post(served, ask(THREAD)).status_code == 200, "put back, it is what was verified"


def test_more_than_may_wait_are_told_to_come_back(served: Served, tmp_path: Path) -> None:
    from course_lib.finetune.deploy.chat_request import Refused

    door = served._door()
    door.log, door.most_waiting, door.busy = tmp_path / "log", 1, 1
    from starlette.testclient import TestClient

    from course_lib.finetune.deploy.gateway import build_app

    with TestClient(build_app(door)) as client:
        reply = client.post("/v1/chat/completions", json=ask(THREAD))
        assert reply.status_code == 429 and reply.headers["retry-after"] == "1"
        door.busy, door.log_text = 0, True
        assert client.post("/v1/chat/completions", json=ask(THREAD)).status_code == 200
    kept = [row for _, row in files.read_jsonl(door.log)]
    assert [r["status"] for r in kept] == [429, 200]
    assert kept[1]["messages"][0]["content"] == THREAD and isinstance(kept[1]["reply"], str)
    with pytest.raises(Refused, match="the body is not JSON"):
        door.read(b"nonsense")


# --- what is refused before anything starts


def test_what_cannot_be_served_is_named(models: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(models / "subjects" / "v0001", run)
    shutil.rmtree(models.parent / "bare", ignore_errors=True)
    facts = files.read_json(run / "run.json")
    files.write_json(run / "run.json", {**facts, "head": "classification"})
    with pytest.raises(ModelError, match="does not write text"):
        find(run)
    files.write_json(run / "run.json", facts)
    assert find(run).id == "run"
    with pytest.raises(ModelError, match="neither a finished run nor a registry"):
        find(tmp_path / "nothing")
    with pytest.raises(UnknownNameError, match="unknown model name 'replies'"):
        find(models, "replies")
    assert find(models, version="v0001").id == "subjects/v0001"
    registry = Registry(tmp_path / "models")
    registry.add(run, "a")
    with pytest.raises(ModelError, match="'a' has no champion yet"):
        find(registry.folder)
    registry.add(run, "b")
    with pytest.raises(UnknownNameError, match="known: a, b"):
        find(registry.folder)


def test_a_model_without_a_chat_template_is_named(models: Path, tmp_path: Path) -> None:
    from course_lib.finetune.checkpoint import write_manifest

    run = tmp_path / "run"
    shutil.copytree(models / "subjects" / "v0001", run)
    (run / "model" / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="got SHA-256 no such file"):
        find(run)
    (run / "model" / "manifest.json").chmod(0o644)
    write_manifest(run / "model")
    with pytest.raises(ModelError, match="the tokenizer has no chat template"):
        find(run)


# --- processes that die: last, because the shared server dies too


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_the_model_process_ends_with_the_one_that_started_it(models: Path, tmp_path: Path) -> None:
    script = f"""
import time
from course_lib.finetune.deploy.model_process import ModelProcess
from course_lib.finetune.deploy.servable import find
process = ModelProcess(find({str(models)!r}).folder)
print(process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as outer:
        assert outer.stdout
        pid = int(outer.stdout.readline())
        assert psutil.pid_exists(pid)
        outer.kill()
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 30)
    assert not alive


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_when_the_model_process_dies_it_is_said(served: Served) -> None:
    os.kill(served.process.pid, signal.SIGKILL)
    with pytest.raises(EnvironmentProblem, match="the model's process ended with code -9"):
        served.wait()
    reply = post(served, ask(THREAD))
    assert reply.status_code == 503 and "the model's process ended" in reply.text
