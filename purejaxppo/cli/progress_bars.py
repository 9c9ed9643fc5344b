"""How far a study is, on the screen, and what it warns of."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from purejaxppo.reporting.formatting import counted
from purejaxppo.study import Status


def stop(bar: Progress) -> None:
    """Leave a bar as it is; one that is not shown would print an empty line."""
    if bar.live.is_started:
        bar.stop()


class StudyProgress:
    """A progress bar for a study; entered, it gives what to call with a status."""

    def __init__(self, console: Console) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} updates"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("return {task.fields[episode_return]:.1f}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task(
            "compiling", total=None, speed="", episode_return=float("nan")
        )
        self.is_training = False

    def __enter__(self) -> Callable[[Status], None]:
        return self.show

    def __exit__(self, *_: Any) -> None:
        stop(self.bar)

    def show(self, status: Status) -> None:
        """Show how far a study is; the first status comes before compiling."""
        self.is_training = status.seconds > 0
        self.bar.start()
        self.bar.update(
            self.task,
            description=_description(status),
            completed=status.update,
            total=status.num_updates,
            speed=f"{status.steps_per_second:,.0f} steps/s",
            episode_return=status.episode_return,
        )


def _description(status: Status) -> str:
    if not status.seconds:
        return "compiling"
    runs = counted(status.num_runs)
    if status.num_chunks == 1:
        return runs
    return f"{runs}, chunk {status.chunk + 1}/{status.num_chunks}"


@contextmanager
def shown_warnings(console: Console) -> Iterator[None]:
    """Show each warning once, as one line, without the place in the code."""
    told: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in told:
            told.add(str(message))
            console.print(f"Warning: {message}", highlight=False, markup=False)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
