"""Chat files for a hosted fine-tune: what is written passes, every fault is named by its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from course_lib.errors import DataError, UsageError
from course_lib.finetune import data
from course_lib.finetune.records import Example
from course_lib.finetune.tasks import hosted

GOOD = hosted.chat_example("Any Wren 1 left?", "Yes, four.", system="Be brief.")


def write(path: Path, lines: list[Any]) -> Path:
    texts = [x if isinstance(x, str) else json.dumps(x) for x in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def problems(tmp_path: Path, *lines: Any) -> list[str]:
    file = write(tmp_path / "chat.jsonl", list(lines))
    return list(hosted.validate_chat_jsonl(file, fewest=0).problems)


def turns(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": r, "content": c} for r, c in pairs]}


def test_the_shops_replies_make_a_file_that_passes_and_loads_again(tmp_path: Path) -> None:
    rows = data.load(
        "completion", "support_tickets", text_column="text", label_column="reply"
    ).train[:40]
    path = tmp_path / "train.jsonl"
    assert hosted.write_chat_jsonl(rows, path, system="You answer for the shop.") == 40
    report = hosted.validate_chat_jsonl(path)
    assert report and not report.problems and len(report.examples) == 40
    again = data.load("completion", str(path))
    back = {r.turns[1][1]: r.turns[2][1] for r in [*again.train, *again.validation, *again.test]}
    assert back == {r.text.strip(): str(r.target).strip() for r in rows}


def test_a_system_message_is_left_out_when_there_is_none() -> None:
    assert [m["role"] for m in hosted.chat_example("a", "b")["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"messages": [}', "not valid JSON"),
        ('{"messages": [], "messages": []}', "not valid JSON"),
        ("", "an empty line"),
        ([GOOD], "not an object but a list"),
        ({"mesages": []}, "no 'messages'; got 'mesages'"),
        ({"messages": "user: hello"}, "must be a list of messages; got a text"),
        ({"messages": []}, "got an empty list"),
        ({"messages": ["hello"]}, "message 1 is not an object but a text"),
        (turns(("customer", "Hi"), ("assistant", "Hello")), "message 1: role 'customer'"),
        (turns(("user", "Hi"), (["assistant"], "Hello")), "message 2: role ['assistant']"),
        (turns(("user", " "), ("assistant", "Hello")), "message 1: 'content' must be a text"),
        (turns(("user", "Hi"), ("assistant", None)), "message 2: 'content' must be a text"),
        (turns(("system", "x"), ("user", "Hi")), "no message by 'assistant'"),
        (turns(("assistant", "Hello")), "no message by 'user'"),
        (turns(("user", "a"), ("assistant", "b"), ("user", "c")), "the last message is by 'user'"),
        (turns(("user", "a"), ("system", "b"), ("assistant", "c")), "a system message at place 2"),
        (
            {
                "messages": [
                    {"role": "user", "contents": "a"},
                    {"role": "assistant", "content": "b"},
                ]
            },
            "message 1 has the unknown key 'contents'",
        ),
    ],
)
def test_each_fault_is_named_with_its_line(tmp_path: Path, line: Any, told: str) -> None:
    found = problems(tmp_path, GOOD, line, turns(("user", "q"), ("assistant", "r")))
    assert found and all(f.startswith("chat.jsonl:2: ") for f in found)
    assert any(told in f for f in found), found


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "{", GOOD, {"a": 1}, GOOD)
    assert [f.split(": ")[0] for f in found] == [f"chat.jsonl:{n}" for n in (1, 3, 4)]
    assert found[-1].endswith("the same example as in line 2")


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"messages": "\xa345"}\n')
    assert "chat.jsonl:2: not UTF-8" in hosted.validate_chat_jsonl(path, fewest=1).problems[0]


def test_too_few_examples_and_a_missing_file(tmp_path: Path) -> None:
    path = write(tmp_path / "chat.jsonl", [GOOD])
    assert hosted.validate_chat_jsonl(path).problems == (
        "chat.jsonl: 1 sound examples, at least 10 are needed",
    )
    with pytest.raises(DataError, match="no such file"):
        hosted.validate_chat_jsonl(tmp_path / "none.jsonl")


def test_tokens_and_price() -> None:
    words = hosted.count_tokens([GOOD, GOOD], lambda text: len(text.split()), a_message=1)
    assert words == 2 * (2 + 4 + 2 + 3)
    found = hosted.price_forecast(250_000, epochs=3, price_per_million=2.0)
    assert found.trained_tokens == 750_000 and found.cost == pytest.approx(1.5)
    for price in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="price is not a number"):
            hosted.price_forecast(10, epochs=1, price_per_million=price)
    with pytest.raises(UsageError, match="epochs"):
        hosted.price_forecast(10, epochs=0, price_per_million=1.0)


def test_a_row_is_not_lost_between_quotes_and_lines(tmp_path: Path) -> None:
    row = Example(id="1", text='She said "no"\nand left. £5', target="Sorry …")
    path = tmp_path / "one.jsonl"
    hosted.write_chat_jsonl([row], path)
    assert len(path.read_text("utf-8").splitlines()) == 1
    kept = hosted.validate_chat_jsonl(path, fewest=1).examples[0]["messages"]
    assert [m["content"] for m in kept] == [row.text, row.target]
