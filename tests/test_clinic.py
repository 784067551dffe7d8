"""Every case of the clinic shows its symptom, and hides its name."""

from __future__ import annotations

import math
from functools import cache

import pytest

from course_lib.errors import UnknownNameError
from course_lib.finetune.casebook import (
    DIAGNOSES,
    Evidence,
    Fact,
    fault_names,
    judge,
    reveal,
    shorten,
)
from course_lib.finetune.deploy import fault_desk, faults
from course_lib.finetune.deploy.chat_request import Refused, read_request
from course_lib.finetune.deploy.gateway import Door
from course_lib.finetune.examine import clinic, clinic_runs


@cache
def shown(case: str) -> Evidence:
    if case in clinic.CASES:
        return clinic.clinic(case, "quick", 1)
    return faults.fault(case, "quick", 1)


def both(case: str, name: str) -> tuple[float, float]:
    fact = shown(case)[name]
    assert fact.healthy is not None
    return fact.value, fact.healthy


def test_a_leaked_test_set_shines_on_the_test_rows_alone() -> None:
    test, healthy = both("A", "accuracy, test rows")
    validation, _ = both("A", "accuracy, validation rows")
    assert test > healthy + 0.25 and test > validation + 0.25


def test_too_high_a_rate_rises_and_stays_finite_and_does_not_learn_its_own_rows() -> None:
    largest, healthy = both("B", "loss, largest")
    assert healthy < 4 and 1.5 * healthy < largest < 40
    last, good = both("B", "loss, mean of the last four steps")
    assert last > good + 0.5
    right, good = both("B", "accuracy, train rows")
    assert right < good - 0.3


def test_a_wrong_tokenizer_starts_no_better_than_an_even_guess_with_fewer_tokens() -> None:
    first, healthy = both("C", "loss, first step")
    even = shown("C")["loss of an even guess over the vocabulary"].value
    assert first > even - 0.3 and healthy < even - 2
    pieces, known = both("C", "tokens a message")
    assert pieces < known
    bits, good = both("C", "bits per byte, validation, afterwards")
    assert bits > good + 0.2


def test_an_unmasked_prompt_counts_whole_rows_and_learns_the_answer_less() -> None:
    counted, masked = both("D", "tokens a row that the loss counts")
    assert counted > 5 * masked
    loss, good = both("D", "loss of the answers alone, validation")
    assert loss > good + 0.3
    assert len(shown("D").samples) == 4


def test_a_frozen_head_stands_still_and_so_does_the_loss() -> None:
    losses = [row["loss"] for row in shown("E").curve]
    assert max(losses) - min(losses) < 1e-5
    assert losses[0] == pytest.approx(math.log(4), abs=1e-5)
    assert both("E", "largest change of a weight of the head")[0] == 0.0
    assert both("E", "gradient norm, largest")[0] == 0.0
    assert both("E", "largest change of a weight of the head")[1] > 0.0


def test_label_shift_looks_well_on_validation_and_drowns_one_class_on_test() -> None:
    evidence = shown("F")
    validation, test = (evidence[f"accuracy, {s} rows"].value for s in ("validation", "test"))
    assert validation > test + 0.15
    rows = [f.value for f in evidence.facts if f.name.startswith("test rows called")]
    called = evidence["test rows called product question"].value
    assert called > 0.6 * sum(rows)


def test_an_exploding_loss_grows_by_powers_of_ten() -> None:
    largest, healthy = both("G", "loss, largest")
    assert not largest < 20 * healthy, "far beyond, or no number at all"
    assert not largest < 3 * shown("B")["loss, largest"].value


def test_the_wrong_padding_side_changes_the_answers_of_a_healthy_run() -> None:
    same, mended = both("H", "same answer alone and in the batch")
    assert same < 0.5 and mended > 0.9
    assert shown("H").curve == shown("H").healthy, "nothing is wrong with the training"


def test_a_timeout_loses_the_long_reply_and_not_the_short_one() -> None:
    answered, short = both("I", "answered in time")
    assert answered < short == 3
    assert "given up" in shown("I").samples[-1] and "has it" in shown("I").samples[0]


def test_a_truncated_context_loses_the_question() -> None:
    evidence = shown("J")
    assert evidence["tokens of the thread"].value > evidence["tokens the model can read"].value
    assert both("J", "last question among them: 1 yes, 0 no") == (0.0, 1.0)


def test_the_door_of_the_server_refuses_what_was_cut_there(tmp_path: object) -> None:
    desk = fault_desk.desk("quick", 1, "embedded")
    door = Door("m", "", desk.tokenizer, 512, lambda: None, log=None)  # type: ignore[arg-type]
    body = read_request(b'{"messages": [{"role": "user", "content": "%s"}]}' % (b"tent " * 600))
    with pytest.raises(Refused, match="shorten the messages"):
        door.fit(body)


def test_a_wrong_template_makes_the_replies_less_likely_and_endless() -> None:
    other, own = both("K", "loss of the real replies, nats a token")
    assert other > own
    ended, healthy = both("K", "of four replies, end within 48 tokens")
    assert ended < healthy
    assert "### Instruction" in shown("K").samples[0]


def test_a_stale_version_answers_as_before_and_a_restart_does_not() -> None:
    now, restarted = both("L", "replies unlike last week's, of four")
    assert now == 0 and restarted > 0
    served, newest = shown("L").samples[1].split(";")
    assert served.split()[-1] != newest.split()[-1]
    assert "promote v0002" in shown("L").samples[0]


@pytest.mark.parametrize("case", DIAGNOSES)
def test_the_evidence_never_names_the_fault(case: str) -> None:
    text = shown(case).text().lower()
    assert reveal(case).name not in text
    assert "None" not in text and len(shown(case).facts) >= 2


def test_guesses_are_judged_and_names_sorted() -> None:
    assert judge("B", "Learning rate too high").startswith("Right: learning rate too high.")
    assert judge("B", "label shift").startswith("Not label shift. It is learning rate too high.")
    names = fault_names(clinic.CASES)
    assert names == sorted(names) and len(names) == 8
    assert not set(names) & set(fault_names(faults.CASES))
    assert list(clinic.CASES) + list(faults.CASES) == list(DIAGNOSES)


def test_unknown_cases_and_profiles_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Z"):
        clinic.clinic("Z")
    with pytest.raises(UnknownNameError, match="quick"):
        clinic.clinic("A", "qick")
    with pytest.raises(UnknownNameError, match="Z"):
        faults.fault("Z")
    with pytest.raises(UnknownNameError, match="quick"):
        faults.fault("I", "qick")
    with pytest.raises(UnknownNameError, match="Z"):
        reveal("Z")


def test_the_splits_of_a_clinic_share_no_row_and_samples_are_short() -> None:
    kit = clinic_runs.Kit("quick", 1, "embedded")
    ids = [r.id for split in ("train", "validation", "test") for r in kit.rows(split)]
    assert len(set(ids)) == len(ids) == 3 * 4 * kit.each
    assert shorten("a\n  b") == "a b" and len(shorten("word " * 40)) <= 60
    assert Fact("x", 1.0).line().split() == ["x", "1.00"]
