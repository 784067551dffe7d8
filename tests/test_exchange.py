"""Handing in to an exchange folder and collecting from it: modes, owners, killed and hostile hands.

The folder's use by real users of a real hub is tested in browser/test_jupyterhub.py.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

from course_lib.errors import EnvironmentProblem, StorageError, UsageError
from course_lib.files import sha256_file
from course_lib.quiz import answers, handed_in, identity, submission
from course_lib.quiz import exchange as student
from course_lib.teach.release import exchange as instructor
from course_lib.teach.release import roster

SECRET = b"s" * 32
OTHER = 12345  # a user id that nobody has here


def made(work: Path, name: str) -> Path:
    """Give a real submission of a student."""
    answers.Store(work / "answers", "00").add(
        answers.Attempt("00", "00.q1", 1, 1, ["o1"], answers.now())
    )
    identity.enroll(work, identity.token_for(SECRET, name, name.title(), "autumn"))
    return submission.submit(work, identity=identity.current(work)).path


@pytest.fixture()
def exchange(tmp_path: Path) -> Path:
    return instructor.make(tmp_path / "exchange")


def test_a_submission_is_handed_over_whole_and_never_over_another(
    tmp_path: Path, exchange: Path
) -> None:
    file = made(tmp_path / "ada", "ada")
    first, second = (student.hand_over(file, exchange) for _ in range(2))
    assert first.path != second.path
    assert sha256_file(first.path) == first.sha256 == sha256_file(file)
    assert handed_in.verify(first.path).student == "ada"
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o640
    assert sorted(p.name for p in exchange.iterdir()) == sorted([first.path.name, second.path.name])


@pytest.mark.parametrize(("folder", "file"), [(0o3773, 0o640), (0o1733, 0o644), (0o1777, 0o600)])
def test_who_may_read_follows_from_the_folder(tmp_path: Path, folder: int, file: int) -> None:
    place = tmp_path / "exchange"
    place.mkdir()
    place.chmod(folder)
    given = student.hand_over(made(tmp_path / "ada", "ada"), place)
    assert stat.S_IMODE(given.path.stat().st_mode) == file


def test_what_cannot_be_handed_over_is_kept_and_said(tmp_path: Path, exchange: Path) -> None:
    file = made(tmp_path / "ada", "ada")
    with pytest.raises(EnvironmentProblem, match=rf"no exchange folder[\s\S]*kept: {file}"):
        student.hand_over(file, tmp_path / "gone")
    limit = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from course_lib.quiz import exchange\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "exchange.hand_over(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", limit, str(file), str(exchange)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert StorageError.__name__ in done.stderr and str(file) in done.stderr
    assert not list(exchange.iterdir()), "no part of it is left"


def test_the_command_hands_in_where_the_hub_says(tmp_path: Path, exchange: Path) -> None:
    made(tmp_path / "ada", "ada").unlink()
    command = [sys.executable, "-m", "course_lib", "submit", "--work", str(tmp_path / "ada")]
    environment = os.environ | {"COURSE_EXCHANGE": str(exchange)}
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert handed_in.verify(Path(told["exchange"]["path"])).student == "ada"
    environment["COURSE_EXCHANGE"] = str(tmp_path / "gone")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 3 and "there is no exchange folder" in done.stderr


def test_collecting_takes_each_file_once_and_only_from_its_owner(
    tmp_path: Path, exchange: Path
) -> None:
    mine = student.hand_over(made(tmp_path / "ada", "ada"), exchange).path
    forged = student.hand_over(made(tmp_path / "ada", "ada"), exchange).path
    names = {mine.stat().st_ino: "ada", forged.stat().st_ino: "eve"}  # she hands in for ada
    (exchange / "link.zip").symlink_to("/etc/passwd")
    os.mkfifo(exchange / "pipe.zip")
    (exchange / "torn.zip").write_bytes(mine.read_bytes()[:-40])
    (exchange / ".half.part").write_bytes(b"PK")

    def owner(about: os.stat_result) -> str:
        return names.get(about.st_ino, "root")

    out = tmp_path / "collected"
    found = instructor.collect(exchange, out, owner_of=owner)
    assert [p.relative_to(out).as_posix() for p in found.new] == [f"ada/{mine.name}"]
    why = {name: f"{whose}: {told}" for name, whose, told in found.left}
    assert set(why) == {forged.name, "link.zip", "pipe.zip", "torn.zip"}
    assert why[forged.name] == "eve: another student's name is in it ('ada')"
    assert "no ordinary file" in why["pipe.zip"] and "cannot be opened" in why["link.zip"]
    kept = out / "ada" / mine.name
    mine.unlink()  # as its owner can
    assert handed_in.verify(kept).student == "ada"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not list(out.glob(".*"))


def test_a_file_that_states_an_earlier_time_is_told(tmp_path: Path, exchange: Path) -> None:
    late = (
        "import sys; from pathlib import Path; from course_lib.quiz import identity, submission\n"
        "submission.now = lambda: '2020-01-01T00:00:00+00:00'\n"
        "w = Path(sys.argv[1]); print(submission.submit(w, identity=identity.current(w)).path)"
    )
    made(tmp_path / "ada", "ada")
    command = [sys.executable, "-c", late, str(tmp_path / "ada")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    given = student.hand_over(Path(done.stdout.strip()), exchange)
    os.utime(given.path, (0, 0))  # a student can set this time, and not the change time
    found = instructor.collect(exchange, tmp_path / "out", owner_of=lambda about: "ada")
    assert len(found.told) == 1 and "says it was made 2020-01-01 00:00" in found.told[0][2]
    assert found.new[0].stat().st_mtime > 1.7e9, "the copy carries the time it came at"
    again = instructor.collect(exchange, tmp_path / "out", owner_of=lambda about: "ada")
    assert (again.new, again.known) == ((), 1)


def test_a_folder_for_a_group_nobody_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such group"):
        instructor.make(tmp_path / "exchange", "no-such-group-here")
    with pytest.raises(UsageError, match="there is no exchange folder"):
        instructor.collect(tmp_path / "gone", tmp_path / "out")


CONFIG = Path(__file__).resolve().parent.parent / "hub" / "jupyterhub_config.py"


@pytest.fixture()
def site(tmp_path: Path, exchange: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a site up as hub/README.md says."""
    (tmp_path / "course" / "notebooks").mkdir(parents=True)
    tokens = roster.give_tokens([roster.Student("Ada", "Ada Ohm")], SECRET, "autumn")
    (tmp_path / "tokens.csv").write_text(roster.to_csv(tokens))
    (tmp_path / "tokens.csv").chmod(0o600)
    (tmp_path / "local.py").write_text("c.Spawner.args += ['--more']\n")
    for name, value in {"COURSE": "course", "EXCHANGE": "exchange", "ROSTER": "tokens.csv",
                        "STATE": "state", "LOCAL": "local.py"}.items():  # fmt: skip
        monkeypatch.setenv(f"COURSE_HUB_{name}", str(tmp_path / value))
    return tmp_path


def configured() -> Any:
    config = Config()
    runpy.run_path(str(CONFIG), init_globals={"get_config": lambda: config})
    return config


def test_the_hub_gives_each_student_the_identity_of_the_roster(site: Path) -> None:
    config = configured()
    assert config.Authenticator.allowed_users == {"ada"}
    spawner = SimpleNamespace(user=SimpleNamespace(name="ada"), environment={"KEPT": "1"})
    config.Spawner.pre_spawn_hook(spawner)
    assert spawner.environment["COURSE_STUDENT_ID"] == "Ada" and spawner.environment["KEPT"] == "1"
    found = identity.read_token(spawner.environment["COURSE_STUDENT_TOKEN"])
    assert (found.student, found.course) == ("Ada", "autumn")
    assert config.Spawner.args[-1] == "--more", "the site's own lines come last"


@pytest.mark.parametrize(
    ("path", "mode", "what"),
    [
        ("tokens.csv", 0o644, "mode 644; expected the file of 'course roster'"),
        ("exchange", 0o1777, "expected a folder of mode 3773"),
        ("course/notebooks", 0o777, "mode 777; expected the course, writable by its owner alone"),
        ("course/quizzes/assessment/keys", 0, "the answers lie in the students' course"),
    ],
)
def test_the_hub_does_not_start_with_what_students_could_read_or_change(
    site: Path, path: str, mode: int, what: str
) -> None:
    if mode:
        (site / path).chmod(mode)
    else:
        (site / path).mkdir(parents=True)
    with pytest.raises(UsageError, match=re.escape(what)):
        configured()


def test_two_students_who_differ_by_case_alone_are_refused(site: Path) -> None:
    lines = "student,name,token\nada,,x\nAda,,y\n"
    (site / "tokens.csv").write_text(lines)
    with pytest.raises(UsageError, match="one user name"):
        configured()
