"""Reading tasks made from plain text alone: questions whose answer stands in a passage.

Nobody wrote these questions. Two recipes turn a sentence into one: a span that recurs in a
later sentence is blanked there and asked for, with the earlier text as the passage
(recurring-span selection, Ram et al. 2021); and a sentence of the passage itself, its span
replaced by a question word and its words thinned out (cloze translation, Lewis et al. 2019).
A question about something the passage does not hold is answered ``none``; a quote asks for
the whole sentence. Dialogues become
turns of the chat template, and the opening line of an article names what follows it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from course_lib.finetune.prepare import NO_ANSWER, TOPIC_PROMPT, qa_prompt

ANSWER = 1 << 16  # added to the id of a token that answers a prompt
WORDS_A_TASK = 100  # one task for so many words of text
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(\d])")
_WORD = re.compile(r"[\w'\u2019-]+")
_NAME = r"[A-Z][\w'\u2019.-]*[\w]"
_SPANS = re.compile(
    rf"(?P<number>\b\d[\d,.]*\d?(?: (?:percent|million|billion|years|days|people|km|miles))?)"
    rf"|(?P<name>\b{_NAME}(?: (?:of |the |de |and )?{_NAME}){{0,4}})"
    r"|(?P<phrase>\b[a-z][a-z-]{3,}(?: [a-z][a-z-]{3,}){0,2})"
)
_ROLES = {"User": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt and its answer; with ``turns`` a dialogue instead."""

    prompt: str = ""
    answer: str = ""
    turns: tuple[tuple[str, str], ...] = ()


def sentences(text: str) -> list[str]:
    """Split prose into sentences; abbreviations split too, which does little harm here."""
    return [s.strip() for s in _SENTENCE.split(text) if s.strip()]


def spans(sentence: str) -> list[tuple[str, str]]:
    """List ``(kind, text)`` of what could be asked for: numbers, names, content phrases."""
    found = []
    for match in _SPANS.finditer(sentence):
        kind, text = str(match.lastgroup), match.group().strip(" .,")
        words = text.lower().split()
        if kind == "phrase":
            words = [w for w in words if w not in ENGLISH_STOP_WORDS]
            text = " ".join(words)
        elif kind == "name" and words[0] in ENGLISH_STOP_WORDS:
            continue
        if text and len(text) > 1 and text in sentence:
            found.append((kind, text))
    return found


def _question_word(kind: str, answer: str, rng: random.Random) -> str:
    if kind == "number":
        year = re.fullmatch(r"1\d{3}|20\d{2}", answer)
        return rng.choice(["When", "In what year"] if year else ["How many", "How much", "What"])
    if kind == "name":
        return rng.choice(["Who", "What", "Which", "Where", "Who"])
    return rng.choice(["What", "What", "What", "Which", "How"])


def question(sentence: str, kind: str, answer: str, rng: random.Random, noise: float) -> str:
    """Turn a sentence into a question for ``answer``, dropping each other word with ``noise``."""
    clauses = [c for c in re.split(r"[,;:()]\s", sentence) if answer in c]
    part = min(clauses, key=len) if clauses and rng.random() < 0.5 else sentence
    if len(_WORD.findall(part)) < 6 or answer not in part:
        part = sentence
    before, after = part.split(answer, 1)
    ask = _question_word(kind, answer, rng)

    def thin(text: str) -> list[str]:
        return [w for w in _WORD.findall(text) if rng.random() >= noise]

    left, right = thin(before)[-12:], thin(after)[:12]
    if left and left[0].lower() in ENGLISH_STOP_WORDS:
        left[0] = left[0].lower()
    if rng.random() < 0.3:
        words = [*left, ask.lower(), *right]
    else:
        words = [ask, *right, *left] if rng.random() < 0.5 else [ask, *left, *right]
    text = " ".join(words)
    return text[:1].upper() + text[1:] + "?"


def passages(document: str, rng: random.Random) -> Iterator[list[str]]:
    """Cut a document into runs of sentences of 25 to 170 words."""
    run: list[str] = []
    size, goal = 0, rng.randint(25, 130)
    for sentence in sentences(document.replace("\n", " ")):
        words = sentence.count(" ") + 1
        if size + words > 170:
            if size >= 20:
                yield run
            run, size, goal = [], 0, rng.randint(25, 130)
        if words <= 170:
            run.append(sentence)
            size += words
        if size >= goal:
            yield run
            run, size, goal = [], 0, rng.randint(25, 130)
    if size >= 20:
        yield run


def recurring(passage: list[str], later: str, rng: random.Random) -> Task | None:
    """Ask for a span of ``passage`` that occurs again in the sentence ``later``."""
    text = " ".join(passage)
    shared = [
        (kind, span)
        for kind, span in spans(later)
        if re.search(rf"\b{re.escape(span)}\b", text) and (kind != "phrase" or len(span) > 5)
    ]
    if not shared or len(_WORD.findall(later)) < 6:
        return None
    kind, answer = rng.choice(shared)
    return Task(qa_prompt(question(later, kind, answer, rng, 0.05), text), answer)


def cloze(passage: list[str], rng: random.Random) -> Task | None:
    """Ask for a span of one of the passage's own sentences, in thinned-out words."""
    sentence = rng.choice(passage)
    found = spans(sentence)
    if not found or len(_WORD.findall(sentence)) < 6:
        return None
    kinds = [kind for kind, _ in found]
    kind = rng.choice(sorted(set(kinds)))
    answer = rng.choice([span for k, span in found if k == kind])
    asked = question(sentence, kind, answer, rng, rng.choice([0.1, 0.25, 0.4]))
    return Task(qa_prompt(asked, " ".join(passage)), answer)


def quote(passage: list[str], rng: random.Random) -> Task | None:
    """Ask for the whole sentence that a few of its words come from.

    Many answer tokens, each to be found and copied: what the other tasks need first.
    """
    sentence = rng.choice(passage)
    words = _WORD.findall(sentence)
    if not 5 <= len(words) <= 40:
        return None
    kept = [w for w in words if rng.random() >= rng.choice([0.2, 0.4, 0.6])]
    asked = " ".join(kept[:12] or words[:3])
    prompt = qa_prompt(f"{asked[:1].upper()}{asked[1:]}?", " ".join(passage))
    return Task(prompt.removesuffix("Answer:") + "Quote:", sentence)


def unanswerable(passage: list[str], elsewhere: str, rng: random.Random) -> Task | None:
    """Ask about a sentence from elsewhere in the document; the answer is ``none``."""
    text = " ".join(passage)
    found = [(k, s) for k, s in spans(elsewhere) if s not in text]
    if not found or len(_WORD.findall(elsewhere)) < 6:
        return None
    kind, answer = rng.choice(found)
    return Task(qa_prompt(question(elsewhere, kind, answer, rng, 0.1), text), NO_ANSWER)


def dialogue(document: str) -> Task | None:
    """Give a document of ``User:`` and ``Assistant:`` lines as chat turns, else None."""
    turns: list[tuple[str, str]] = []
    for line in document.split("\n"):
        name, _, content = line.partition(":")
        role = _ROLES.get(name)
        if role is None:
            return None
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]} {content.strip()}")
        else:
            turns.append((role, content.strip()))
    return Task(turns=tuple(turns)) if len(turns) > 1 else None


def topic(document: str, rng: random.Random) -> Task | None:
    """Name a short opening line (a headline) after the paragraph that follows it."""
    lines = document.split("\n")
    if len(lines) < 2 or not 2 <= len(lines[0]) <= 70:
        return None
    body = " ".join(sentences(lines[1])[: rng.randint(1, 4)])
    if not 40 < len(body) < 900 or len(body) < 2 * len(lines[0]):
        return None
    return Task(body + TOPIC_PROMPT, lines[0].strip(" ."))


def tasks(documents: Iterable[str], seed: int = 0) -> Iterator[Task]:
    """Make tasks from documents: about one for ``WORDS_A_TASK`` words, dialogues whole."""
    rng = random.Random(seed)
    owed = 0.0
    for document in documents:
        chat = dialogue(document)
        if chat:
            yield chat
            continue
        headline = topic(document, rng)
        if headline:
            yield headline
        runs = list(passages(document, rng))
        for place, run in enumerate(runs):
            owed += sum(s.count(" ") + 1 for s in run) / WORDS_A_TASK
            for _ in range(int(owed)):
                made = _one(run, runs[place + 1 : place + 4], rng)
                if made:
                    yield made
                    owed -= 1.0
            owed = min(owed, 3.0)


def _one(run: list[str], following: list[list[str]], rng: random.Random) -> Task | None:
    """Make one task from a passage and the sentences after it, of a kind drawn by lot."""
    draw = rng.random()
    later = [s for other in following for s in other]
    rng.shuffle(later)
    if draw > 0.6:
        return quote(run, rng)
    if draw < 0.3:
        for sentence in later[:6]:
            found = recurring(run, sentence, rng)
            if found:
                return found
    if 0.3 <= draw < 0.35 and later:
        return unanswerable(run, later[0], rng)
    return cloze(run, rng)


def encode_tasks(made: Iterable[Task], tokenizer: Any, context: int, most: int) -> np.ndarray:
    """Pack tasks into rows of ``context`` ids without cutting one in two.

    Answer tokens have ``ANSWER`` added. What is left of a row is filled with end-of-text
    tokens that are read but not counted (encoded as ``-id - 1``).

    Returns:
        int32 ``[rows * context + 1]`` of at most ``most`` tokens.
    """
    end = tokenizer.eos_token_id
    rows: list[np.ndarray] = []
    row: list[int] = []
    for task in made:
        ids = _encode(task, tokenizer)
        if len(ids) > context:
            continue
        if len(row) + len(ids) > context:
            row += [-end - 1] * (context - len(row))
            rows.append(np.asarray(row, dtype=np.int32))
            row = []
            if len(rows) * context >= most:
                break
        row += ids
    return np.concatenate([*rows, np.asarray([-end - 1], dtype=np.int32)])


def _encode(task: Task, tokenizer: Any) -> list[int]:
    end = tokenizer.eos_token_id
    if task.turns:
        messages = [{"role": role, "content": content} for role, content in task.turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        return [*tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], end]
    prompt = tokenizer(task.prompt, add_special_tokens=False, verbose=False)["input_ids"]
    answer = tokenizer(" " + task.answer, add_special_tokens=False)["input_ids"]
    return [*prompt, *(i + ANSWER for i in (*answer, end))]
