"""Run one function over many tasks: here, in processes, or on a Ray cluster.

A task says which file to write, and writes it whole or not at all. So a task
can be done twice, by whichever worker, and the files come out the same.
"""

import logging
import math
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from nlp_helpers.core.errors import UserError

Result = TypeVar("Result")

ENGINES = ("local", "ray")
KNOCK_TIMEOUT = 5  # seconds
NO_CLUSTER = (
    "engine is ray, and no Ray cluster answers{}; start one with"
    " `ray start --head`, set RAY_ADDRESS, or set engine to local"
)
MAX_ATTEMPTS = 5  # of the tasks that a killed worker left undone


def processors() -> int:
    """Return how many processors this process may use.

    Clusters and containers often give a process a few of a machine's.
    """
    import joblib  # which sets an environment variable

    quotas = [_quota(group) for group in control_groups()]
    return min([joblib.cpu_count(), *filter(None, quotas)])


def control_groups(
    groups: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> list[Path]:
    """Return the Linux control groups (version 2) that limit this process.

    Args:
        groups: where they are mounted.
        own: names the group of this process; the groups above limit it too.
    """
    try:
        [name] = re.findall("^0::/(.*)$", own.read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no Linux, or an older one
        name = ""
    group = groups / name
    return [g for g in (group, *group.parents) if g.is_relative_to(groups)]


def _quota(group: Path) -> int | None:
    """Return how many processors' time a control group has; None: any."""
    try:
        limit, period = (group / "cpu.max").read_text().split()
        return math.ceil(int(limit) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def run(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    engine: str = "local",
    num_workers: int = 0,
    num_threads: int = 1,
    **resources: float,
) -> Iterator[tuple[int, Result]]:
    """Yield (number of the task, result) as the tasks are done.

    Args:
        function: a function of a module, called as `function(*task)`.
        tasks: what it is called with.
        engine: `local` or `ray`.
        num_workers: processes of the local engine; 0 works in this process,
            where a library may use all cores. Ray takes as many as it has.
        num_threads: that do the tasks in this process, without workers.
        resources: num_cpus and num_gpus that Ray sets aside for a task; one
            processor by default.

    Raises:
        UserError: the engine is unknown, Ray is not installed or not running,
            or workers are killed again and again.
    """
    if engine not in ENGINES:
        raise UserError(
            f"engine is {engine!r}; it can be {' or '.join(ENGINES)}"
        )
    if engine == "ray":
        yield from _run_on_ray(function, tasks, resources)
    elif num_workers:
        yield from _run_in_processes(function, tasks, num_workers)
    elif num_threads > 1:
        with ThreadPoolExecutor(num_threads) as pool:
            yield from _collect(pool, function, dict(enumerate(tasks)))
    else:
        for number, task in enumerate(tasks):
            yield number, function(*task)


def _collect(
    pool: Executor,
    function: Callable[..., Result],
    tasks: Mapping[int, tuple[Any, ...]],
) -> Iterator[tuple[int, Result]]:
    """Yield (number, result) as they come; begin none after an error."""
    try:
        futures = {
            pool.submit(function, *task): number
            for number, task in tasks.items()
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _limits(number: int) -> dict[str, str]:
    """Return the settings of a worker that keeps to a number of processors.

    For torch, for the tokenizers, and by `processors` for DuckDB.
    """
    names = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    parallel = {"TOKENIZERS_PARALLELISM": str(number > 1).lower()}
    return dict.fromkeys(names, str(number)) | parallel


def _take_one_processor() -> None:
    """Set the limits, before a worker imports the libraries they are for."""
    os.environ.update(_limits(1))


def _run_in_processes(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    num_workers: int,
) -> Iterator[tuple[int, Result]]:
    """Run in new processes; start again what a killed one left undone."""
    undone = dict(enumerate(tasks))
    for _ in range(MAX_ATTEMPTS):
        # Forked processes would inherit locks that other threads hold.
        with ProcessPoolExecutor(
            num_workers, get_context("spawn"), _take_one_processor
        ) as pool:
            try:
                for number, result in _collect(pool, function, dict(undone)):
                    del undone[number]
                    yield number, result
                return
            except BrokenProcessPool:
                continue
    raise _killed_too_often(len(undone), "lower num_workers")


def _run_on_ray(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    resources: Mapping[str, float],
) -> Iterator[tuple[int, Result]]:
    """Run on the Ray cluster that RAY_ADDRESS or this machine has."""
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "engine is ray, and Ray is not installed; `pip install ray`, or"
            " set engine to local"
        ) from error
    if not ray.is_initialized():
        _check_address(os.environ.get("RAY_ADDRESS", ""))
        try:
            ray.init(
                address="auto",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except ConnectionError as error:
            raise UserError(NO_CLUSTER.format("")) from error
    wanted = {"num_cpus": 1, **resources}
    _warn_of_waiting(ray.nodes(), wanted)
    variables = _limits(max(1, int(wanted["num_cpus"])))
    if not wanted.get("num_gpus"):
        # Else Ray hides no GPU, and all tasks of a machine take its first.
        variables["CUDA_VISIBLE_DEVICES"] = ""
    options: dict[str, Any] = {
        # A task whose worker is killed is given to another.
        "max_retries": MAX_ATTEMPTS - 1,
        "runtime_env": {"env_vars": variables},
        **wanted,
    }
    remote = ray.remote(**options)(function)
    waiting = {
        remote.remote(*task): number for number, task in enumerate(tasks)
    }
    while waiting:
        [done], _ = ray.wait(list(waiting), num_returns=1)
        try:
            result = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None  # without the worker's traceback
            raise
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
        ) as error:
            remedy = "use machines with more memory (sweep: raise --cores)"
            raise _killed_too_often(len(waiting), remedy) from error
        yield waiting.pop(done), result


def _check_address(address: str) -> None:
    """Knock at `host:port`: where nothing listens, Ray ends this process.

    Raises:
        UserError: nothing answers there.
    """
    match = re.fullmatch(r"([\w.-]+):(\d+)", address)
    if not match:
        return  # auto, local, ray://...: Ray says itself what is wrong
    host, port = match.groups()
    try:
        socket.create_connection((host, int(port)), KNOCK_TIMEOUT).close()
    except OSError as error:
        where = f" at RAY_ADDRESS {address} ({error})"
        raise UserError(NO_CLUSTER.format(where)) from error


def _warn_of_waiting(
    nodes: Sequence[Mapping[str, Any]], wanted: Mapping[str, float]
) -> None:
    """Say so if no machine can take a task: Ray would wait for one."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    needs = {names[name]: number for name, number in wanted.items()}
    fits = any(
        node["Alive"]
        and all(node["Resources"].get(n, 0) >= v for n, v in needs.items())
        for node in nodes
    )
    if not fits:
        asked = " and ".join(f"{v:g} {n}" for n, v in needs.items())
        print(
            f"no machine of the Ray cluster has {asked}; waiting for one",
            file=sys.stderr,
        )


def _killed_too_often(undone: int, remedy: str) -> UserError:
    """Return the error about workers that are killed again and again."""
    return UserError(
        f"worker processes were killed {MAX_ATTEMPTS} times, the last time"
        f" with {undone} tasks left; memory may have run out: {remedy}."
        " Finished tasks are kept"
    )
