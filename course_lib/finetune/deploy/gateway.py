"""The door in front of ``transformers serve``: checks each request, counts it, passes it on.

What comes through unchecked ends badly there: a body without messages is a bare 500, a prompt
longer than the context is answered with noise, a temperature has no effect on a model saved
as greedy, and a reply does not stop at the chat template's end of turn. So every request is
checked and completed here first, and every refusal says why, in the form OpenAI's clients expect.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.finetune.deploy.chat_request import MAX_BODY, ChatRequest, Refused, read_request

CHAT = "/v1/chat/completions"
ROOM = 16  # tokens a reply needs at least


@dataclass
class Door:
    """What the gateway knows of the model behind it.

    Attributes:
        model: the name clients see; upstream: address of ``transformers serve``.
        tokenizer: with a chat template; context: of the model, in tokens.
        check: raises when the model's files are not those that were loaded, or it has ended.
        log: file of the request log, one JSON object a line; log_text: keep texts in it too.
        most_waiting: requests in progress at most; more are told to come back.
        generation: the generation settings a request starts from.
    """

    model: str
    upstream: str
    tokenizer: Any
    context: int
    check: Callable[[], None]
    log: Path
    log_text: bool = False
    most_waiting: int = 256
    generation: dict[str, Any] = field(default_factory=dict)
    busy: int = field(default=0, init=False)

    def read(self, data: bytes) -> ChatRequest:
        """Parse and check a body; ``Refused`` with status 400, 404, 413 or 422."""
        asked = read_request(data)
        if asked.model not in (None, self.model):
            text = f"no model {asked.model!r} here; this one is {self.model!r}"
            raise Refused(404, "model_not_found", text)
        return asked

    def fit(self, asked: ChatRequest) -> dict[str, Any]:
        """Give the body to pass on, its reply limited to the room the prompt leaves.

        Raises:
            Refused: with status 429 when too many wait, 400 when the prompt leaves no room.
        """
        if self.busy >= self.most_waiting:
            text = f"{self.busy} requests are in progress; try again in a moment"
            raise Refused(429, "busy", text)
        turns = [m.model_dump() for m in asked.messages]
        coded = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        tokens = len(coded["input_ids"])
        if tokens > self.context - ROOM:
            raise Refused(
                400,
                "context_length_exceeded",
                f"the prompt has {tokens:,} tokens; the model reads {self.context:,} and needs "
                f"{ROOM} of them for its reply: shorten the messages",
            )
        wanted = asked.max_completion_tokens or asked.max_tokens or self.context
        body = {"messages": turns, "max_tokens": min(wanted, self.context - tokens)}
        for name in ("temperature", "top_p", "seed", "stop", "stream"):
            body[name] = getattr(asked, name)
        settings = dict(self.generation)
        if asked.temperature is not None:
            settings["do_sample"] = asked.temperature > 0
        body["generation_config"] = json.dumps(settings)
        return {k: v for k, v in body.items() if v is not None}

    def note(self, began: float, status: int, asked: ChatRequest | None, **facts: Any) -> None:
        """Append one line to the request log; texts only where they were asked for."""
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "model": self.model,
            "status": status,
            "seconds": round(time.perf_counter() - began, 4),
            "stream": bool(asked and asked.stream),
        }
        reply = facts.pop("reply", None)
        if self.log_text and asked:
            line |= {"messages": [m.model_dump() for m in asked.messages], "reply": reply}
        data = json.dumps({**line, **facts}, ensure_ascii=False).encode() + b"\n"
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)


def build_app(door: Door) -> Any:
    """Give the gateway as a Starlette application.

    ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``.
    """
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    every = httpx.Limits(max_connections=None)
    client = httpx.AsyncClient(base_url=door.upstream, timeout=None, limits=every, trust_env=False)

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    async def health(request: Request) -> Response:
        return JSONResponse(*_health(door))

    async def models(request: Request) -> Response:
        entry = {"id": door.model, "object": "model", "owned_by": "course"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def chat(request: Request) -> Response:
        began, asked = time.perf_counter(), None
        try:
            _usable(door)
            asked = door.read(await _body(request))
            body = door.fit(asked)
        except Refused as refused:
            door.note(began, refused.status, asked, code=refused.code)
            return JSONResponse(refused.body(), refused.status, headers=refused.headers)
        if asked.stream:
            events = _stream(door, client, body, began, asked)
            return StreamingResponse(events, media_type="text/event-stream")
        return JSONResponse(*await _ask(door, client, body, began, asked))

    paths = [("/health", health, "GET"), ("/v1/models", models, "GET"), (CHAT, chat, "POST")]
    routes = [Route(path, handler, methods=[method]) for path, handler, method in paths]
    return Starlette(lifespan=closing, routes=routes)


def _health(door: Door) -> tuple[dict[str, Any], int]:
    try:
        _usable(door)
    except Refused as refused:
        return refused.body(), refused.status
    return {"status": "ok", "model": door.model, "busy": door.busy}, 200


def _usable(door: Door) -> None:
    try:
        door.check()
    except CourseError as error:
        raise Refused(503, "not_serving", str(error)) from None


async def _body(request: Any) -> bytes:
    """Read a body up to the limit; what is longer is not kept in memory."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            break
    return data


async def _ask(
    door: Door, client: Any, body: dict[str, Any], began: float, asked: ChatRequest
) -> tuple[dict[str, Any], int]:
    """Pass a request on and give body and status of the answer."""
    import httpx

    door.busy += 1
    try:
        reply = await client.post(CHAT, json=body)
    except httpx.HTTPError as error:
        refused = Refused(503, "not_serving", f"the model's process does not answer ({error})")
        door.note(began, 503, asked, code=refused.code)
        return refused.body(), 503
    finally:
        door.busy -= 1
    if reply.status_code != 200:
        refused = Refused(502, "model_error", f"the model's process answered: {reply.text[:200]}")
        door.note(began, 502, asked, code=refused.code)
        return refused.body(), 502
    answer: dict[str, Any] = {**reply.json(), "model": door.model}
    used, text = answer["usage"], answer["choices"][0]["message"]["content"]
    counts = {k: used[k] for k in ("prompt_tokens", "completion_tokens")}
    door.note(began, 200, asked, **counts, reply=text)
    return answer, 200


async def _stream(
    door: Door, client: Any, body: dict[str, Any], began: float, asked: ChatRequest
) -> AsyncIterator[str]:
    """Pass a request on and give the answer's events as they come."""
    import httpx

    door.busy += 1
    status, counts, said = 200, {}, []  # type: int, dict[str, Any], list[str]
    try:
        async with client.stream("POST", CHAT, json=body) as reply:
            if reply.status_code != 200:
                raise httpx.HTTPError(f"it answered {reply.status_code}")
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "choices" in event:
                    event["model"] = door.model
                    said += [c["delta"].get("content") or "" for c in event["choices"]]
                counts = event.get("usage") or counts
                status = 502 if "error" in event else status
                yield f"data: {json.dumps(event)}\n\n"
        yield "data: [DONE]\n\n"
    except httpx.HTTPError as error:
        status = 503
        text = f"the model's process does not answer ({error})"
        yield f"data: {json.dumps(Refused(503, 'not_serving', text).body())}\n\n"
    finally:
        door.busy -= 1
        kept = {k: counts.get(k) for k in ("prompt_tokens", "completion_tokens")}
        door.note(began, status, asked, **kept, reply="".join(said))
