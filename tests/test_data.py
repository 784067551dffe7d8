"""Data in: formats, guesses, cuts, and what is refused with a message that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_lib.errors import CourseError, DataError, OfflineError, UnknownNameError
from course_lib.finetune.data import load


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def tickets(count: int) -> list[dict[str, object]]:
    return [{"body": f"message number {i}", "team": "ab"[i % 2]} for i in range(count)]


def test_columns_are_guessed_named_and_overruled(tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text(
        "body,category,team\n" + "".join(f'"mail {i}, x",c{i % 2},t{i % 3}\n' for i in range(60))
    )
    guessed = load("classification", str(path))
    assert guessed.notes[:2] == (
        "column 'body' taken as the text",
        "column 'category' taken as the label",
    )
    assert guessed.labels == ("c0", "c1") and guessed.train[0].text.endswith(", x")
    named = load("classification", str(path), label_column="team")
    assert named.labels == ("t0", "t1", "t2")
    plain = tmp_path / "plain.csv"
    plain.write_text("text,label\n" + "".join(f"mail {i},c{i % 2}\n" for i in range(60)))
    assert not [n for n in load("classification", str(plain)).notes if "taken as" in n]


def test_a_table_with_semicolons_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text("text;label\n" + "".join(f'"mail; {i}, x";c{i % 2}\n' for i in range(60)))
    found = load("classification", str(path))
    assert found.labels == ("c0", "c1") and found.train[0].text.startswith("mail; ")
    path.write_text("text;label\nmail;c1;c2\n")
    with pytest.raises(DataError, match="another number of columns"):
        load("classification", str(path))


def test_missing_splits_are_cut_by_label_and_without_leaks(tmp_path: Path) -> None:
    rows = tickets(200) + [{"body": "Message  NUMBER 3", "team": "b"}] * 5
    data = jsonl(tmp_path / "t.jsonl", rows)
    found = load("classification", data, text_column="body", label_column="team")
    texts = {
        s: {" ".join(r.text.lower().split()) for r in getattr(found, s)}
        for s in ("train", "validation", "test")
    }
    assert not texts["train"] & (texts["validation"] | texts["test"])
    assert not texts["validation"] & texts["test"]
    for split in ("validation", "test"):
        assert {r.label for r in getattr(found, split)} == {"a", "b"}
        assert 15 <= len(getattr(found, split)) <= 30
    again = load("classification", data, text_column="body", label_column="team")
    assert again == found
    assert "cut from train" in found.notes[-1] or "cut from train" in found.notes[-2]


def test_passages_stay_in_one_split(tmp_path: Path) -> None:
    paragraphs = []
    for p in range(20):
        text = f"The shop number {p} opens at {p} in the morning."
        qas = [
            {
                "id": f"{p}.{q}",
                "question": f"When does it open, {q}?",
                "answers": [{"text": f"number {p}", "answer_start": text.index("number")}],
            }
            for q in range(3)
        ]
        paragraphs.append({"context": text, "qas": qas})
    path = tmp_path / "qa.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    found = load("question-answering", str(path))
    groups = [{r.group for r in part} for part in (found.train, found.validation, found.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert sum(map(len, (found.train, found.validation, found.test))) == 60


def test_conll_text_and_pairs(tmp_path: Path) -> None:
    conll = tmp_path / "e.conll"
    conll.write_text("".join(f"Buy O\nKestrel B-ITEM\n{i} I-ITEM\n\n" for i in range(30)))
    tags = load("token-classification", str(conll))
    assert tags.labels == ("B-ITEM", "I-ITEM", "O") and tags.train[0].tokens[1] == "Kestrel"
    text = tmp_path / "book.txt"
    text.write_text("\n\n".join(f"Paragraph {i}\nwith two lines." for i in range(30)))
    assert load("language-modeling", str(text)).train[0].text.count("\n") == 1
    pairs = jsonl(
        tmp_path / "p.jsonl", [{"prompt": f"say {i}", "completion": f"{i}!"} for i in range(30)]
    )
    assert load("completion", pairs).train[0].target


def test_the_course_set_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from course_lib import files

    shutil.copytree(files.course_root() / "datasets", tmp_path / "datasets")
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    assert len(load("classification", "support_tickets").labels) == 8
    edited = tmp_path / "datasets" / "support_tickets" / "test.jsonl"
    edited.write_text(edited.read_text().replace("order", "0rder", 1))
    with pytest.raises(DataError, match=r"test\.jsonl: the file is not the frozen one; got \w{64}"):
        load("classification", "support_tickets")


def write(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


GOOD = "".join(f'{{"text": "row {i}", "label": "{"ab"[i % 2]}"}}\n' for i in range(30))
BAD = {
    "empty": ("a.jsonl", b"", "a.jsonl: the file is empty"),
    "column": (
        "a.csv",
        b"id,words\n1,hello\n",
        r"no column for the text.*id, words.*--text-column",
    ),
    "one class": ("a.jsonl", GOOD.replace('"b"', '"a"').encode(), "only one class.*got 'a'"),
    "encoding": ("a.csv", b"text,label\ncaf\xe9,a\n", r"a\.csv:2: not UTF-8.*iconv"),
    "null": (
        "a.jsonl",
        (GOOD + '{"text": null, "label": "a"}\n').encode(),
        r"a\.jsonl:31, column 'text': the text is empty; got None",
    ),
    "classes": (
        "a.jsonl",
        "".join(f'{{"text": "row {i}", "label": "l{i}"}}\n' for i in range(10_000)).encode(),
        "too many classes; got 10,000.*check --label-column",
    ),
    "an id for each row": (
        "a.jsonl",
        "".join(f'{{"text": "row {i}", "label": "l{i}"}}\n' for i in range(90)).encode(),
        "no validation rows are left; got 90 rows with 90 different labels"
        ".*looks like an id.*check --label-column",
    ),
    "ragged": ("a.csv", b"text,label\na,b\nc,d,e\n", r"a\.csv:3: .*got 3; expected 2"),
    "json": ("a.jsonl", b'{"text": "x", "label": NaN}\n', r"a\.jsonl:1: not valid JSON"),
    "kind": ("a.docx", b"x", r"a\.docx: unknown kind of file; got \.docx"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_files_are_refused_with_their_place(tmp_path: Path, name: str) -> None:
    file, content, message = BAD[name]
    with pytest.raises(DataError, match=f"(?s){message}") as caught:
        load("classification", write(tmp_path, file, content))
    assert caught.value.exit_code == 2


def test_a_label_only_in_test_is_refused(tmp_path: Path) -> None:
    for split, labels in (("train", "ab"), ("validation", "ab"), ("test", "ac")):
        jsonl(
            tmp_path / f"{split}.jsonl",
            [{"text": f"{split} {i}", "label": labels[i % 2]} for i in range(8)],
        )
    with pytest.raises(DataError, match="label 'c' occurs in test but never in train"):
        load("classification", str(tmp_path))


def test_wrong_tags_and_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an IOB2 tag sequence; got 'I-ITEM' after 'O'"):
        load("token-classification", write(tmp_path, "e.conll", b"a O\nb I-ITEM\n\n"))
    with pytest.raises(DataError, match=r"e2\.conll:2: a word without a tag"):
        load("token-classification", write(tmp_path, "e2.conll", b"a O\nb\n\n"))
    qa = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "It opens at nine.",
                        "qas": [
                            {
                                "id": "q7",
                                "question": "When?",
                                "answers": [{"text": "nine", "answer_start": 3}],
                            }
                        ],
                    }
                ]
            }
        ]
    }
    with pytest.raises(DataError, match=r"'q7': the answer is not at its place.*expected 'nine'"):
        load("question-answering", write(tmp_path, "q.json", json.dumps(qa).encode()))


@pytest.mark.parametrize(("task", "data", "message"), [
    ("clasification", "x", "did you mean 'classification'"),
    ("classification", "support_ticket", "did you mean 'support_tickets'"),
    ("classification", "missing.csv", "unknown data set or file 'missing.csv'"),
])  # fmt: skip
def test_unknown_names_offer_close_matches(task: str, data: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load(task, data)


def test_a_hub_id_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from course_lib.finetune.model import load_base

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OfflineError, match="embedded, which needs neither"):
        load_base("someone/no-such-model", task="classification", labels=("a", "b"))
    assert issubclass(OfflineError, CourseError) and OfflineError.exit_code == 3


@pytest.mark.parametrize("task", ["classification", "language-modeling"])
def test_many_rows_on_disk_give_what_few_in_memory_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    import numpy as np

    from course_lib import files
    from course_lib.finetune import flat, prepare, store
    from course_lib.finetune.model import load_base

    rows = [{**r, "id": f"r{i}"} for i, r in enumerate(tickets(300))]
    data = jsonl(tmp_path / "t.jsonl", rows)
    columns = {"text_column": "body", "label_column": "team"}
    _, tokenizer = load_base(str(files.assets_dir() / "base"), task="language-modeling")
    found = []
    for limit in (10**9, 500):
        monkeypatch.setattr(store, "LARGE", limit)
        monkeypatch.setattr(store.keep, "__defaults__", (limit,))
        monkeypatch.setattr(flat, "SPILL", limit)
        splits = load(task, data, **columns)
        coded = prepare.encode(task, splits.train, tokenizer, 64, splits.labels)
        found.append((splits, coded))
    (small, in_memory), (large, on_disk) = found
    assert isinstance(large.train, store.Stored) and isinstance(on_disk.ids, np.memmap)
    for split in ("train", "validation", "test"):
        assert list(getattr(large, split)) == list(getattr(small, split))
    assert large.train[3] == small.train[3] and list(large.train[5:8]) == list(small.train[5:8])
    np.testing.assert_array_equal(on_disk.ids, in_memory.ids)
    np.testing.assert_array_equal(on_disk.labels, in_memory.labels)
    np.testing.assert_array_equal(on_disk.offsets, in_memory.offsets)


def test_a_bad_row_far_down_a_large_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from course_lib.finetune import store

    monkeypatch.setattr(store.keep, "__defaults__", (500,))
    rows = [*tickets(200), {"body": "", "team": "a"}]
    with pytest.raises(DataError, match=r"t\.jsonl:201, column 'body': the text is empty"):
        load("classification", jsonl(tmp_path / "t.jsonl", rows), label_column="team")


def test_a_folder_gives_its_plainly_named_files_or_its_only_one(tmp_path: Path) -> None:
    for name, word in (("train", "plain"), ("oos_train", "other"), ("my_test", "held")):
        rows = [{"text": f"{word} {i}", "label": "ab"[i % 2]} for i in range(20)]
        jsonl(tmp_path / f"{name}.jsonl", rows)
    (tmp_path / "README.txt").write_text("what it is")
    found = load("classification", str(tmp_path))
    assert {row.text.split()[0] for row in found.train} == {"plain"}
    assert {row.text.split()[0] for row in found.test} == {"held"}
    only = tmp_path / "only"
    only.mkdir()
    jsonl(only / "all.jsonl", [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(40)])
    (only / "SOURCE.txt").write_text("where it came from")
    found = load("classification", str(only))
    assert len(found.train) + len(found.validation) + len(found.test) == 40
    jsonl(only / "more.jsonl", [{"text": "x", "label": "a"}])
    with pytest.raises(DataError, match=r"no training rows.*expected a file named train"):
        load("classification", str(only))


@pytest.mark.parametrize(
    ("task", "name", "rows"),
    [
        ("classification", "product_reviews", 634),
        ("language-modeling", "shop_handbook", 240),
        ("question-answering", "handbook_qa", 576),
        ("token-classification", "entities", 280),
        ("completion", "summaries", 696),
        ("completion", "phrases_en_fr", 3200),
    ],
)
def test_course_sets_load_as_they_are_named(task: str, name: str, rows: int) -> None:
    found = load(task, name)
    assert len(found.train) == rows and found.validation and found.test
    assert not found.notes, "nothing guessed, nothing cut, nothing left out"


def test_a_set_s_other_files_are_verified_and_named(tmp_path: Path) -> None:
    from course_lib.finetune.sources import course_file

    assert course_file("stream", "stream.jsonl").is_file()
    with pytest.raises(UnknownNameError, match=r"'stream\.json'(.|\n)*did you mean"):
        course_file("stream", "stream.json")
    with pytest.raises(DataError, match="no training rows"):
        load("classification", "stream")
