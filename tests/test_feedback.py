"""Ratings to preference pairs: what becomes a pair, and what is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.feedback import ratings as feedback
from course_lib.finetune.feedback.ratings import Rating


def test_ratings_of_the_course_pairs_come_back_as_these_pairs(tmp_path: Path) -> None:
    pairs = feedback.load_pairs("preferences").validation
    path = tmp_path / "ratings.jsonl"
    for i, pair in enumerate(pairs):
        better, worse = ("up", "down") if i % 2 else (5, 2)
        feedback.rate(path, pair.prompt, pair.rejected, worse, rater="a")
        feedback.rate(path, pair.prompt, pair.chosen, better, rater="a")
    made, counts = feedback.pairs_from_ratings(feedback.read_ratings(path))
    assert [(p.prompt, p.chosen, p.rejected) for p in made] == [
        (p.prompt, p.chosen, p.rejected) for p in pairs
    ]
    assert counts["ratings"] == 90 and counts["prompts"] == counts["pairs"] == 45
    feedback.save_pairs(made, tmp_path / "pairs.jsonl")
    again = feedback.load_pairs(str(tmp_path / "pairs.jsonl"))
    sizes = [len(again.train), len(again.validation), len(again.test)]
    assert sum(sizes) == 45 and min(sizes) >= 4
    assert {p.prompt for p in again.train} & {p.prompt for p in again.test} == set()
    assert [n for n in again.notes if "cut from train" in n]


def test_the_course_set_is_whole() -> None:
    found = feedback.load_pairs("preferences")
    assert [len(s) for s in (found.train, found.validation, found.test)] == [210, 45, 45]
    assert found.name == "preferences" and len(found.sha256) == 64
    assert {p.reason for p in found.test} >= {"wrong_rule", "vague", "cold"}


@pytest.mark.parametrize(
    ("ratings", "verdict"),
    [
        ([("one", 1.0, "a")], "single"),
        ([("one", 0.5, "a"), ("two", 0.5, "b")], "ties"),
        ([("one", 0.75, "a"), ("two", 0.5, "b")], "unclear"),
        ([("one", 1.0, "a"), ("one", 0.0, "b"), ("two", 0.0, "c")], "contradicted"),
        # b prefers two, though one has the better mean by the others
        (
            [("one", 1.0, "a"), ("one", 0.5, "b"), ("one", 1.0, "c"), ("two", 0.75, "b"),
             ("two", 0.25, "a")],
            "contradicted",
        ),
        # the same words with other white space are one reply, rated twice
        ([("one", 1.0, "a"), (" one\n", 1.0, "b")], "single"),
        # a rater's second thought replaces the first
        ([("one", 0.0, "a"), ("one", 1.0, "a"), ("two", 0.0, "a")], "pairs"),
    ],
)  # fmt: skip
def test_what_makes_no_pair_is_counted(ratings: list[tuple[str, float, str]], verdict: str) -> None:
    made, counts = feedback.pairs_from_ratings([Rating("where?", r, s, w) for r, s, w in ratings])
    names = ("single", "ties", "unclear", "contradicted", "surplus", "pairs")
    assert {n: counts[n] for n in names} == {n: int(n == verdict) for n in names}
    assert len(made) == (verdict == "pairs")


def test_a_prompt_with_many_replies_gives_its_clearest_pairs() -> None:
    ratings = [Rating("where?", f"reply {i}", i / 4) for i in range(5)]
    made, counts = feedback.pairs_from_ratings(ratings, gap=0.5, per_prompt=2)
    assert (made[0].chosen, made[0].rejected) == ("reply 4", "reply 0")
    assert counts["pairs"] == 2 and counts["surplus"] == 4 and counts["unclear"] == 4


@pytest.mark.parametrize("rating", [0, 6, 4.5, True, "great", None])
def test_what_is_no_rating_is_refused(tmp_path: Path, rating: object) -> None:
    path = tmp_path / "ratings.jsonl"
    with pytest.raises(DataError, match="not a rating; got"):
        feedback.rate(path, "where?", "here", rating)
    assert not path.exists()
    path.write_text(json.dumps({"prompt": "where?", "reply": "here", "rating": rating}) + "\n")
    with pytest.raises(DataError, match=r"ratings\.jsonl:1, field 'rating': not a rating"):
        feedback.read_ratings(path)


def test_empty_and_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match=r"pairs\.jsonl: there are no ratings"):
        feedback.read_ratings(path)
    with pytest.raises(DataError, match=r"pairs\.jsonl: the file is empty"):
        feedback.load_pairs(str(path))
    with pytest.raises(DataError, match="there are no ratings"):
        feedback.pairs_from_ratings([])
    with pytest.raises(DataError, match="there are no pairs to save"):
        feedback.save_pairs([], path)
    with pytest.raises(UsageError, match="gap must lie above 0"):
        feedback.pairs_from_ratings([Rating("a", "b", 1.0)], gap=0)
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"pairs\.jsonl:2, field 'chosen': the chosen is empty"):
        feedback.load_pairs(str(path))
    path.write_text('{"prompt": "a", "chosen": "b c", "rejected": "b  c"}\n')
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: both replies of the pair are the same"):
        feedback.load_pairs(str(path))
    with pytest.raises(UnknownNameError, match="did you mean 'preferences'"):
        feedback.load_pairs("preference")
