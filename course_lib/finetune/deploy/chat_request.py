"""The body of a chat request: what it may hold, and what its sender is told when it does not."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from course_lib import files
from course_lib.errors import DataError

MAX_BODY = 2**20


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid", strict=True)
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class ChatRequest(BaseModel):
    """The body of ``/v1/chat/completions``: the fields of OpenAI's that have an effect here.

    ``user``, ``metadata``, ``store`` and ``stream_options`` are taken and ignored; any other
    field is refused, because a setting without effect would go unnoticed.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    messages: list[Message] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    user: Any = None
    metadata: Any = None
    store: Any = None
    stream_options: Any = None


class Refused(Exception):
    """A request that is not passed on: an HTTP status, a code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer: when to come back."""
        return {"Retry-After": "1"} if self.status == 429 else {}

    def body(self) -> dict[str, Any]:
        """Give the answer's body, as OpenAI's."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": None}}


def read_request(data: bytes) -> ChatRequest:
    """Parse and check the bytes of a body.

    Raises:
        Refused: with status 413 when it is too large, 400 when it is not strict JSON, 422 when
            a field is missing, unknown or not what it should be.
    """
    if len(data) > MAX_BODY:
        raise Refused(413, "too_large", f"the body is larger than {MAX_BODY:,} bytes")
    try:
        body = files.parse_json(files.decode_utf8(data, where="body"), where="body")
    except DataError as error:
        raise Refused(400, "not_json", f"the body is not JSON: {error.problem}") from None
    if not isinstance(body, dict):
        raise Refused(422, "not_an_object", f"the body is a {type(body).__name__}, no object")
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        parts = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found[:5])
        raise Refused(422, "bad_field", "; ".join(parts)) from None
