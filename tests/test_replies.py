"""Query and reply pairs: what is read, looked up and judged, and a chat template for any base."""

from __future__ import annotations

from pathlib import Path

import pytest

from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune import data, model
from course_lib.finetune.chat_base import chat_base
from course_lib.finetune.feedback import replies
from course_lib.finetune.records import Example


@pytest.fixture(scope="module")
def parts() -> replies.Parts:
    return replies.read_pairs("support_tickets")


def test_pairs_are_read_without_what_is_private() -> None:
    found = replies.read_pairs("support_tickets", private=lambda t: t.replace("LO-", "[ORDER]"))
    row = found["train"][1]
    assert "[ORDER]62277" in row.text and "[ORDER]62277" in str(row.target)
    assert row.label == "payment" and {n: len(p) for n, p in found.items()} == {
        "train": 1200, "validation": 200, "test": 200,
    }  # fmt: skip
    with pytest.raises(DataError, match="the text is missing"):
        replies.read_pairs("preferences")
    with pytest.raises(UnknownNameError, match="support_tickets"):
        replies.read_pairs("support_ticket")


def test_one_folder_serves_the_router_and_the_writer(parts: replies.Parts, tmp_path: Path) -> None:
    few = {name: rows[:40] for name, rows in parts.items()}
    folder = replies.write_pairs(few, tmp_path / "pairs")
    routed, written = (data.load(t, str(folder)) for t in ("classification", "completion"))
    first = few["train"][0]
    assert routed.train[0].text == first.text and routed.train[0].label == first.label
    assert written.train[0].turns == (("user", first.text), ("assistant", first.target))
    bare = replies.write_pairs({"train": [Example("a", "x", "payment")]}, tmp_path / "bare")
    assert "messages" not in (bare / "train.jsonl").read_text()


def test_the_nearest_reply_is_that_of_the_likest_ticket(parts: replies.Parts) -> None:
    look = replies.NearestReply(parts["train"])
    known = parts["train"][7]
    assert look([known.text, known.text]) == [known.target] * 2
    with pytest.raises(DataError, match="no replies to look up"):
        replies.NearestReply([])


def test_each_judge_alone_can_be_fooled_and_both_together_cannot(parts: replies.Parts) -> None:
    rows = parts["validation"]
    judge = replies.Relevancy(parts["train"])
    real = judge.measure(rows, [str(r.target) for r in rows])
    others = judge.measure(rows, [str(r.target) for r in [*rows[1:], rows[0]]])
    parrot = judge.measure(rows, [r.text for r in rows])
    form = judge.measure(rows, ["Thank you for writing to us."] * len(rows))
    assert real["on_topic"][0] > 0.9 and real["own_ticket"][0] > 0.9
    assert others["on_topic"][0] < 0.3 and 0.4 < others["own_ticket"][0] < 0.6
    assert parrot["own_ticket"][0] == 1.0 and parrot["on_topic"][0] < 0.6
    assert form["own_ticket"][0] == pytest.approx(0.5, abs=0.1)
    value, low, high = real["on_topic"]
    assert low < value < high
    with pytest.raises(DataError, match="another ticket to compare with"):
        judge.own_ticket(rows[:1], ["x"])
    with pytest.raises(DataError, match="another ticket to compare with"):
        judge.own_ticket(rows[:3], ["x"])


def test_the_loss_on_a_reply_is_that_of_its_tokens_alone(
    parts: replies.Parts, tiny_base: Path
) -> None:
    import torch

    tuned, tokenizer = model.load_base(str(tiny_base), task="completion")
    rows = [Example("a", "where is it", "x", target="thank you"), Example("b", "hm", target="a")]
    found = replies.reply_nats(tuned, tokenizer, rows)
    nats, count = 0.0, 0
    for row in rows:
        prompt = tokenizer(replies.chat_prompt(tokenizer, row.text), add_special_tokens=False)
        reply = tokenizer(row.target, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt["input_ids"] + reply])
        with torch.no_grad():
            scores = tuned(input_ids=ids).logits[0].log_softmax(-1)
        start = len(prompt["input_ids"])
        nats -= sum(float(scores[start + i - 1, t]) for i, t in enumerate(reply))
        count += len(reply)
    assert found == pytest.approx(nats / count, rel=1e-4)


def test_a_base_without_a_chat_template_gets_one_that_training_can_mask(
    tiny_base: Path, tmp_path: Path
) -> None:
    from course_lib.finetune import prepare

    assert chat_base(str(tiny_base), tmp_path / "unused") == str(tiny_base)
    tuned, tokenizer = model.load_base(str(tiny_base), task="completion")
    tokenizer.chat_template = None
    tuned.save_pretrained(tmp_path / "mute")
    tokenizer.save_pretrained(tmp_path / "mute")
    given = chat_base(str(tmp_path / "mute"), tmp_path / "talks")
    assert given == str(tmp_path / "talks")
    _, tokenizer = model.load_base(given, task="completion")
    turns = (("user", "where is it"), ("assistant", "on the way"))
    row = prepare.chats([Example("a", turns=turns)], tokenizer, 64)
    counted = [int(i) for i, kept in zip(row.ids, row.labels, strict=True) if kept != -100]
    assert tokenizer.decode(counted).strip() == "on the way" + tokenizer.eos_token
    prompt = replies.chat_prompt(tokenizer, "where is it")
    assert prompt == "User: where is it\n\nAssistant:"
    begun = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert list(row.ids[: len(begun)]) == begun
