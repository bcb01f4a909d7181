"""Shards on many machines, by Dask: a task is a shard, and a worker opens the network once.  The door to Dask."""

import contextlib
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

from overfeat_tools.backend.machine import processors
from overfeat_tools.batch.job import Job, Outcome
from overfeat_tools.batch.plan import Shard
from overfeat_tools.batch.session import Session
from overfeat_tools.errors import OverfeatError, UsageError, reason

_AHEAD = 2  # tasks for each thread of a worker: one to do, one to have when that is done
_PROCESSORS_A_WORKER = 4

_lock = threading.Lock()  # a process has one network, and does one shard at a time
_sessions: dict[str, Session] = {}


def distribute(job: Job, shards: Iterator[Shard], address: str, timeout_seconds: float = 30.0) -> Iterator[Outcome]:
    """Have shards done by the workers of a scheduler; give what became of each, as they are done.

    Parameters
    ----------
    job : Job
    shards : iterator of Shard
    address : str
        The scheduler's, or `local` for workers on this machine alone.
    timeout_seconds : float
        How long to wait for the scheduler.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError(f"--dask: {reason(error)}; install overfeat_tools[dask]") from error
    with contextlib.ExitStack() as stack:
        try:
            client = _client(distributed, address, timeout_seconds, stack)
        except (OSError, ValueError) as error:
            raise OverfeatError(f"--dask {address}: {reason(error)}") from error
        yield from _follow(client, job, shards, distributed)


def _client(distributed: Any, address: str, timeout_seconds: float, stack: contextlib.ExitStack) -> Any:  # noqa: ANN401 -- Dask has no types
    if address == "local":
        count = max(2, processors() // _PROCESSORS_A_WORKER)
        cluster = distributed.LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None)
        address = stack.enter_context(cluster).scheduler_address
    return stack.enter_context(distributed.Client(address, timeout=timeout_seconds, set_as_default=False))


def _follow(client: Any, job: Job, shards: Iterator[Shard], distributed: Any) -> Iterator[Outcome]:  # noqa: ANN401
    """Keep the workers busy, with no more tasks than that takes: so the scheduler need not hold them all."""
    running: dict[Any, Shard] = {}
    done = distributed.as_completed(loop=client.loop)
    while True:
        room = _AHEAD * max(1, sum(client.nthreads().values())) - len(running)
        for shard in islice(shards, max(0, room)):
            future = client.submit(do_shard, job, shard, key=f"{job.output} {shard.title}", pure=False)
            running[future] = shard
            done.add(future)
        if not running:
            return
        future = next(done)
        shard = running.pop(future)
        try:
            yield future.result()
        except OverfeatError:
            raise
        except Exception as error:  # noqa: BLE001 -- a worker's, or that there is none
            yield Outcome(shard.number, fault=f"{shard.title}: {reason(error)}")
        future.release()


def do_shard(job: Job, shard: Shard) -> Outcome:
    """Do a shard in this process, as a worker does."""
    with _lock:
        name = repr(job)
        if name not in _sessions:
            for old in _sessions.values():
                old.close()
            _sessions.clear()
            _sessions[name] = Session(job)
        return next(iter(list(_sessions[name].process([shard]))))
