"""Examples to token ids and labels, counting what was cut to the context or dropped.

Labels lie *at* the token they name (``records.Prepared``); the shift to next-token
prediction happens once, in ``batch``. Nothing is ever shortened silently.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from course_lib.errors import DataError
from course_lib.finetune.loss import IGNORE
from course_lib.finetune.records import Example, Prepared

SPILL = 16_000_000  # numbers held in memory before they go to a file
NO_ANSWER = "none"  # what a question without an answer in its passage is answered with
TOPIC_PROMPT = "\n\nThis is about"  # follows a text whose topic or class is asked for


def qa_prompt(question: str, passage: str) -> str:
    """Give the prompt of a passage question; the answer follows after one space."""
    return f"Question: {question.strip()}\nPassage: {passage.strip()}\nAnswer:"


class _Flat:
    """int32 numbers collected in memory, or in a temporary file once they are many."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.held = self.written = 0
        self.file: Any = None

    def add(self, values: Sequence[int]) -> None:
        self.parts.append(np.asarray(values, dtype=np.int32))
        self.held += len(values)
        if self.held > SPILL:
            self.spill()

    def spill(self) -> None:
        # Closed, and so deleted, with the last array that maps it.
        self.file = self.file or tempfile.TemporaryFile()  # noqa: SIM115
        np.concatenate(self.parts).tofile(self.file)
        self.written += self.held
        self.parts, self.held = [], 0

    def done(self) -> np.ndarray:
        if self.file is None:
            return np.concatenate(self.parts)
        if self.held:
            self.spill()
        self.file.flush()
        return np.memmap(self.file, dtype=np.int32, mode="r", shape=(self.written,))


class _Rows:
    """Collects rows of ids and labels into the flat arrays of ``Prepared``."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.ids, self.labels = _Flat(), _Flat()
        self.lengths: list[int] = []
        self.facts: list[Any] = []
        self.cut = self.dropped = 0

    def add(self, ids: Sequence[int], labels: Sequence[int], fact: Any = None) -> None:
        self.ids.add(ids)
        self.labels.add(labels)
        self.lengths.append(len(ids))
        self.facts.append(fact)

    def done(self) -> Prepared:
        if not self.lengths:
            raise DataError(
                "no row is left to learn from",
                got=f"{self.dropped} rows dropped because nothing of them fits the context",
                next_step="shorten the texts or use a base with a longer context",
            )
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        ids, labels = self.ids.done(), self.labels.done()
        facts = tuple(self.facts)
        return Prepared(self.task, ids, labels, offsets, self.cut, self.dropped, facts)


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def classification(
    examples: Iterable[Example], tokenizer: Any, context: int, labels: Sequence[str]
) -> Prepared:
    """Encode texts and class numbers; a text beyond ``context`` tokens loses its end.

    What the tokenizer itself puts after a text (``model.close_texts``) is kept.

    Raises:
        DataError: for a label that is not in ``labels``.
    """
    rows, numbers = _Rows("classification"), {label: i for i, label in enumerate(labels)}
    added = tokenizer.num_special_tokens_to_add()
    for row in examples:
        if row.label is not None and row.label not in numbers:
            raise DataError(
                f"unknown label {row.label!r}", where=f"row {row.id}", expected=", ".join(labels)
            )
        ids = list(tokenizer(row.text, verbose=False)["input_ids"])
        if len(ids) > context:
            rows.cut += 1
            ids = ids[: context - added] + ids[len(ids) - added :]
        rows.add(ids, [numbers[row.label] if row.label is not None else 0])
    return rows.done()


def language_modeling(examples: Iterable[Example], tokenizer: Any, context: int) -> Prepared:
    """Pack texts, each closed by the end-of-text token, into blocks of ``context`` tokens.

    Every token is counted once but the very first of a block, which nothing predicts;
    so blocks overlap by one token. The facts of a row are the UTF-8 bytes it stands for.
    """
    rows, end = _Rows("language-modeling"), tokenizer.eos_token_id

    def add(block: list[int]) -> None:
        text = tokenizer.decode(block[1:], skip_special_tokens=True)
        rows.add(block, block, len(text.encode("utf-8")) + block[1:].count(end))

    stream: list[int] = []
    for row in examples:
        stream += [*_encode(tokenizer, row.text), end]
        while len(stream) >= context:
            add(stream[:context])
            stream = stream[context - 1 :]
    if len(stream) > 1:
        add(stream)
    return rows.done()


def prompted(
    pairs: Iterable[tuple[str, str | None]],
    tokenizer: Any,
    context: int,
    task: str,
    *,
    end: bool = True,
) -> Prepared:
    """Encode prompt and answer, the loss on the answer and the end-of-text token alone.

    A prompt too long for the context loses its *beginning*... except that question
    answering shortens the passage first (see :func:`question_answering`). With None for
    an answer only the prompt is encoded, for generation; without ``end`` the answer is
    not closed.
    """
    rows = _Rows(task)
    closing = [tokenizer.eos_token_id] if end else []
    for prompt, answer in pairs:
        head = _encode(tokenizer, prompt)
        tail = [] if answer is None else [*_encode(tokenizer, " " + answer.strip()), *closing]
        if len(tail) >= context:
            rows.dropped += 1
            continue
        rows.cut += len(head) + len(tail) > context
        head = head[-(context - len(tail)) :]
        rows.add(head + tail, [IGNORE] * len(head) + tail)
    return rows.done()


def question_answering(
    examples: Iterable[Example],
    tokenizer: Any,
    context: int,
    *,
    answered: bool = True,
    reserve: int = 0,
) -> Prepared:
    """Encode passage questions for generation: question, passage, then the first answer.

    A passage too long for the context is cut around the answer when ``answered``
    (training), else at its end.

    Args:
        reserve: tokens to leave free for what will be generated.
    """
    rows = _Rows("question-answering")
    for row in examples:
        answer = row.answers[0] if row.answers else NO_ANSWER
        tail = [*_encode(tokenizer, " " + answer), tokenizer.eos_token_id] if answered else []
        head, cut = _fit_passage(tokenizer, row, context - len(tail) - reserve)
        rows.cut += cut
        if cut and answered and row.answers and answer not in tokenizer.decode(head):
            rows.dropped += 1
            continue
        rows.add(head + tail, [IGNORE] * len(head) + tail)
    return rows.done()


def _fit_passage(tokenizer: Any, row: Example, room: int) -> tuple[list[int], bool]:
    """Encode the prompt, taking words off the passage's end until it fits ``room`` tokens."""
    ids = _encode(tokenizer, qa_prompt(row.question, row.text))
    if len(ids) <= room:
        return ids, False
    passage = tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)
    keep = len(passage["input_ids"]) - (len(ids) - room) - 2
    end = passage["offset_mapping"][max(0, keep - 1)][1] if keep > 0 else 0
    return _encode(tokenizer, qa_prompt(row.question, row.text[:end]))[-room:], True


def question_answering_span(examples: Iterable[Example], tokenizer: Any, context: int) -> Prepared:
    """Encode passage questions for a span head; two labels a row, first and last token.

    A question without an answer points at token 0. The facts of a row are its passage's
    first token and the passage offsets of its tokens, to go back from tokens to text.
    """
    rows = _Rows("question-answering-span")
    for row in examples:
        head = _encode(tokenizer, f"Question: {row.question.strip()}\nPassage: ")
        coded = tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)
        spans = [tuple(s) for s in coded["offset_mapping"]][: context - len(head)]
        ids = list(coded["input_ids"])[: len(spans)]
        rows.cut += len(spans) < len(coded["input_ids"])
        label = [0, 0]
        if row.answers:
            start, end = row.answer_starts[0], row.answer_starts[0] + len(row.answers[0])
            touched = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
            if not touched or spans[-1][1] < end:
                rows.dropped += 1
                continue
            label = [len(head) + touched[0], len(head) + touched[-1]]
        rows.add(head + ids, label, (len(head), tuple(spans)))
    return rows.done()


def chats(examples: Iterable[Example], tokenizer: Any, context: int) -> Prepared:
    """Encode dialogues with the chat template, the loss on the assistant's turns alone.

    A dialogue too long for the context loses its oldest tokens.
    """
    rows = _Rows("completion")
    for row in examples:
        messages = [{"role": role, "content": content} for role, content in row.turns]
        coded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(coded["input_ids"]), list(coded["assistant_masks"])
        rows.cut += len(ids) > context
        ids, mask = ids[-context:], mask[-context:]
        if not any(mask):
            rows.dropped += 1
            continue
        rows.add(ids, [i if m else IGNORE for i, m in zip(ids, mask, strict=True)])
    return rows.done()


def token_classification(
    examples: Iterable[Example], tokenizer: Any, context: int, labels: Sequence[str]
) -> Prepared:
    """Encode words and tags; a tag lies on the last token of its word.

    A causal model has read the whole word only there. Words beyond the context are
    cut; the facts of a row are the number of words that were kept.
    """
    rows, numbers = _Rows("token-classification"), {tag: i for i, tag in enumerate(labels)}
    for row in examples:
        ids: list[int] = []
        marks: list[int] = []
        kept = 0
        for place, (word, tag) in enumerate(zip(row.tokens, row.tags, strict=True)):
            piece = _encode(tokenizer, word if place == 0 else " " + word)
            if len(ids) + len(piece) > context:
                rows.cut += 1
                break
            ids += piece
            marks += [IGNORE] * (len(piece) - 1) + [numbers[tag]]
            kept += 1
        if kept:
            rows.add(ids, marks, kept)
        else:
            rows.dropped += 1
    return rows.done()


def encode(
    kind: str, rows: Sequence[Example], tokenizer: Any, context: int, labels: Sequence[str]
) -> Prepared:
    """Encode examples for a kind of head: a task, or ``question-answering-span``."""
    if kind in ("classification", "token-classification"):
        maker = classification if kind == "classification" else token_classification
        return maker(rows, tokenizer, context, labels)
    if kind == "completion":
        if rows and rows[0].turns:
            return chats(rows, tokenizer, context)
        return prompted(((r.text, r.target) for r in rows), tokenizer, context, kind)
    makers = {
        "language-modeling": language_modeling,
        "question-answering": question_answering,
        "question-answering-span": question_answering_span,
    }
    return makers[kind](rows, tokenizer, context)
