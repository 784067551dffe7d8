"""Optuna storages and pruners of a sweep, as its processes open them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.errors import StorageError

if TYPE_CHECKING:
    import optuna

PRUNERS = ("median", "hyperband", "none")
SQLITE_WAIT = 60  # seconds a process waits for another's write
STARTUP = 4  # trials before a pruner or TPE judges by the ones before


@dataclass(frozen=True)
class OnCluster:
    """The storage that a Dask scheduler holds under this name, as it is sent to workers."""

    name: str


def open_storage(storage: Any) -> Any:
    """Open an Optuna storage given as a URL (``sqlite:///…``), or pass an object through.

    Raises:
        StorageError: when it cannot be opened; the URL, which may hold a password, is not shown.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(storage, OnCluster):
        from optuna_integration import DaskStorage  # type: ignore[import-untyped]

        with quiet():
            return DaskStorage(name=storage.name, register=False)
    if not isinstance(storage, str):
        return storage
    lite = storage.startswith("sqlite")
    options = {"connect_args": {"timeout": SQLITE_WAIT}} if lite else {}
    try:
        return optuna.storages.RDBStorage(storage, engine_kwargs=options)
    except Exception as error:
        kind = storage.split(":", 1)[0]
        raise StorageError(
            f"the sweep's {kind} storage cannot be opened ({type(error).__name__})",
            expected="an Optuna storage URL, such as sqlite:////home/me/study.db",
            next_step="check the URL, that its database driver is installed and that it is up",
        ) from None


def close_storage(opened: Any, given: Any) -> None:
    """End the connections of a storage that :func:`open_storage` opened from a URL.

    Args:
        opened: what it gave.
        given: what it was given; a storage object stays open, it is its owner's.
    """
    if isinstance(given, str):
        opened.remove_session()
        opened.engine.dispose()


def pruner_of(name: str, evaluations: int) -> optuna.pruners.BasePruner:
    """Give the pruner ``median``, ``hyperband`` or ``none`` for trials of so many evaluations.

    The median pruner never judges a trial by its first evaluation, nor before four are done.
    Hyperband is Li et al. (2018), with a third kept at every rung.
    """
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=2)
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=max(1, evaluations))
    return pruners.NopPruner()


def reporter(opened: Any, name: str, number: int, pruner: optuna.pruners.BasePruner) -> Any:
    """Give the callback by which a running trial reports a value and hears whether to end.

    A step reported before, by the same trial on a cluster worker that was lost, is not
    reported twice. ``opened`` is what :func:`open_storage` gives.
    """
    import optuna

    with quiet():
        study = optuna.load_study(study_name=name, storage=opened, pruner=pruner)
    study_id = opened.get_study_id_from_name(name)
    trial = optuna.trial.Trial(
        study, opened.get_trial_id_from_study_id_trial_number(study_id, number)
    )
    known = dict(opened.get_trial(trial._trial_id).intermediate_values)

    def report(step: int, value: float) -> bool:
        if step not in known:
            trial.report(value, step)
        return trial.should_prune()

    return report


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Optuna's log and its notes that a part of it is experimental."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
