"""Query and reply pairs: read, written as dialogues, answered by a look-up, and judged.

    parts = read_pairs("support_tickets", private=hide)   # hide: a text without personal data
    write_pairs(parts, "runs/tickets")                    # one folder for a router and a writer

What a good reply is cannot be counted. Two things near it can: whether it speaks of *this*
ticket rather than of another, and whether it is about the customer's matter at all. Each can
be fooled alone (a parrot speaks of this ticket, a form letter keeps to the matter), so the
two belong together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import files, metrics
from course_lib.errors import DataError
from course_lib.finetune import baselines, model, sources
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.flat import Rows
from course_lib.finetune.loss import IGNORE, fused_cross_entropy
from course_lib.finetune.records import Example

Parts = dict[str, list[Example]]


def read_pairs(
    data: str = "support_tickets", *, private: Callable[[str], str] = lambda text: text
) -> Parts:
    """Read tickets with label and reply; what is private is taken out of both texts.

    Args:
        data: a course set whose rows hold ``text``, ``intent`` and ``reply``.
        private: gives a text without what nobody should learn from it.

    Returns:
        By split, rows with ``text``, ``label`` and ``target``.

    Raises:
        UnknownNameError: for an unknown set.
        DataError: for a row without one of the three, or files that were changed.
    """
    found: Parts = {}
    for split, rows in sources.find(data).parts.items():
        found[split] = [_example(where, row, private) for where, row in rows]
    return found


def _example(where: str, row: Mapping[str, Any], private: Callable[[str], str]) -> Example:
    for field in ("text", "intent", "reply"):
        if not str(row.get(field) or "").strip():
            raise DataError(f"the {field} is missing", where=where, got=", ".join(map(str, row)))
    return Example(
        id=str(row.get("id", where)),
        text=private(str(row["text"])),
        label=str(row["intent"]),
        target=private(str(row["reply"])),
    )


def write_pairs(parts: Mapping[str, Sequence[Example]], folder: Path | str) -> Path:
    """Write a file a split, atomically: ``id``, ``text``, ``intent`` and ``messages``.

    The folder serves two fine-tunes: ``classification`` reads text and intent,
    ``completion`` the messages.

    Raises:
        StorageError: when it cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
        lines = (json.dumps(_row(r), ensure_ascii=False) + "\n" for r in rows)
        files.write_text(folder / f"{split}.jsonl", "".join(lines))
    return folder


def _row(row: Example) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": row.id, "text": row.text, "intent": row.label}
    if row.target:
        turns = (("user", row.text), ("assistant", row.target))
        fields["messages"] = [{"role": role, "content": content} for role, content in turns]
    return fields


def chat_prompt(tokenizer: Any, text: str) -> str:
    """Give the prompt of a chat with one message of a customer, ready for the reply."""
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


class NearestReply:
    """The cheap baseline: the reply that was given to the most similar ticket.

    Args:
        rows: tickets with their replies; likeness is the cosine of word TF-IDF vectors.

    Raises:
        DataError: when there are none.
    """

    def __init__(self, rows: Sequence[Example]) -> None:
        if not rows:
            raise DataError("there are no replies to look up")
        self._rows, self._words = list(rows), _words()
        self._table = self._words.fit_transform([r.text for r in rows])

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Give a reply for each text."""
        likeness = self._words.transform(texts) @ self._table.T
        return [str(self._rows[int(i)].target) for i in np.asarray(likeness.argmax(1)).ravel()]


class Relevancy:
    """Two judges of replies, fitted on training rows and their real replies.

    ``own_ticket``: the share of other tickets that a reply is less like than its own, by the
    cosine of word TF-IDF vectors, ties counting half; 0.5 is chance. ``on_topic``: whether a
    word counter that tells the intent from a *reply* finds the ticket's.

    Args:
        rows: training rows.
    """

    def __init__(self, rows: Sequence[Example]) -> None:
        self._words = _words().fit([t for r in rows for t in (r.text, str(r.target))])
        self._topic = baselines.tfidf()
        self._topic.fit([str(r.target) for r in rows], [str(r.label) for r in rows])

    def own_ticket(self, rows: Sequence[Example], replies: Sequence[str]) -> list[float]:
        """Give each reply's share, 0 to 1, of the other tickets it is less like than its own.

        Raises:
            DataError: for fewer than two tickets, or another number of replies.
        """
        if len(rows) < 2 or len(rows) != len(replies):
            raise DataError(
                "every ticket needs a reply, and there must be another ticket to compare with",
                got=f"{len(rows)} tickets, {len(replies)} replies",
            )
        tickets = self._words.transform([r.text for r in rows])
        table = (self._words.transform(replies) @ tickets.T).toarray()
        own = np.diag(table)[:, None]
        beaten = (own > table + 1e-12).sum(1) + 0.5 * (np.abs(own - table) <= 1e-12).sum(1)
        return [float(v) for v in (beaten - 0.5) / (len(rows) - 1)]

    def on_topic(self, rows: Sequence[Example], replies: Sequence[str]) -> list[float]:
        """Give 1.0 for each reply in which the judge finds its ticket's intent, else 0.0."""
        called = self._topic.predict(list(replies))
        return [float(c == r.label) for c, r in zip(called, rows, strict=True)]

    def measure(self, rows: Sequence[Example], replies: Sequence[str]) -> dict[str, Any]:
        """Give both means, each as ``(value, low, high)`` with its bootstrap interval."""
        found = {}
        for name in ("on_topic", "own_ticket"):
            each = getattr(self, name)(rows, replies)
            found[name] = (float(np.mean(each)), *metrics.bootstrap_interval(each))
        return found


def _words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True)


def reply_nats(tuned: Any, tokenizer: Any, rows: Sequence[Example]) -> float:
    """Give the loss on the real replies, in nats a token, after the chat template's prompt.

    The replies' own tokens are counted and not the template's end of turn, so that two
    templates can be compared.

    Args:
        tuned: a model that writes; tokenizer: its own, with a chat template.
        rows: tickets with their replies.
    """
    coded = Rows("completion")
    for row in rows:
        texts = [chat_prompt(tokenizer, row.text), str(row.target).strip()]
        prompt, reply = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        prompt = prompt[-max(1, model.context_of(tuned) - len(reply)) :]
        coded.add([*prompt, *reply], [IGNORE] * len(prompt) + list(reply))
    data = coded.done()
    weight, nats = tuned.get_output_embeddings().weight, 0.0
    tuned.eval()
    with torch.no_grad():
        for _, batch in plain_batches(data, budget=8192, pad_id=tokenizer.pad_token_id):
            ids, labels = (batch[k].to(weight.device) for k in ("input_ids", "labels"))
            hidden = tuned.base_model(input_ids=ids).last_hidden_state
            flat = hidden.reshape(-1, hidden.shape[-1])
            nats += float(fused_cross_entropy(flat, weight, labels.reshape(-1)))
    return nats / max(1, int((data.labels != IGNORE).sum()))
