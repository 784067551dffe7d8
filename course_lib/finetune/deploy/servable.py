"""What may be served: a verified run or version that writes text and has a chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import ModelError, UnknownNameError
from course_lib.finetune.deploy.registry import Registry
from course_lib.finetune.deploy.version_files import MANIFEST, check_run

WRITING = ("completion", "language-modeling", "question-answering")  # heads that write text


@dataclass(frozen=True)
class Servable:
    """A model that may be served.

    Attributes:
        id: the name clients see, such as ``replies/v0002``.
        folder: with the model's files; listing: their sizes and hashes, by name.
    """

    id: str
    folder: Path
    listing: Mapping[str, Mapping[str, Any]]


def find(target: Path | str, name: str = "", version: str = "") -> Servable:
    """Find and verify what to serve.

    Args:
        target: a run folder, or a registry's folder.
        name: which model of a registry; may be left out where there is only one.
        version: which version of it; the champion when left out.

    Raises:
        ModelError: when there is no run or version, or it does not write text or has no chat
            template.
        UnknownNameError: for a name or version the registry does not have.
        CheckpointError: when a file was changed.
    """
    folder = Path(target).expanduser()
    if (folder / "run.json").is_file():
        check_run(folder)
        return _servable(folder.resolve().name, folder)
    registry = Registry(folder)
    names = registry.names()
    if not names:
        raise ModelError(
            "neither a finished run nor a registry",
            where=str(folder),
            expected="a folder with run.json, or one made by 'course registry add'",
        )
    if not name and len(names) > 1:
        raise UnknownNameError("model name", name, names)
    name = name or names[0]
    chosen = registry.verify(name, version) if version else registry.champion(name)
    if chosen is None:
        raise ModelError(
            f"{name!r} has no champion yet",
            where=str(folder),
            next_step=f"promote a version: course registry promote {name} v0001",
        )
    return _servable(f"{name}/{chosen.version}", chosen.folder)


def _servable(name: str, folder: Path) -> Servable:
    """Check that a verified run writes text and has a chat template."""
    head, model = files.read_json(folder / "run.json").get("head"), folder / "model"
    if head not in WRITING:
        raise ModelError(
            "this model does not write text, so there is no chat to serve",
            where=str(folder),
            got=str(head),
            expected=" or ".join(WRITING),
            next_step="use 'course predict' for a classifier",
        )
    config = model / "tokenizer_config.json"
    inside = config.is_file() and files.read_json(config).get("chat_template")
    if not (model / "chat_template.jinja").is_file() and not inside:
        raise ModelError(
            "the tokenizer has no chat template, so messages cannot be put into words",
            where=str(model),
            expected="a file chat_template.jinja",
            next_step="fine-tune a base with a chat template, such as the embedded one, "
            "or set tokenizer.chat_template before saving",
        )
    return Servable(name, model, files.read_json(model / MANIFEST)["files"])
