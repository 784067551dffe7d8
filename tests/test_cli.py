"""The command ``course`` as it is typed: exit codes, standard output, standard error."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from course_lib import cli, doctor, launch
from course_lib.cli import arguments, show
from course_lib.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parent.parent


def course(*args: str, env: dict[str, str] | None = None, text: str = "", cwd: Path | None = None,
           ) -> subprocess.CompletedProcess[str]:  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "course_lib", *args], input=text, capture_output=True, text=True,
        env={**os.environ, **(env or {})}, cwd=cwd,
    )  # fmt: skip


def test_version_and_help() -> None:
    done = course("--version")
    assert (done.returncode, done.stdout) == (0, "course 0.1.0\n")
    listing = course("--help").stdout
    assert all(name in listing for name in ("doctor", "lab", "finetune", "evaluate", "predict"))


def test_the_installed_script_is_this_command() -> None:
    script = Path(sys.executable).with_name("course")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "course 0.1.0\n"


@pytest.mark.parametrize(
    "args",
    [(), ("nonsense",), ("finetune",), ("finetune", "classification"), ("lab", "--port", "x"),
     ("finetune", "classification", "--data", "d", "--profile", "huge")],
)  # fmt: skip
def test_wrong_usage_is_2(args: Sequence[str]) -> None:
    done = course(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: course" in done.stderr


def test_an_error_is_short_and_on_standard_error() -> None:
    done = course("finetune", "clasification", "--data", "x.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("course finetune: unknown task 'clasification'.")
    assert "did you mean 'classification'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_as_json() -> None:
    done = course("finetune", "clasification", "--data", "x.csv", "--json")
    found = json.loads(done.stdout)
    assert (found["kind"], found["exit"], done.returncode) == ("UnknownNameError", 2, 2)
    assert "unknown task" in done.stderr


def test_doctor_tells_what_is_here() -> None:
    done = course("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (3 if found["problems"] else 0)
    assert found["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert found["packages"]["torch"]
    assert found["device"] in ("cpu", "cuda", "mps")
    assert found["cores"] == doctor.cores() >= 1
    assert found["memory"] > found["memory_free"] > 0
    assert found["course"] == str(ROOT)
    plain = course("doctor")
    assert plain.returncode == done.returncode
    assert f"cores      {found['cores']}" in plain.stdout


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    done = course("doctor", "--json", env={"COURSE_ROOT": str(tmp_path)})
    assert done.returncode == 3
    assert any("COURSE_ROOT" in p for p in json.loads(done.stdout)["problems"])
    assert doctor.installed(("no-such-package",)) == {"no-such-package": ""}


def test_lab_in_a_wrong_folder_is_an_environment_error(tmp_path: Path) -> None:
    done = course("lab", "--no-browser", env={"COURSE_ROOT": str(tmp_path)})
    assert done.returncode == 3
    assert "this is not a course folder" in done.stderr


def test_lab_copy_only(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_a.ipynb").write_text("{}", encoding="utf-8")
    done = course("lab", "--copy-only", "--json", env={"COURSE_ROOT": str(tmp_path)})
    assert done.returncode == 0
    assert json.loads(done.stdout)["new"] == ["01_a.ipynb"]
    assert (tmp_path / "work" / "01_a.ipynb").read_text(encoding="utf-8") == "{}"


def test_pretrain_takes_every_setting() -> None:
    from course_lib.finetune.pretraining.pretrain import PretrainConfig

    values: dict[str, object] = {"data": "d", "out": "o"}
    argv = ["pretrain", "--data", "d", "--out", "o"]
    for field in dataclasses.fields(PretrainConfig):
        if field.name in values:
            continue
        values[field.name] = value = (
            not field.default if isinstance(field.default, bool)
            else field.default + 1 if isinstance(field.default, int | float)
            else "other"
        )  # fmt: skip
        option = "--" + field.name.replace("_", "-")
        argv += [option] if isinstance(value, bool) else [option, str(value)]
    args = cli.build_parser(argv).parse_args(argv)
    found = {f.name: getattr(args, f.name) for f in dataclasses.fields(PretrainConfig)}
    assert found == values


def test_pretrain_end_to_end(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [f"Row {n} says that {n} and {n + 1} are {2 * n + 1}." for n in range(400)]
    (corpus / "train.txt").write_text("\n\n".join(lines[:360]), encoding="utf-8")
    (corpus / "val.txt").write_text("\n\n".join(lines[360:]), encoding="utf-8")
    out = tmp_path / "run"
    done = course(
        "pretrain", "--data", str(corpus), "--out", str(out), "--tokens", "1024", "--layers", "2",
        "--width", "32", "--inner", "64", "--heads", "2", "--vocab-size", "300", "--context", "32",
        "--rows-per-step", "4", "--warmup-steps", "2", "--json", env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loss"] > 0
    assert (out / "model" / "config.json").is_file()


@pytest.mark.parametrize(
    ("pairs", "settings"),
    [
        (["epochs=3", "rate=1e-3"], {"epochs": 3, "rate": 1e-3}),
        (["schedule=cosine", "a=b=c", "empty="], {"schedule": "cosine", "a": "b=c", "empty": ""}),
        (["on=true", "none=null", "betas=[0.9, 0.95]"],
         {"on": True, "none": None, "betas": [0.9, 0.95]}),
        (["rate=NaN"], {"rate": "NaN"}),
    ],
)  # fmt: skip
def test_settings(pairs: list[str], settings: dict[str, object]) -> None:
    assert arguments.parse_settings(pairs) == settings


@pytest.mark.parametrize(
    ("pairs", "said"),
    [(["epochs"], "needs a key and a value"), (["=3"], "needs a key"), (["a=1", "a=2"], "twice")],
)
def test_bad_settings(pairs: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        arguments.parse_settings(pairs)


def stdin(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data))


def test_texts_from_arguments_file_and_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, rows = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("one\n\ntwo é\n", encoding="utf-8")
    rows.write_text('{"text": "one\\ntwo"}\n', encoding="utf-8")
    assert arguments.texts_to_predict(["a", "b"], None) == ["a", "b"]
    assert arguments.texts_to_predict([], str(plain)) == ["one", "two é"]
    assert arguments.texts_to_predict([], str(rows)) == ["one\ntwo"]
    with stdin("x é\r\ny\n".encode()) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        assert arguments.texts_to_predict([], None) == ["x é", "y"]


def test_texts_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"text": "a"}\n{"text": null}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2, field 'text': no text in this row"):
        arguments.texts_to_predict([], str(rows))
    for name in ("none.txt", "none.jsonl"):
        with pytest.raises(DataError, match="no such file"):
            arguments.texts_to_predict([], str(tmp_path / name))
    with pytest.raises(UsageError, match="not both"):
        arguments.texts_to_predict(["a"], str(rows))
    with stdin(b"caf\xe9\n") as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        with pytest.raises(DataError, match="<stdin>: not UTF-8"):
            arguments.texts_to_predict([], None)
    with stdin(b" \n") as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        with pytest.raises(UsageError, match="no text to predict"):
            arguments.texts_to_predict([], None)


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    show.show_table({"before": {"accuracy": 0.25}, "after": {
        "accuracy": 0.5, "accuracy_interval": [0.4, 0.6], "perplexity": 12345.6}})  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "                before       after",
        "accuracy        0.2500      0.5000",
        "perplexity           -    12,345.6",
    ]
    show.show_table({})
    assert capsys.readouterr().out == ""
    assert show.number([0.1, 0.25]) == "[0.1000, 0.2500]"


def test_memory_settings_are_added_once_and_never_changed() -> None:
    wanted = launch.restart_environment({"A": "1", "MALLOC_MMAP_MAX_": "7"})
    assert wanted is not None
    assert wanted["MALLOC_MMAP_MAX_"] == "7"
    assert wanted["MALLOC_TOP_PAD_"] == "268435456"
    assert wanted["A"] == "1"
    assert launch.restart_environment(wanted) is None
    assert launch.restart_environment(launch.MALLOC_SETTINGS) is None


def test_the_command_starts_again_with_them() -> None:
    code = (
        "import os, sys; from course_lib import launch; launch.restart_with_memory_settings();"
        "print(os.environ.get('MALLOC_TRIM_THRESHOLD_'), launch.on_glibc(), sys.argv[1:])"
    )
    drop = {*launch.MALLOC_SETTINGS, launch.GUARD}
    done = subprocess.run(
        [sys.executable, "-c", code, "a b", "--c"], capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if k not in drop},
    )  # fmt: skip
    value = "100000000000" if launch.on_glibc() else None
    assert done.stdout == f"{value} {launch.on_glibc()} ['a b', '--c']\n"


def test_a_learner_enrolls_looks_and_hands_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from course_lib.quiz.identity import token_for
    from course_lib.quiz.state import Session

    for name in ("COURSE_STUDENT_ID", "JUPYTERHUB_USER", "JPY_SESSION_NAME", "COURSE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    work = ["--work", str(tmp_path)]
    assert cli.main(["submit", *work]) == 2
    assert "course enroll" in capsys.readouterr().err
    token = token_for(b"secret", "s-1", "Ana Ruiz", "Spring")
    assert cli.main(["enroll", token, *work]) == 0
    assert "Ana Ruiz, enrolled in Spring" in capsys.readouterr().out
    assert cli.main(["submit", *work]) == 2
    assert "nothing to hand in" in capsys.readouterr().err
    opened = Session("03", folder=tmp_path)
    opened.submit("03.q2", "o3")
    assert cli.main(["progress", *work]) == 0
    assert "1 of 12, 1 points" in capsys.readouterr().out
    assert cli.main(["submit", *work]) == 0
    assert "1 answers in 1 lessons, 0 runs; verified" in capsys.readouterr().out
    assert (tmp_path / "submission-s-1-001.zip").is_file()
    assert cli.main(["certificate", *work]) == 2
    assert "not complete" in capsys.readouterr().err


def test_a_quiz_is_previewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = next((ROOT / "quizzes").glob("03_*.yaml"))
    page = tmp_path / "page.html"
    assert cli.main(["preview", str(source), "--out", str(page), "--no-browser"]) == 0
    assert str(page) in capsys.readouterr().out
    assert page.read_text().count("<section") == 12
    assert cli.main(["preview", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_run_is_fine_tuned_measured_and_used(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"{['parcel late', 'lovely shop'][i % 2]} {i},{'ab'[i % 2]}" for i in range(40)]
    rows.write_text("\n".join(["text,label", *lines]) + "\n")
    out = str(tmp_path / "run")
    tune = ["finetune", "classification", "--data", str(rows), "--base", str(tiny_base)]
    assert cli.main([*tune, "--out", out, "--set", "epochs=1"]) == 0
    assert "run folder" in capsys.readouterr().out
    assert cli.main(["evaluate", out, "--data", str(rows), "--json"]) == 0
    assert "accuracy" in json.loads(capsys.readouterr().out)["metrics"]
    assert cli.main(["predict", out, "where is my parcel", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["prediction"] in ("a", "b")

    other = str(tmp_path / "other")
    assert cli.main([*tune, "--out", other, "--set", "epochs=1", "--seed", "1", "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["compare", out, other]) == 0
    assert "run" in capsys.readouterr().out and cli.main(["compare", out]) == 2
    kept = ["registry", "--registry", str(tmp_path / "models")]
    assert cli.main([*kept, "add", out, "mail"]) == 0
    version = capsys.readouterr().out.split("version ")[1].split()[0]
    assert cli.main([*kept, "promote", "mail", version]) == 0
    capsys.readouterr()
    assert cli.main([*kept, "list"]) == 0
    assert "champion yes" in capsys.readouterr().out
    assert cli.main([*kept, "rollback", "mail"]) == 2, "there was no champion before"
    assert cli.main([*kept, "verify", "mail", "v9999"]) == 2
    assert cli.main(["lineage", out]) == 0
    assert cli.main(["shrink", out, "--out", str(tmp_path / "small")]) == 0
    assert "int8" in capsys.readouterr().out
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: [0.001, 0.003]\n")
    search = ["sweep", *tune[1:], "--space", str(space), "--method", "grid", "--set", "epochs=1"]
    assert cli.main([*search, "--out", str(tmp_path / "sweep"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["learning_rate"] in (0.001, 0.003)
    space.write_text("learning_rat: [1]\n")
    assert cli.main([*search, "--out", str(tmp_path / "other-sweep")]) == 2
    assert "learning_rate" in capsys.readouterr().err
    pairs = tmp_path / "pairs.jsonl"
    one = {"prompt": "Where is it?", "chosen": "On its way.", "rejected": "No idea, sorry."}
    lines = (json.dumps({**one, "prompt": f"Where is parcel {i}?"}) for i in range(30))
    pairs.write_text("\n".join(lines) + "\n")
    learn = ["dpo", "--data", str(pairs), "--base", str(tiny_base), "--set", "epochs=1", "--json"]
    assert cli.main([*learn, "--out", str(tmp_path / "dpo")]) == 0
    assert "win_rate" in json.loads(capsys.readouterr().out)["metrics"]["after"]
