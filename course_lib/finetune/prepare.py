"""Examples to token ids and labels, counting what was cut to the context or dropped.

Labels lie *at* the token they name (``records.Prepared``); the shift to next-token
prediction happens once, in ``batch``. Nothing is ever shortened silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from course_lib.errors import DataError
from course_lib.finetune import chat
from course_lib.finetune.flat import Rows
from course_lib.finetune.loss import IGNORE
from course_lib.finetune.records import Example, Prepared

NO_ANSWER = "none"  # what a question without an answer in its passage is answered with
TOPIC_PROMPT = "\n\nThis is about"  # follows a text whose topic or class is asked for


def qa_prompt(question: str, passage: str) -> str:
    """Give the prompt of a passage question; the answer follows after one space."""
    return f"Question: {question.strip()}\nPassage: {passage.strip()}\nAnswer:"


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _texts(
    tokenizer: Any, examples: Iterable[Example], special: bool = False
) -> Iterator[tuple[Example, list[int]]]:
    """Yield each example with its text's ids, encoded many at a time."""
    rows = iter(examples)
    while group := list(islice(rows, 512)):
        texts = [row.text for row in group]
        coded = tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
        yield from zip(group, map(list, coded), strict=True)


def classification(
    examples: Iterable[Example], tokenizer: Any, context: int, labels: Sequence[str]
) -> Prepared:
    """Encode texts and class numbers; a text beyond ``context`` tokens loses its end.

    What the tokenizer itself puts after a text (``model.close_texts``) is kept.

    Raises:
        DataError: for a label that is not in ``labels``.
    """
    rows, numbers = Rows("classification"), {label: i for i, label in enumerate(labels)}
    added = tokenizer.num_special_tokens_to_add()
    for row, ids in _texts(tokenizer, examples, special=True):
        if row.label is not None and row.label not in numbers:
            raise DataError(
                f"unknown label {row.label!r}", where=f"row {row.id}", expected=", ".join(labels)
            )
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
    rows, end = Rows("language-modeling"), tokenizer.eos_token_id

    def add(block: list[int]) -> None:
        text = tokenizer.decode(block[1:], skip_special_tokens=True)
        rows.add(block, block, len(text.encode("utf-8")) + block[1:].count(end))

    stream: list[int] = []
    for _, ids in _texts(tokenizer, examples):
        stream += [*ids, end]
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
    rows = Rows(task)
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
    rows = Rows("question-answering")
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
    rows = Rows("question-answering-span")
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
    rows = Rows("completion")
    for row in examples:
        messages = [{"role": role, "content": content} for role, content in row.turns]
        ids, mask = chat.coded(tokenizer, messages)
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
    rows, numbers = Rows("token-classification"), {tag: i for i, tag in enumerate(labels)}
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


def unmasked(data: Prepared) -> Prepared:
    """Give the same rows with the loss on every token, prompt and all.

    What forgetting the mask does: for showing, comparing and diagnosing it.
    """
    return dataclasses.replace(data, labels=data.ids.copy())


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
