"""A class on JupyterHub: one course, one environment, a workspace for each student.

Start it with ``jupyterhub -f hub/jupyterhub_config.py`` from the environment that holds the
course; hub/README.md says what has to be there. Everything that differs between sites is an
environment variable below, or a line of the file COURSE_HUB_LOCAL, which is read last.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from course_lib.errors import UsageError
from course_lib.teach.release import exchange, roster

c = get_config()  # type: ignore[name-defined]  # noqa: F821

# --- What differs between sites --------------------------------------------------------------
COURSE = Path(os.environ.get("COURSE_HUB_COURSE", "/srv/course"))  # the unpacked student bundle
EXCHANGE = Path(os.environ.get("COURSE_HUB_EXCHANGE", "/srv/exchange"))
ROSTER = Path(os.environ.get("COURSE_HUB_ROSTER", "/etc/course/roster-tokens.csv"))
STATE = Path(os.environ.get("COURSE_HUB_STATE", "/var/lib/course-hub"))
LOCAL = Path(os.environ.get("COURSE_HUB_LOCAL", "/etc/course/hub_local.py"))
THREADS = os.environ.get("COURSE_HUB_THREADS", "2")  # of each student's kernel
BIN = Path(sys.executable).parent


# --- Nothing starts on a course that students could change, or with secrets they could read --
def refuse(path: Path, bits: int, what: str, next_step: str) -> None:
    """Refuse to start when a path is missing or has one of these permission bits."""
    if not path.exists():
        raise UsageError("the hub needs this", where=str(path), expected=what, next_step=next_step)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits:
        raise UsageError("the hub does not start with this", where=str(path), got=f"mode {mode:o}",
                         expected=what, next_step=next_step)  # fmt: skip


refuse(COURSE / "notebooks", 0o022, "the course, writable by its owner alone",
       f"unpack the file of 'course release' there; chmod -R go-w {COURSE}")  # fmt: skip
refuse(COURSE, 0o022, "the course, writable by its owner alone", f"chmod go-w {COURSE}")
if (COURSE / "quizzes" / "assessment" / "keys").exists():
    raise UsageError("the answers lie in the students' course", where=str(COURSE),
                     next_step="unpack the file of 'course release' there instead")  # fmt: skip
refuse(ROSTER, 0o077, "the file of 'course roster', readable by its owner alone",
       f"chmod 600 {ROSTER}")  # fmt: skip
refuse(EXCHANGE, 0o004, f"a folder of mode {exchange.MODE:o}, which students cannot list",
       f"course exchange make {EXCHANGE} --group GROUP")  # fmt: skip
STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
refuse(STATE, 0o077, "a folder of the hub alone", f"chmod 700 {STATE}")

# --- Who may come in: the roster, by the names of the machine's users ------------------------
LISTED = roster.read_roster(ROSTER)
STUDENTS = {s.student.lower(): s for s in LISTED}
if len(STUDENTS) < len(LISTED):
    raise UsageError("two students have one user name", where=str(ROSTER),
                     next_step="ids must differ by more than capitals")  # fmt: skip
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allowed_users = set(STUDENTS)
c.Authenticator.allow_existing_users = False  # who leaves the roster is out


def identify(spawner: Any) -> None:
    """Give a student's server its identity; a student cannot choose another one's questions."""
    student = STUDENTS[spawner.user.name]
    spawner.environment = {
        **spawner.environment,
        "COURSE_STUDENT_ID": student.student,
        "COURSE_STUDENT_TOKEN": student.token,
    }


# --- Each student's server -------------------------------------------------------------------
# It runs as the student: it brings the copy of the lessons up to date, then becomes the server.
# A copy that fails, as on a full disk, does not keep the student out.
START = """
umask 077
export COURSE_WORK="${COURSE_WORK:-$HOME/work}" JUPYTER_RUNTIME_DIR="$HOME/.course-run"
mkdir -p "$COURSE_WORK" "$JUPYTER_RUNTIME_DIR"
chmod 700 "$COURSE_WORK" "$JUPYTER_RUNTIME_DIR"
course lab --copy-only || echo "the lessons could not be brought up to date" >&2
cd "$COURSE_WORK" && exec jupyterhub-singleuser "$@"
"""
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.pre_spawn_hook = identify
c.Spawner.cmd = ["/bin/sh", "-c", START, "course"]
c.Spawner.notebook_dir = "~/work"
c.Spawner.default_url = "/lab/tree/00_start_here.ipynb"
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 90
c.Spawner.environment = {
    "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
    "COURSE_ROOT": str(COURSE),
    "COURSE_EXCHANGE": str(EXCHANGE),
    "OMP_NUM_THREADS": THREADS,
}
c.Spawner.args = [
    "--KernelManager.transport=ipc",  # sockets in the student's folder; TCP ports anyone reads
    '--ServerApp.terminado_settings={"shell_command": ["/bin/bash"]}',  # keeps PATH
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]

# --- The hub itself --------------------------------------------------------------------------
c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # TLS is the web server's in front of it
c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{STATE}/proxy.pid"
if LOCAL.is_file():
    exec(compile(LOCAL.read_text(encoding="utf-8"), str(LOCAL), "exec"))
