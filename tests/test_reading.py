"""Reading tasks made from text: the answer is really in the passage, or really is not."""

from __future__ import annotations

import itertools

import pytest
from transformers import AutoTokenizer

from course_lib import files
from course_lib.finetune.pretraining import reading

DOCUMENT = (
    "The lighthouse of Port Ansley was built in 1874 by the engineer Martha Quill. "
    "Its lamp could be seen for 21 miles on a clear night. Fishermen paid for the lamp oil "
    "until 1902. In that year the harbour board bought a petroleum burner from Denmark. "
    "Visitors climb 168 steps to reach the gallery today. Martha Quill later designed the "
    "railway bridge at Hallowmere, which carries trains to this day. The bridge at Hallowmere "
    "was painted red in 1911. The harbour board sold the old burner to a museum in Denmark. "
    "Port Ansley holds a lantern festival every autumn. The festival draws 4,000 visitors."
)
MORE = (
    " The museum at Hallowmere opened its doors in 1953. Its founder, Edwin Sallow, had been a "
    "keeper at the lighthouse for 30 years. He left the museum 900 letters and a brass telescope. "
    "The letters describe storms, wrecks and the price of bread in Port Ansley. Schools visit the "
    "museum every spring. A model of the railway bridge by Martha Quill stands in the hall. "
    "The telescope was stolen in 1978 and found in a boat two days later. Edwin Sallow is buried "
    "on the island. The lantern festival remembers him with 30 lamps on the water."
)
CHAT = "User: Two tickets please.\nAssistant: For which day?\nUser: Friday.\nUser: Evening."


@pytest.fixture(scope="module")
def made() -> list[reading.Task]:
    return list(itertools.islice(reading.tasks([DOCUMENT + MORE] * 60, seed=1), 80))


def parts(task: reading.Task) -> tuple[str, str]:
    question, passage = task.prompt.removeprefix("Question: ").split("\nPassage: ", 1)
    passage, _, end = passage.rpartition("\n")
    assert end in ("Answer:", "Quote:")
    return question, passage


def test_answers_stand_in_the_passage_and_not_in_the_question(made: list[reading.Task]) -> None:
    answered = [t for t in made if t.answer != "none"]
    assert len(answered) > 40
    for task in answered:
        question, passage = parts(task)
        assert task.answer in passage and question.endswith("?")
        if task.prompt.endswith("Answer:"):
            assert task.answer.lower() not in question.lower().split()
        else:
            assert task.answer in reading.sentences(passage)


def test_some_questions_have_no_answer(made: list[reading.Task]) -> None:
    empty = [t for t in made if t.answer == "none"]
    assert 0.01 < len(empty) / len(made) < 0.25


def test_same_seed_same_tasks() -> None:
    first, again = (list(reading.tasks([DOCUMENT] * 5, seed=4)) for _ in range(2))
    assert first == again and first != list(reading.tasks([DOCUMENT] * 5, seed=5))


def test_dialogues_become_turns_and_headlines_become_topics() -> None:
    (chat,) = reading.tasks([CHAT])
    assert chat.turns == (
        ("user", "Two tickets please."),
        ("assistant", "For which day?"),
        ("user", "Friday. Evening."),
    )
    first = next(iter(reading.tasks([f"Lighthouse of Port Ansley.\n{DOCUMENT}"])))
    assert first.prompt.endswith("\n\nThis is about")
    assert first.answer == "Lighthouse of Port Ansley"


def test_rows_hold_whole_tasks_and_mark_their_answers(made: list[reading.Task]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(files.assets_dir() / "base")
    ids = reading.encode_tasks(made, tokenizer, 256, 4000)
    assert ids.dtype == "int32" and (len(ids) - 1) % 256 == 0
    answers = {t.answer for t in made}
    for row in ids[:-1].reshape(-1, 256):
        text = tokenizer.decode([i % reading.ANSWER for i in row if i >= 0])
        pieces = text.split("<|endoftext|>")
        assert pieces.pop() == "", "the last task of a row is whole"
        assert all(p.startswith("Question: ") for p in pieces)
        marked = tokenizer.decode([i - reading.ANSWER for i in row if i >= reading.ANSWER])
        found = [a.strip() for a in marked.split("<|endoftext|>")][:-1]
        assert len(found) == len(pieces) and set(found) <= answers
