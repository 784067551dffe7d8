"""Handing in: whole or not at all, and nothing in a stranger's file is trusted."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib import files
from course_lib.errors import DataError, StorageError, UsageError
from course_lib.quiz import notebook, submission
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.handed_in import verify
from course_lib.quiz.identity import Identity
from course_lib.quiz.submission import submit

MIA = Identity("mia", "Mia", "Spring", b"s" * 32, "token")
RUN = {"schema": 1, "task": "classification", "metrics": {"after": {"accuracy": 0.5}}}


def add_run(work: Path, name: str, *, predictions: bytes = b'{"id": "1"}\n') -> Path:
    folder = work / "runs" / name
    (folder / "model").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "predictions.jsonl").write_bytes(predictions)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return folder


def add_receipt(work: Path, name: str, lesson: str, attempts: list[dict[str, Any]]) -> None:
    kept = {"schema": 1, "lesson": lesson, "attempts": attempts, "sha256": ""}
    cell = nbformat.v4.new_code_cell("receipt()", outputs=[
        nbformat.v4.new_output("display_data", data={notebook.RECEIPT: kept})])  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), work / name)


@pytest.fixture()
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    store = Store(folder / "answers", "03", "s")
    kept = [store.add(Attempt("03", f"03.q{n}", 1, 1, "o1", "")) for n in (1, 2, 3)]
    add_receipt(folder, "03_text.ipynb", "03", [asdict(k) for k in kept])
    lost = asdict(kept[0]) | {"quiz": "04", "question": "04.q1", "session": "gone"}
    add_receipt(folder, "04_words.ipynb", "04", [lost])
    add_run(folder, "03-intents-cpu-0")
    return folder


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as packed:
        return packed.namelist()


def test_all_that_counts_is_handed_in_and_read_again(work: Path, tmp_path: Path) -> None:
    found = submit(work, tmp_path / "out", identity=MIA)
    assert found.path == tmp_path / "out" / "submission-mia-001.zip"
    assert (found.student, found.course, found.lessons) == ("mia", "Spring", ("03", "04"))
    assert (found.attempts, found.runs, found.damage) == (4, ("03-intents-cpu-0",), ())
    assert found == verify(found.path)
    assert names(found.path) == [
        "answers/03.s.jsonl", "receipts/03_text.json", "receipts/04_words.json",
        "runs/03-intents-cpu-0/run.json", "runs/03-intents-cpu-0/predictions.jsonl",
        "manifest.json",
    ]  # fmt: skip
    with zipfile.ZipFile(found.path) as packed:
        kept = (work / "answers" / "03.s.jsonl").read_bytes()
        assert packed.read("answers/03.s.jsonl") == kept
        manifest = json.loads(packed.read("manifest.json"))
    assert manifest["files"]["answers/03.s.jsonl"] == {
        "bytes": len(kept), "sha256": files.sha256_bytes(kept),
    }  # fmt: skip
    assert MIA.seed.hex() not in json.dumps(manifest) and str(tmp_path) not in json.dumps(manifest)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["submission-mia-001.zip"]


def test_a_second_submission_gets_the_next_number(work: Path) -> None:
    first, second = submit(work, identity=MIA), submit(work, identity=MIA)
    assert [first.path.name, second.path.name] == [f"submission-mia-00{n}.zip" for n in (1, 2)]
    before = second.path.read_bytes()
    first.path.unlink()
    assert submit(work, identity=MIA).path.name == "submission-mia-001.zip"
    assert second.path.read_bytes() == before


def test_equal_content_gives_equal_bytes_but_for_the_time(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "now", lambda: "2026-05-01T10:00:00.000000+00:00")
    first, second = submit(work, identity=MIA), submit(work, identity=MIA)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_nothing_to_hand_in_and_nobody_to_do_it(tmp_path: Path, work: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"nothing to hand in(.|\n)*answer a quiz"):
        submit(tmp_path / "empty", identity=MIA)
    with pytest.raises(UsageError, match=r"nobody is enrolled(.|\n)*course enroll"):
        submit(work, identity=Identity("", "", "", b"", "none"))
    assert not list(tmp_path.rglob("*.zip"))


def test_what_cannot_go_along_is_named(work: Path) -> None:
    add_run(work, "large", predictions=b"x" * (submission.LARGEST_RUN_FILE + 1))
    add_run(work, "od\nd")
    (add_run(work, "torn") / "run.json").write_text("{")
    store = Store(work / "answers", "03", "s")
    with store.path.open("a") as file:
        file.write('{"torn')
    (work / "answers" / "notes.x.jsonl").write_text("mine\n")
    found = submit(work, identity=MIA)
    assert found.runs == ("03-intents-cpu-0",)
    assert found.left_out == (
        "runs/large: predictions.jsonl is over 20 MB",
        "'runs/od\\nd/run.json': the name is too long or has odd characters",
        "'runs/od\\nd/predictions.jsonl': the name is too long or has odd characters",
        "runs/torn: run.json cannot be read",
    )
    assert found.damage == (
        "03.s.jsonl: the last line is not complete and was left out",
        "answers of 'notes', which is no lesson",
    )
    assert found.attempts == 4


def test_a_folder_that_cannot_be_written_says_so(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match=r"could not be written(.|\n)*answers are untouched"):
        submit(work, tmp_path / "out", identity=MIA)
    assert (tmp_path / "out").read_text() == "in the way"


SUBMIT = """
import sys
from pathlib import Path
from course_lib.quiz.identity import Identity
from course_lib.quiz.submission import submit
who = Identity("mia", "Mia", "Spring", b"s" * 32, "token")
print("ready", flush=True)
for _ in range(10**6):
    submit(Path(sys.argv[1]), Path(sys.argv[2]), identity=who)
"""
PATHS = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"


def test_a_kill_leaves_no_half_file_under_the_final_name(work: Path, tmp_path: Path) -> None:
    rng, out = random.Random(0), tmp_path / "out"
    add_run(work, "more", predictions=bytes(rng.getrandbits(8) for _ in range(400_000)))
    for turn in range(60):
        with subprocess.Popen(
            [sys.executable, "-c", PATHS + SUBMIT, str(work), str(out)],
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(0.02 + rng.random() * (0.15 + 0.02 * turn))
            process.send_signal(signal.SIGKILL)
        found, parts = sorted(out.glob("*.zip")), list(out.glob(".submission-*.part"))
        if turn >= 7 and found and parts:
            break
    assert found and parts, "some were finished, some were killed in the middle"
    assert all(verify(path).attempts == 4 for path in found)
    numbers = [int(path.stem.rsplit("-", 1)[1]) for path in found]
    assert numbers == list(range(1, len(found) + 1))


def test_two_at_once_never_share_a_number(work: Path, tmp_path: Path) -> None:
    code, out = PATHS + SUBMIT.replace("10**6", "6"), tmp_path / "out"
    running = [subprocess.Popen([sys.executable, "-c", code, str(work), str(out)],
                                stdout=subprocess.DEVNULL) for _ in range(2)]  # fmt: skip
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len([verify(p) for p in out.glob("*.zip")]) == 12


def test_tampered_bytes_never_pass_as_the_same(work: Path) -> None:
    path = submit(work, identity=MIA).path
    whole, rng = path.read_bytes(), random.Random(0)
    before = asdict(verify(path))
    refused = 0
    for place in sorted(rng.sample(range(len(whole)), 250)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert asdict(verify(path)) == before, "only unused header fields may differ"
        except DataError:
            refused += 1
    assert refused > 150
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="cannot be read as a zip file"):
            verify(path)
    with pytest.raises(DataError, match="cannot be read as a zip file"):
        verify(path.parent / "none.zip")


Change = Callable[[dict[str, bytes]], None]


def rewrite(path: Path, change: Change, *, sealed: bool = False) -> None:
    """Write the file anew after a change; with ``sealed`` the manifest agrees with it."""
    with zipfile.ZipFile(path) as packed:
        content = {name: packed.read(name) for name in packed.namelist()}
    change(content)
    if sealed:
        manifest = json.loads(content.pop("manifest.json"))
        manifest["files"] = {k: {"bytes": len(v), "sha256": files.sha256_bytes(v)}
                             for k, v in content.items()}  # fmt: skip
        content["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(name, data)


def put(name: str, data: bytes) -> Change:
    return lambda content: content.update({name: data})


@pytest.mark.parametrize("change, message", [
    (put("answers/03.s.jsonl", b"other\n"), r"'answers/03\.s\.jsonl' is not what the manifest"),
    (put("answers/04.s.jsonl", b""), r"'answers/04\.s\.jsonl' is not what the manifest says"),
    (lambda c: c.pop("answers/03.s.jsonl"), r"'answers/03\.s\.jsonl' is not what .* got nothing"),
    (lambda c: c.pop("manifest.json"), "the manifest is missing"),
    (put("manifest.json", b"{"), "the manifest is damaged"),
    (put("manifest.json", b"[]"), "the manifest is damaged"),
    (put("manifest.json", b'{"schema": 1, "student": "../x", "course": "", "files": {}}'),
     "the manifest is damaged"),
])  # fmt: skip
def test_content_that_is_not_the_manifests_is_refused(
    work: Path, change: Change, message: str
) -> None:
    path = submit(work, identity=MIA).path
    rewrite(path, change)
    with pytest.raises(DataError, match=message):
        verify(path)


@pytest.mark.parametrize("name, data, message", [
    ("/etc/passwd", b"", "has no place"),
    ("../answers/03.x.jsonl", b"", "has no place"),
    ("answers/../03.x.jsonl", b"", "has no place"),
    ("answers/sub/03.x.jsonl", b"", "has no place"),
    ("runs/../run.json", b"{}", "has no place"),
    ("runs/./run.json", b"{}", "has no place"),
    ("answers\\03.x.jsonl", b"", "has no place"),
    ("answers/C:03.x.jsonl", b"", "has no place"),
    ("answers/", b"", "has no place"),
    ("runs/a/model/model.safetensors", b"", "has no place"),
    ("answers/" + "x" * 300 + ".jsonl", b"", "has no place"),
    ("runs/a/run.json", b"{torn", r"'runs/a/run\.json' is no run record"),
    ("runs/a/run.json", b"[]", r"'runs/a/run\.json' is no run record"),
    ("receipts/a.json", b"[]", "holds no receipts"),
    ("receipts/a.json", b'{"receipts": [{"lesson": "03"}]}', "holds no receipts"),
    ("receipts/a.json", b'{"receipts": [{"lesson": "03", "attempts": 3}]}', "holds no receipts"),
])  # fmt: skip
def test_odd_entries_are_refused_even_when_the_manifest_names_them(
    work: Path, name: str, data: bytes, message: str
) -> None:
    path = submit(work, identity=MIA).path
    rewrite(path, put(name, data), sealed=True)
    with pytest.raises(DataError, match=message):
        verify(path)


def test_hostile_answers_are_damage_and_no_crash(work: Path) -> None:
    path = submit(work, identity=MIA).path
    odd = b'{"quiz": [], "question": {}, "time": 7, "number": 1, "share": 0, "previous": 1}\n' * 2
    rewrite(path, put("answers/03.evil.jsonl", odd + b"[" * 100_000 + b"\n"), sealed=True)
    found = verify(path)
    assert found.damage and found.lessons == ("03", "04")


def test_links_and_duplicates_are_refused(work: Path) -> None:
    path = submit(work, identity=MIA).path
    whole = path.read_bytes()
    link = zipfile.ZipInfo("answers/03.link.jsonl")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link or a device"):
        verify(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as packed, pytest.warns(UserWarning, match="Duplicate name"):
        packed.writestr("answers/03.s.jsonl", b"other")
    with pytest.raises(DataError, match="is there twice"):
        verify(path)


def test_bombs_are_refused_before_they_unfold(work: Path) -> None:
    path = submit(work, identity=MIA).path
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a") as packed:
        for number in range(submission.MOST_ENTRIES):
            packed.writestr(f"answers/{number}.jsonl", b"")
    with pytest.raises(DataError, match="too many entries or too large"):
        verify(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("answers/04.big.jsonl", bytes(submission.LARGEST_ENTRY + 1))
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"'answers/04\.big\.jsonl' is too large: over 50,000,000"):
        verify(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("answers/04.big.jsonl", bytes(1000))
    with pytest.raises(DataError, match="not packed with deflate"):
        verify(path)


def test_an_entry_that_lies_about_its_size_is_refused(work: Path) -> None:
    """Headers say 10 bytes, the stream holds many more."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("manifest.json", bytes(5_000_000))
    data = made.getvalue().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10))
    path = work / "lie.zip"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read as a zip file|manifest is damaged"):
        verify(path)


def test_more_than_fits_is_left_out_and_the_rest_handed_in(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LARGEST_TOTAL", submission.ROOM_IN_TOTAL + 10_000)
    add_run(work, "z-large", predictions=b"x" * 9000)
    found = submit(work, identity=MIA)
    assert found.attempts == 4 and len(found.left_out) == 1
    assert re.match(r"runs/z-large/predictions\.jsonl: 9,000 bytes are too", found.left_out[0])
    monkeypatch.setattr(submission, "MOST_ENTRIES", 3)
    assert len(submit(work, identity=MIA).left_out) == 5
    assert os.listdir(work).count("submission-mia-002.zip") == 1
