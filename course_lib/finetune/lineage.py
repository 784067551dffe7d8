"""Where a run came from: the runs its base was made by, back to the first base, by hash.

    lineage("runs/tickets")        # one map a run, newest first, the first base last

A run whose base is another run's model keeps in ``parents`` of its ``run.json`` what that run
was, and that run's own parents; no path is kept, so a folder of runs can be moved whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CheckpointError, DataError, ModelError

KEYS = ("name", "run_sha256", "model_sha256", "task", "data", "data_sha256", "seed", "base",
        "base_sha256")  # fmt: skip


def run_facts(run: Path | str) -> dict[str, Any]:
    """Read the ``run.json`` of a run folder.

    Raises:
        ModelError: when the folder is not a finished run.
    """
    if not (Path(run) / "run.json").is_file():
        raise ModelError(
            "not a finished run",
            where=str(run),
            expected="a folder with run.json",
            next_step="give the folder named by --out when it was fine-tuned, "
            "or finish the run with --resume",
        )
    facts: dict[str, Any] = files.read_json(Path(run) / "run.json")
    return facts


def parents_of(base: str) -> list[dict[str, Any]]:
    """Give what ``run.json`` keeps of the runs that made ``base``, newest first.

    Args:
        base: as :func:`model.load_base` takes it; ``RUN/model`` has parents, others have none.

    Returns:
        One map a run, with ``KEYS``: its folder's name, the digests of its ``run.json`` and
        weights, task, data and seed, and the name and digest of the base it started from.

    Raises:
        CheckpointError: when the model is not the one that run saved.
    """
    folder = Path(base).expanduser().resolve()
    if folder.name != "model" or not (folder.parent / "run.json").is_file():
        return []
    facts = run_facts(folder.parent)
    return [_entry(folder.parent, facts), *facts.get("parents", [])]


def _entry(run: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    from course_lib.finetune import checkpoint
    from course_lib.finetune.model import base_sha256

    checkpoint.verify(run / "model")
    return {
        "name": run.resolve().name,
        "run_sha256": files.sha256_file(run / "run.json"),
        "model_sha256": base_sha256(str(run / "model")),
        "task": facts["task"],
        "data": facts["data"]["name"],
        "data_sha256": facts["data"]["sha256"],
        "seed": facts["seed"],
        "base": facts["base"]["name"],
        "base_sha256": facts["base"]["sha256"],
    }


def lineage(run: Path | str, look_in: Sequence[Path | str] = ()) -> list[dict[str, Any]]:
    """Read and verify the chain of runs that led to ``run``.

    Args:
        run: the run folder.
        look_in: folders in which parents are looked for, after the one that ``run`` lies in.

    Returns:
        One map a run with ``KEYS``, ``run`` first, and last the first base as ``name`` and
        ``sha256``. ``verified`` is True where the folder was found and every digest is right,
        False where it was not found and only the record speaks (for the first base also where
        its files are others now).

    Raises:
        ModelError: when the folder is not a finished run.
        CheckpointError: naming the run that was changed after its child was made, or where
            the record does not join up.
        DataError: when the record is incomplete.
    """
    own = _entry(Path(run), run_facts(run))
    chain = [own | {"verified": True}]
    for parent in run_facts(run).get("parents", []):
        missing = [k for k in KEYS if k not in parent]
        if missing:
            raise DataError(
                "a parent's record is incomplete",
                where=str(Path(run) / "run.json"),
                got=f"no {', '.join(missing)}",
            )
        if parent["model_sha256"] != chain[-1]["base_sha256"]:
            raise CheckpointError(
                f"the lineage breaks between {chain[-1]['name']!r} and {parent['name']!r}",
                where=str(run),
                got=f"a parent with weights {parent['model_sha256'][:12]}...",
                expected=f"weights {chain[-1]['base_sha256'][:12]}..., the child's base",
                next_step="run the stage again; its run.json was edited",
            )
        places = [Path(run).resolve().parent, *map(Path, look_in)]
        found = next((p / parent["name"] for p in places if (p / parent["name"]).is_dir()), None)
        if found:
            _check(found, parent, str(chain[-1]["name"]))
        chain.append({**parent, "verified": found is not None})
    return [*chain, _first_base(chain[-1])]


def _check(folder: Path, parent: Mapping[str, Any], child: str) -> None:
    """Refuse a parent's folder that is not what its child was made from."""
    try:
        now = _entry(folder, run_facts(folder))
    except (CheckpointError, ModelError) as error:
        raise CheckpointError(
            f"the parent {parent['name']!r} of {child!r} was changed ({error.problem})",
            where=error.where,
            next_step="restore it, or run this stage and those after it again",
        ) from error
    wrong = [k for k in KEYS if now[k] != parent[k]]
    if wrong:
        raise CheckpointError(
            f"the parent {parent['name']!r} of {child!r} was changed",
            where=str(folder),
            got=f"another {', '.join(wrong)}",
            next_step="restore it, or run this stage and those after it again",
        )


def _first_base(oldest: Mapping[str, Any]) -> dict[str, Any]:
    from course_lib.finetune.model import EMBEDDED, base_path, base_sha256

    name, digest = oldest["base"], oldest["base_sha256"]
    same = name == EMBEDDED and base_sha256(base_path(name)) == digest
    return {"name": name, "sha256": digest, "verified": same}
