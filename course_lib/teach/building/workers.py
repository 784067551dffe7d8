"""Run jobs one after another, on a local Dask cluster, or on the scheduler at an address.

The same client code drives both kinds of cluster. A worker killed in mid-run has its job run
again by another; what a finished job gave is yielded once.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from course_lib.errors import UsageError
from course_lib.teach.building import runner

WAIT = "15s"  # for a scheduler to answer
RETRIES = 2  # of a job whose worker died


def run_all(queue: Sequence[runner.Job], jobs: int, scheduler: str = "") -> Iterator[runner.Ran]:
    """Yield what became of each job, as they end.

    Raises:
        UsageError: when no scheduler answers at the address.
    """
    if not scheduler and (jobs == 1 or len(queue) <= 1):
        yield from map(runner.run, queue)
        return
    from dask.distributed import as_completed

    with client(scheduler, min(jobs, len(queue))) as dask:
        futures = dask.map(runner.run, queue, pure=False, retries=RETRIES)
        names = {f.key: job.name for f, job in zip(futures, queue, strict=True)}
        for future in as_completed(futures):
            if future.status == "finished":
                yield future.result()
            else:  # a worker that died again and again, or one without the course
                told = f"{type(future.exception()).__name__}: {future.exception()}"
                yield runner.Ran(names[future.key], kind="worker", error=told[:600])


@contextlib.contextmanager
def client(scheduler: str, workers: int) -> Iterator[Any]:
    """Give a Dask client: of the scheduler at an address, or of a local cluster on loopback.

    Raises:
        UsageError: when no scheduler answers at the address.
    """
    from dask.distributed import Client, LocalCluster

    if scheduler:
        try:
            found = Client(scheduler, timeout=WAIT)
        except (OSError, ValueError) as error:
            raise UsageError(
                "no Dask scheduler answers", where=scheduler, got=str(error)[:200],
                next_step="start one with 'dask scheduler' and workers with 'dask worker ADDRESS'",
            ) from None  # fmt: skip
        with found:
            yield found
        return
    free = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if free else os.cpu_count() or 1
    threads = max(1, cores // workers)
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
        host="127.0.0.1", silence_logs=logging.ERROR, memory_limit=0,
        env={"OMP_NUM_THREADS": str(threads)},
    ) as cluster, Client(cluster) as local:  # fmt: skip
        yield local
