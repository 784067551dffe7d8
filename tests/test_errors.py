"""The error tree: exit codes, and messages that say where, what and what to do."""

from __future__ import annotations

import pytest

from course_lib import errors

TREE = {
    errors.CourseError: 1, errors.UsageError: 2, errors.DataError: 2, errors.ModelError: 2,
    errors.CheckpointError: 1, errors.EnvironmentProblem: 3, errors.OfflineError: 3,
    errors.StorageError: 3, errors.Stopped: 130,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), TREE.items(), ids=lambda v: getattr(v, "__name__", v))
def test_exit_codes(kind: type[errors.CourseError], code: int) -> None:
    assert issubclass(kind, errors.CourseError)
    assert kind("it failed").exit_code == code


def test_the_tree_is_complete() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(k) for k in kind.__subclasses__()))

    here = {k for k in below(errors.CourseError) if k.__module__ == "course_lib.errors"}
    assert here == {*TREE, errors.UnknownNameError}


def test_a_message_has_all_its_parts() -> None:
    error = errors.DataError(
        "no text", where="a.csv:7, field 'text'", got="an empty cell", expected="some words",
        next_step="fill it in or delete the row",
    )  # fmt: skip
    assert str(error) == (
        "a.csv:7, field 'text': no text; got an empty cell; expected some words.\n"
        "  What to do: fill it in or delete the row."
    )


def test_a_bare_message_is_one_sentence() -> None:
    assert str(errors.UsageError("nothing to do")) == "nothing to do."


def test_an_unknown_name_offers_close_ones() -> None:
    error = errors.UnknownNameError("task", "clasification", ["classification", "completion"])
    assert error.close[0] == "classification"
    assert "did you mean 'classification'" in str(error)
    assert error.exit_code == 2


def test_an_unknown_name_without_close_ones_lists_what_is_known() -> None:
    error = errors.UnknownNameError("lesson", "zzz", [f"{n:02d}" for n in range(30)])
    assert "did you mean" not in str(error)
    assert "known: 00, 01" in str(error)
    assert str(error).endswith("18, 19, ....")


def test_stopped_keeps_its_checkpoint() -> None:
    error = errors.Stopped("stopped", checkpoint="runs/a", next_step="add --resume")
    assert error.checkpoint == "runs/a"
    assert str(error) == "runs/a: stopped.\n  What to do: add --resume."
