"""The same registry kept in MLflow, for those who have a server (extra ``mlflow``).

    registry = MlflowRegistry("sqlite:///mlflow.db")
    registry.promote("tickets", registry.add("runs/tickets", "tickets").version)

A version is an MLflow model version, registered only once all of its files were uploaded; the
champion is the alias ``champion``, the one moment a promotion happens; the history is kept as
tags. An entry written just before the alias moved does not count until it has. Unlike in a
folder, the history is not chained: whoever may write to the server may rewrite it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from course_lib.errors import CheckpointError, EnvironmentProblem
from course_lib.finetune.deploy.version_files import build, now
from course_lib.finetune.deploy.versions import Versions, reigns

ALIAS, PREFIX = "champion", "course.history."
EXPERIMENT = "course-registry"


class MlflowRegistry(Versions):
    """Versions of models in MLflow; see :class:`versions.Versions` for what it does.

    Writers on one machine wait for each other; writers on several are not kept apart.

    Args:
        uri: of the tracking and registry server, such as ``sqlite:///mlflow.db`` or
            ``http://127.0.0.1:5000``.
        artifacts: where files go when the experiment is first made, such as a folder; None
            leaves it to the server.

    Raises:
        EnvironmentProblem: when MLflow is not installed.
    """

    def __init__(self, uri: str, *, artifacts: Path | str | None = None) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise EnvironmentProblem(
                "MLflow is not installed", next_step="pip install 'course-lib[mlflow]'"
            ) from None
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        place = None if artifacts is None else Path(artifacts).resolve().as_uri()
        self.experiment = (
            found.experiment_id
            if found
            else self.client.create_experiment(EXPERIMENT, artifact_location=place)
        )
        self._fetched: dict[str, Path] = {}

    def _names(self) -> list[str]:
        return [m.name for m in self.client.search_registered_models()]

    def _found(self, name: str) -> list[Any]:
        found = self.client.search_model_versions(f"name='{name}'")
        return sorted(found, key=lambda v: int(v.version))

    def _numbers(self, name: str) -> list[str]:
        return [_version(v.version) for v in self._found(name)]

    def _folder(self, name: str, version: str) -> Path:
        from mlflow.artifacts import download_artifacts

        source = str(self.client.get_model_version(name, str(int(version[1:]))).source)
        # files on this machine are used where they lie; others are fetched once
        if source not in self._fetched:
            found = download_artifacts(artifact_uri=source, tracking_uri=self.uri)
            self._fetched[source] = Path(found)
        return self._fetched[source]

    def _entries(self, name: str) -> list[dict[str, Any]]:
        model = self.client.get_registered_model(name)
        entries = [
            {
                "time": v.tags["course.added"],
                "action": "add",
                "version": _version(v.version),
                "manifest": v.tags["course.manifest"],
            }
            for v in self._found(name)
        ]
        changes = [json.loads(model.tags[k]) for k in sorted(model.tags) if k.startswith(PREFIX)]
        aliased = [_version(model.aliases[ALIAS])] if ALIAS in model.aliases else []
        if reigns(changes)[-1:] != aliased and changes:
            changes.pop()  # the alias never moved
        if reigns(changes)[-1:] != aliased:
            raise CheckpointError(
                "the alias 'champion' was moved by something else than this registry",
                where=f"{self.uri}, model {name!r}",
                got=", ".join(aliased) or "no alias",
                expected=", ".join(reigns(changes)[-1:]) or "no alias",
                next_step="move the alias back, then promote the version",
            )
        return sorted(entries + changes, key=lambda e: str(e["time"]))

    def _store(self, run: Path, name: str) -> str:
        taken = self._numbers(name) if name in self._names() else []
        version = f"v{max((int(v[1:]) for v in taken), default=0) + 1:04d}"
        kept = self.client.create_run(self.experiment, run_name=f"{name} {version}").info
        with tempfile.TemporaryDirectory() as folder:
            manifest = build(run, Path(folder), name, version)
            self.client.log_artifacts(kept.run_id, folder, "version")
        self.client.set_terminated(kept.run_id)
        if name not in self._names():
            self.client.create_registered_model(name)
        tags = {"course.manifest": manifest, "course.added": now()}
        source = f"{kept.artifact_uri}/version"
        made = self.client.create_model_version(name, source, kept.run_id, tags=tags)
        return _version(made.version)

    def _commit(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        counted = {str(e["time"]) for e in self._entries(name)}
        for key, value in self.client.get_registered_model(name).tags.items():
            if key.startswith(PREFIX) and json.loads(value)["time"] not in counted:
                self.client.delete_registered_model_tag(name, key)  # of a killed process
        key = f"{PREFIX}{time.time_ns():020d}"
        self.client.set_registered_model_tag(name, key, json.dumps(entry))
        self.client.set_registered_model_alias(name, ALIAS, str(int(entry["version"][1:])))
        return entry

    def _lock(self, name: str) -> AbstractContextManager[Any]:
        from filelock import FileLock

        key = hashlib.sha256(f"{self.uri} {name}".encode()).hexdigest()[:24]
        return FileLock(os.path.join(tempfile.gettempdir(), f"course-registry-{key}.lock"))


def _version(number: Any) -> str:
    return f"v{int(number):04d}"
