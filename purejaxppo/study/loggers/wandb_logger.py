"""Weights & Biases: a run there for each line of the charts, x is env_steps.

The runs of a study are one group. `wandb.json` in the study's directory keeps their
ids, so that a resumed study goes on with the same ones, and how far each was logged, so
that no row is logged twice. Offline files, and wandb's own logs, lie in `wandb/` there,
unless WANDB_DIR says otherwise: `wandb sync` sends them. A study without a directory
leaves all that to wandb.
"""

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from purejaxppo.study.loggers.chart_lines import Line, Lines, check_counts, tag
from purejaxppo.study.loggers.packages import require
from purejaxppo.study.loggers.records import About, Logged
from purejaxppo.study.storage import disk

FILE = "wandb.json"
MODES = ("online", "offline", "disabled")


class WandB:
    """Logs to Weights & Biases; see the module's text.

    What is None comes from wandb's own variables: WANDB_PROJECT, WANDB_MODE,
    WANDB_RUN_GROUP, WANDB_ENTITY. Nothing is printed, and nobody is asked anything:
    `wandb login` comes first.

    Args:
      project: "purejaxppo" if neither it nor WANDB_PROJECT is given.
      mode: online, offline or disabled.
      group: the study's directory if neither it nor WANDB_RUN_GROUP is given.
      entity: user or team.
      name: put before the name of each run.
      per_run: most runs of a study in which each has a run there; of more, one for each
        setting of the grid has the mean, interquartile mean, 5th and 95th percentile.
      points: most rows of a run; each is a mean of the updates since the one before.

    Raises:
      ValueError: wandb is not installed, or an argument is out of range.
    """

    def __init__(
        self,
        project: str | None = None,
        mode: str | None = None,
        *,
        group: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        per_run: int = 16,
        points: int = 1000,
    ) -> None:
        check_counts("WandB", per_run, points)
        given = os.environ.get("WANDB_MODE") or "online"
        self._mode: Any = given if mode is None else mode
        if self._mode not in MODES:
            source = "WANDB_MODE" if mode is None else "mode of WandB"
            raise ValueError(
                f"Expected {source} to be one of {', '.join(MODES)}, got "
                f"{self._mode!r}."
            )
        if self._mode != "disabled":
            require("wandb", "WandB")
        self._project = project or os.environ.get("WANDB_PROJECT") or "purejaxppo"
        self._group, self._entity, self._name = group, entity, name
        self._per_run, self._points = per_run, points

    def begin(self, about: About) -> None:
        """Find the ids of a study that goes on, and log in.

        Raises:
          ValueError: nobody is logged in.
        """
        self._about = about
        self._runs: dict[str, Any] = {}
        self._lines = Lines(about, self._per_run, self._points)
        self._memory = _remembered(about)
        if self._mode == "online":
            with _quiet(self._folder):
                _log_in()

    @property
    def _folder(self) -> Path | None:
        """Where wandb makes its own folder; None leaves it to wandb."""
        given = os.environ.get("WANDB_DIR")
        return Path(given) if given else self._about.output

    def log(self, logged: Logged) -> None:
        """Log the rows that the segment completes."""
        if self._mode == "disabled":
            return
        lines = itertools.groupby(self._lines.of(logged), lambda line: line.name)
        for name, group in lines:
            self._log_rows(name, list(group))
        self._remember()

    def _log_rows(self, name: str, lines: list[Line]) -> None:
        """Log what is new of a run's line, or of the statistics of several."""
        updates = lines[0].updates.tolist()
        if updates[-1] <= self._memory["logged"].get(name, 0):
            return
        run = self._run(name, lines[0])
        known = max(self._memory["logged"].get(name, 0), run.starting_step - 1)
        for update, row in zip(updates, _rows(lines), strict=True):
            if update > known:
                run.log(row, step=update)
        self._memory["logged"][name] = updates[-1]
        if updates[-1] == self._about.num_updates[lines[0].runs].max():
            self._runs.pop(name).finish()

    def _run(self, name: str, line: Line) -> Any:
        """The run of that name, begun or resumed."""
        if name not in self._runs:
            with _quiet(self._folder):
                self._runs[name] = self._begin_run(name, line)
        return self._runs[name]

    def _begin_run(self, name: str, line: Line) -> Any:
        import wandb

        token, output = self._memory["study"], self._about.output
        default = None if output is None else f"{output.resolve().name}-{token}"
        run = wandb.init(
            project=self._project,
            entity=self._entity,
            group=self._group or os.environ.get("WANDB_RUN_GROUP") or default,
            name=f"{self._name} {name}" if self._name else name,
            id=f"{token}-{'all-' * bool(line.statistic)}{line.runs[0]}",
            config=_config(self._about, line),
            dir=self._folder,
            mode=self._mode,
            resume="allow",
            reinit="create_new",
            # System metrics of one machine, once for each run, would say little.
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        run.define_metric("env_steps", hidden=True)
        run.define_metric("*", step_metric="env_steps")
        return run

    def _remember(self) -> None:
        if self._about.output is not None:
            disk.write_json(self._about.output / FILE, self._memory)

    def close(self) -> None:
        """Finish the runs that are still open."""
        while self._runs:
            self._runs.popitem()[1].finish()


def _rows(lines: list[Line]) -> Iterator[dict[str, float]]:
    """A row for each point, with what was observed there of all lines of a name."""
    columns = {
        f"{tag(metric)}{line.statistic and '_'}{line.statistic}": values.tolist()
        for line in lines
        for metric, values in line.metrics.items()
    }
    for i, steps in enumerate(lines[0].env_steps.tolist()):
        row = {name: values[i] for name, values in columns.items()}
        yield {"env_steps": steps, **{k: v for k, v in row.items() if v == v}}


def _config(about: About, line: Line) -> dict[str, Any]:
    """The hyperparameters that all runs of a line have, and their seeds."""
    settings = [about.settings[run] for run in line.runs]
    config = {**about.config}
    for name, value in settings[0].items():
        same = all(setting.get(name) == value for setting in settings)
        config[name] = value if same else "several"
    seeds = about.seeds[line.runs].tolist()
    own = {"seeds": seeds} if line.statistic else {"seed": seeds[0]}
    return {"env": about.env, **own, **{k: _known(v) for k, v in config.items()}}


def _known(value: Any) -> Any:
    """A hyperparameter as wandb knows it."""
    value = value.item() if hasattr(value, "item") else value
    return list(value) if isinstance(value, tuple) else value


def _remembered(about: About) -> dict[str, Any]:
    """The token of the study's ids, and how many updates of each run were logged.

    Raises:
      ValueError: the file was not written here.
    """
    path = None if about.output is None else about.output / FILE
    if path is None or not path.exists() or not about.done.any():
        return {"study": uuid.uuid4().hex[:8], "logged": {}}
    try:
        memory = disk.read_json(path)
        logged = {name: int(updates) for name, updates in memory["logged"].items()}
        return {"study": f"{int(memory['study'], 16):08x}", "logged": logged}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"Expected {path} to hold the ids of the study's runs; without the file "
            "they get new ones."
        ) from None


def forget_ids(directory: Path) -> None:
    """A later study in the directory has runs of its own."""
    (directory / FILE).unlink(missing_ok=True)


def _log_in() -> None:
    import wandb
    from wandb.errors import UsageError

    try:
        wandb.login()
    except UsageError as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"Expected Weights & Biases to be logged in for mode online, got: {told}."
        ) from None


@contextmanager
def _quiet(folder: Path | None) -> Iterator[None]:
    """Let wandb print nothing, ask nothing, and keep its logs with its other files.

    Its process reads the environment once, when it starts.
    """
    ours = {"WANDB_SILENT": "true"}
    if folder is not None:
        ours["WANDB_CACHE_DIR"] = str((folder / "wandb" / "cache").resolve())
    added = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
