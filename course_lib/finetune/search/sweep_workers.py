"""Where the trials of a sweep run: here, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from course_lib.errors import EnvironmentProblem
from course_lib.finetune import experiment
from course_lib.finetune.search import sweep_storage, sweep_trial
from course_lib.finetune.search.sweep_trial import Fixed

CONNECT_WITHIN = 15  # seconds to reach a Dask scheduler and its first worker


def task(
    fixed: Fixed,
    params: Mapping[str, Any],
    storage: Any,
    name: str,
    number: int,
    pruner: Any,
    threads: int,
) -> dict[str, Any]:
    """Run one trial where it was sent, reporting to the shared storage.

    Args:
        fixed, params: the trial (see :func:`sweep_trial.run`).
        storage: the Optuna storage or its URL; name: the study; number: the trial's.
        pruner: says when a trial is hopeless.
        threads: of torch while it runs; 0 leaves them.
    """
    before = torch.get_num_threads()
    opened = sweep_storage.open_storage(storage)
    try:
        report = sweep_storage.reporter(opened, name, number, pruner)
        torch.set_num_threads(threads or before)
        return sweep_trial.run(fixed, params, report)
    finally:
        torch.set_num_threads(before)
        sweep_storage.close_storage(opened, storage)


class _Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@contextmanager
def executor(jobs: int, client: Any) -> Iterator[Executor]:
    """Give what runs the trials; processes are ended, not waited for, when something fails."""
    if client is not None:
        tasks = client.get_executor(pure=False)
        try:
            yield tasks
        except BaseException:
            tasks.shutdown(wait=False)  # cancels what has not begun
            raise
        return
    if jobs == 1:
        yield _Here()
        return
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=experiment._worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
            child.join()
        raise
    pool.shutdown()


def result(done: Future[dict[str, Any]]) -> dict[str, Any]:
    """Give a finished trial's outcome.

    Raises:
        BrokenExecutor: when the worker that ran it is gone, on this machine or on a cluster.
    """
    try:
        return done.result()
    except CancelledError as error:
        raise BrokenExecutor(str(error)) from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # of distributed, which may not be installed
            raise BrokenExecutor(str(error)) from error
        raise


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Connect to a Dask scheduler with at least one worker; None without an address.

    Raises:
        EnvironmentProblem: when it cannot be reached or no worker comes.
    """
    if not address:
        yield None
        return
    from distributed import Client

    try:
        made: Any = Client
        client = made(address, timeout=CONNECT_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(
            "the Dask scheduler cannot be reached",
            where=address,
            got=type(error).__name__,
            next_step="start one with 'dask scheduler' and give its address, tcp://HOST:PORT",
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_WITHIN)
        except TimeoutError:
            raise EnvironmentProblem(
                "the Dask cluster has no worker",
                where=address,
                next_step=f"start one with 'dask worker {address} --nthreads 1'",
            ) from None
        yield client


def storage_of(given: Any, folder: Path, client: Any) -> Any:
    """Settle a sweep's storage: None stands for SQLite in its folder.

    On a cluster the scheduler opens it and everyone asks the scheduler (optuna-integration's
    ``DaskStorage``): workers need no shared folder, and one process writes to SQLite.
    """
    if given is None:
        given = f"sqlite:///{folder / 'study.db'}".replace("{", "{{").replace("}", "}}")
    if client is None:
        return given
    folder.mkdir(parents=True, exist_ok=True)
    from optuna_integration import DaskStorage  # type: ignore[import-untyped]

    with sweep_storage.quiet():
        return DaskStorage(sweep_storage.open_storage(given), client=client)
