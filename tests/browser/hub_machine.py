"""A machine for a class, as hub/README.md sets it up, in a mount namespace of its own.

Real users with real ids, homes and passwords, a real PAM, without touching this machine: /etc,
/home, /srv and /tmp are folders of the test, put in place by bubblewrap, and the rest is read-only.
Processes have a namespace too and end with it. Needs root, as a hub with local users does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT, free_port

PASSWORD = "right-horse-9"
GROUP = "course-staff"
# apt-get install node-configurable-http-proxy, or npm install --prefix ~/.cache/course-tests/proxy
NPM = Path("~/.cache/course-tests/proxy").expanduser()


def proxy_command() -> str:
    """Give the command of configurable-http-proxy on this machine."""
    inside = NPM / "node_modules" / ".bin" / "configurable-http-proxy"
    found = shutil.which("configurable-http-proxy") or (str(inside) if inside.exists() else "")
    assert found, (
        "JupyterHub needs its proxy: apt-get install node-configurable-http-proxy, or "
        f"npm install --prefix {NPM} configurable-http-proxy"
    )
    return found


def closed(path: Path) -> Path | None:
    """Give the topmost folder above a path that other users cannot go through."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def shown(paths: list[Path]) -> list[str]:
    """Give bubblewrap's options by which other users reach paths below closed folders.

    A closed folder, such as a /root that holds the interpreter, is covered by an empty one that
    holds these paths alone, read-only. Outside the namespace its mode stays as it is.
    """
    options: list[str] = []
    made: set[Path] = {p for p in (closed(path) for path in paths) if p}
    for top in sorted(made):
        options += ["--perms", "0755", "--tmpfs", str(top)]
    for path in paths:
        top = next((t for t in made if t in path.parents), None)
        if top is None:
            continue
        for folder in reversed(path.parents):
            if top in folder.parents and folder not in made:
                made.add(folder)
                options += ["--perms", "0755", "--dir", str(folder)]
        options += ["--ro-bind", str(path), str(path)]
    return options


class Machine:
    """A machine whose users are made inside; its folders lie in ``place``."""

    def __init__(self, place: Path) -> None:
        assert os.geteuid() == 0, "a hub with local users is started as root"
        self.place = place
        for name, mode in {"home": 0o755, "srv": 0o755, "state": 0o700, "tmp": 0o1777}.items():
            (place / name).mkdir()
            (place / name).chmod(mode)
        shutil.copytree("/etc", place / "etc", symlinks=True)
        for path in ("/srv/course", "/srv/instructor/clone"):
            (place / path[1:]).mkdir(parents=True)
        own = [Path(sys.base_prefix), Path(sys.prefix), NPM]
        binds = {"etc": "/etc", "home": "/home", "srv": "/srv", "tmp": "/tmp"}
        for path in (ROOT, *own):  # a clone below /tmp: its folders in the machine's own /tmp
            if path.is_relative_to("/tmp"):
                (place / "tmp" / path.relative_to("/tmp")).mkdir(parents=True, exist_ok=True)
        self._options = [
            "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/",
            "--dev-bind", "/dev", "/dev", "--proc", "/proc",
            "--tmpfs", "/run", "--tmpfs", "/var/log", "--tmpfs", "/var/lib",
            *(a for k, v in binds.items() for a in ("--bind", str(place / k), v)),
            *shown([p for p in own if p.exists()]),
            # The clone is the instructor's: students find the environment, and no keys.
            "--perms", "0755", "--tmpfs", str(ROOT), "--ro-bind", sys.prefix, sys.prefix,
            "--bind", str(place / "state"), "/var/lib/course-hub",
            "--ro-bind", str(ROOT), "/srv/instructor/clone",
            "--cap-add", "ALL", "--chdir", "/",
        ]  # fmt: skip
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "COURSE_ROOT": "/srv/course",
            "PYTHONPATH": "/srv/course",  # where 'pip install -e /srv/course' points to otherwise
        }

    def command(self, *words: str, user: str = "") -> list[str]:
        """Give the command line that runs a command in here."""
        become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]
        return ["bwrap", *self._options, "--", *(become if user else ()), *words]

    def run(self, *words: str, user: str = "", code: int = 0, put: str = "", **more: str) -> str:
        """Run a command to its end; give what it printed."""
        home = f"/home/{user}" if user else "/root"
        done = subprocess.run(
            self.command(*words, user=user), env={**self.environment, "HOME": home, **more},
            capture_output=True, text=True, timeout=120, input=put,
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def add_users(self, *names: str) -> None:
        """Add users with PASSWORD; the last one is an instructor, in GROUP."""
        lines = [f"groupadd {GROUP}"]
        lines += [f"useradd -m -s /bin/bash {n} && echo {n}:{PASSWORD} | chpasswd" for n in names]
        self.run("sh", "-ec", "\n".join([*lines, f"usermod -aG {GROUP} {names[-1]}"]))

    @contextmanager
    def hub(self) -> Iterator[str]:
        """Run the hub of this repository; give its address."""
        port = free_port()
        ports = [free_port(), free_port()]
        (self.place / "etc" / "course" / "hub_local.py").write_text(
            f"c.JupyterHub.bind_url = 'http://127.0.0.1:{port}'\n"
            f"c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{ports[0]}'\n"
            f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{ports[1]}'\n"
            f"c.ConfigurableHTTPProxy.command = [{proxy_command()!r}]\n"
            "c.Spawner.args += ['--LabApp.expose_app_in_browser=True']\n"
            "c.Spawner.environment['JUPYTERLAB_SETTINGS_DIR'] = '/srv/settings'\n"
            "c.Spawner.environment['COURSE_PROFILE'] = 'quick'\n"
        )
        command = self.command("jupyterhub", "-f", "/srv/instructor/clone/hub/jupyterhub_config.py")
        environment = self.environment | {
            k: os.environ[k] for k in ("NODE_PATH",) if k in os.environ
        }
        with open(self.place / "hub.log", "w") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait(f"http://127.0.0.1:{port}/hub/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()  # with their namespace end hub, proxy and the students' servers
            process.wait()

    def _wait(self, address: str, process: subprocess.Popen[bytes]) -> None:
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=2)
                return
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, self.log()
                time.sleep(0.25)
        raise AssertionError(f"the hub did not come up:\n{self.log()}")

    def log(self) -> str:
        return (self.place / "hub.log").read_text()[-4000:]
