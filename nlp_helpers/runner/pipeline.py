"""Run notebooks: in order, side by side, and only those that must run."""

import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from nlp_helpers.core import engine, files, paths
from nlp_helpers.core.errors import UserError, explain
from nlp_helpers.runner import execute, record, secrets, stages
from nlp_helpers.runner.tasks import Result, Task

GIB = 2**30


class Runner:
    """Runs tasks within the processors and the memory of this machine."""

    def __init__(
        self,
        force: bool = False,
        jobs: int = 0,
        use_forkserver: bool = True,
        cores: int = 0,
        on_event: Callable[[str, str], None] = lambda name, event: None,
    ) -> None:
        """Prepare.

        Args:
            force: run also what would write what is there already.
            jobs: notebooks side by side at most; 0 is one for each core.
            use_forkserver: fork kernels from a process with all imports
                done.
            cores: processors to work with; 0 is all this process may use.
            on_event: called with a notebook and what happens to it.
        """
        self.force, self.use_forkserver = force, use_forkserver
        self.on_event = on_event
        self.cores = cores or engine.processors()
        self.jobs = jobs or self.cores
        self.stages = stages.read_stages()
        self.active: dict[str, execute.Execution] = {}
        self.stopping = False
        # A second signal may come while the first is being dealt with.
        self.guard = threading.RLock()

    def run(self, tasks: list[Task]) -> Iterator[Result]:
        """Run all tasks; what fails keeps back only what depends on it.

        Yields:
            Results, as they come.
        """
        waiting = {task.label: task for task in tasks}
        needs = stages.dependencies(self.stages, waiting)
        done: dict[str, Result] = {}
        futures: dict[Future[Result], Task] = {}
        with (
            execute.settings_for_kernels(self.use_forkserver),
            self._interruptible(),
            ThreadPoolExecutor(self.jobs) as pool,
        ):
            while waiting or futures:
                for task in list(waiting.values()):
                    running = list(futures.values())
                    missing = needs[task.label] - done.keys()
                    if failed := _failed(needs[task.label], done):
                        problem = (
                            f"{task.label} was not run: it needs {failed},"
                            " which did not finish"
                        )
                        result = Result(
                            task.label, "not run", task.output, problem=problem
                        )
                        done[task.label] = result
                        del waiting[task.label]
                        yield result
                    elif not missing and self._fits(task, running):
                        del waiting[task.label]
                        futures[pool.submit(self._run_one, task)] = task
                # Windows sees a Control-C only between two waits.
                finished, _ = wait(futures, 1.0, FIRST_COMPLETED)
                for future in finished:
                    task = futures.pop(future)
                    done[task.label] = future.result()
                    yield done[task.label]

    def _fits(self, task: Task, running: list[Task]) -> bool:
        """Tell whether a notebook may start beside others."""
        if not running:
            return True
        if len(running) >= self.jobs:
            return False
        wanted = [self.stages[t.notebook] for t in (task, *running)]
        if sum(map(self._cores, wanted)) > self.cores:
            return False
        if record.uses_gpu(task.values):
            return False
        # Those that just started have not taken theirs yet.
        return sum(stage.memory for stage in wanted) < free_memory() / GIB

    def _cores(self, stage: stages.Stage) -> int:
        """Return the processors that a notebook works with."""
        if stage.cores == "all":
            return self.cores
        return min(stage.cores, self.cores)

    def _run_one(self, task: Task) -> Result:
        """Run a notebook; return also what went wrong."""
        try:
            return self._run_or_skip(task)
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{task.output.name}: {explain(error)}"
        except Exception as error:
            # Nobody foresaw it; the other notebooks go on.
            traceback.print_exc()
            problem = f"{task.output.name}: {type(error).__name__}: {error}"
        failed = record.failed_notebook(task.output)
        output = failed if failed.exists() else task.output
        return Result(task.label, "failed", output, problem=problem)

    def _run_or_skip(self, task: Task) -> Result:
        """Run a notebook, unless what it would write is there."""
        name, stage = task.label, self.stages[task.notebook]
        secrets.refuse(task.values, name)
        description = record.describe(task, stage)
        metrics = task.output.with_suffix("") / "metrics.json"
        if not self.force and is_current(task.output, description):
            values = files.read_json(metrics)
            return Result(name, "unchanged", task.output, 0.0, values)
        execution = execute.Execution(
            paths.project_root() / "notebooks" / f"{task.notebook}.ipynb",
            task.output,
            stage,
            description,
            self._cores(stage),
            lambda number, total: self.on_event(name, f"{number}/{total}"),
        )
        with self.guard:
            self.active[name] = execution
            if self.stopping:  # the signal came before there was a kernel
                execution.stop()
        self.on_event(name, "running")
        try:
            seconds = execution.run()
        finally:
            with self.guard:
                del self.active[name]
        values = files.read_json(metrics)
        return Result(name, "done", task.output, seconds, values)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM kill the kernels and end the run.

        Each run then writes its record before this process ends.
        """

        def stop(number: int, frame: object) -> None:
            with self.guard:
                self.stopping = True
                for execution in self.active.values():
                    execution.stop()
            raise SystemExit(128 + number)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        chosen = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, stop) for number in chosen}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _failed(needed: set[str], done: Mapping[str, Result]) -> str | None:
    """Return one of the needed runs that cannot be had any more."""
    return next(
        (
            name
            for name in sorted(needed)
            if name in done and done[name].status in ("failed", "not run")
        ),
        None,
    )


def free_memory() -> int:
    """Return the free bytes of this machine, or of this container if fewer.

    Files that the system keeps in memory, and would give up, count as free.
    """
    rooms = [_room(group) for group in engine.control_groups()]
    return min([psutil.virtual_memory().available, *filter(None, rooms)])


def _room(group: Path) -> int | None:
    """Return how many bytes a control group has left; None: no limit."""
    try:
        limit, used, details = (
            (group / f"memory.{name}").read_text()
            for name in ("max", "current", "stat")
        )
    except OSError:
        return None
    if limit.strip() == "max":
        return None
    cached = re.search(r"^inactive_file (\d+)$", details, re.MULTILINE)
    return max(1, int(limit) - int(used) + (int(cached[1]) if cached else 0))


def is_current(output: Path, description: dict[str, Any]) -> bool:
    """Tell whether a finished run of the same left all that is there."""
    content = record.read_record(output.with_suffix("") / "run.json")
    if not content or content["status"] != "finished":
        return False
    if not record.matches(content, description):
        return False
    if not output.is_file():
        return False
    return record.artifacts(output) == content.get("artifacts")
