"""The command line: which command is meant, and how its errors are told."""

import dataclasses
import functools
import operator
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import tyro

from purejaxppo import disk
from purejaxppo.commands import failing, silence, stopping
from purejaxppo.commands.evaluations import Evaluate, run_evaluate
from purejaxppo.commands.exports import Export, Play, run_export, run_play
from purejaxppo.commands.listings import Check, List, run_check, run_list
from purejaxppo.commands.options import AS_TEXT, read, texts, with_fields
from purejaxppo.commands.reports import Compare, Report, run_compare, run_report
from purejaxppo.commands.trainings import (
    Resume,
    Sweep,
    Train,
    Wanted,
    run_resume,
    run_sweep,
    run_train,
)
from purejaxppo.commands.tunings import Tune, run_tune
from purejaxppo.config import Config
from purejaxppo.fields import leaves, nearest

COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (Train, run_train),
    "sweep": (Sweep, run_sweep),
    "tune": (Tune, run_tune),
    "resume": (Resume, run_resume),
    "evaluate": (Evaluate, run_evaluate),
    "export": (Export, run_export),
    "play": (Play, run_play),
    "report": (Report, run_report),
    "compare": (Compare, run_compare),
    "check": (Check, run_check),
    "list": (List, run_list),
}
"""Name -> what a command takes, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 1 for a failure.

    An environment that fails a check is a failure, too; 130 is for what was stopped.

    Set PUREJAXPPO_TRACEBACK to see where an error came from.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"purejaxppo {version('purejaxppo')}")
        return 0
    try:
        command = parse_command(arguments)
        run = next(run for kind, run in COMMANDS.values() if isinstance(command, kind))
        return run(command)
    except BrokenPipeError:
        sys.stdout = None  # The reader has gone, as after `| head`.
        return failing.leave(0)
    except disk.WriteError as error:
        return _fail(error, 1)
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt as stop:
        print(str(stop) or "Stopped.", file=sys.stderr)
        return failing.leave(stopping.STOPPED)
    except Exception as error:
        return _fail(error, 1)


def program() -> NoReturn:
    """The command line as a process of its own, which it ends."""
    silence.quiet_threads()
    stopping.hear_interrupts()
    stopping.end(main())


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("PUREJAXPPO_TRACEBACK"):
        traceback.print_exc()
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return failing.leave(code, lines[0])


def parse_command(arguments: Sequence[str]) -> Any:
    """The command that is meant, with its options.

    Raises:
      ValueError: there is no such command or option (with the nearest names), or a
        number or a choice is none.
    """
    name = arguments[0] if arguments else ""
    if name.isalpha() and name not in COMMANDS:
        raise ValueError(f"Unknown command {name!r}; {nearest(name, COMMANDS)}.")
    kinds = (
        Annotated[_full(kind, meant=other == name), _subcommand(other)]
        for other, (kind, _) in COMMANDS.items()
    )
    kind: Any = functools.reduce(operator.or_, kinds)
    command, unknown = tyro.cli(
        kind,
        prog="purejaxppo",
        args=list(arguments),
        return_unknown_args=True,
        registry=AS_TEXT,
    )
    if unknown:
        _refuse(unknown[0], command)
    return read(command)


def _full(kind: type, meant: bool) -> type:
    """A command's options; those of the config's fields where it is the one meant."""
    return with_fields(kind) if meant and issubclass(kind, Wanted) else kind


def _of_training() -> set[str]:
    """Names of the options that say what is trained."""
    own = {item.name for kind in (Train, Sweep) for item in dataclasses.fields(kind)}
    return own | {leaf.name for leaf in leaves(Config)}


def _subcommand(name: str) -> Any:
    return tyro.conf.subcommand(name, prefix_name=False)


def _refuse(argument: str, command: Any) -> None:
    if not argument.startswith("-"):
        raise ValueError(f"Unexpected argument {argument!r}; options begin with --.")
    known = [name.replace("__", ".") for name in texts(command)]
    name = argument.lstrip("-").split("=")[0].replace("-", "_")
    if isinstance(command, Resume) and name in _of_training():
        raise ValueError(
            f"Unknown option {argument!r}; what a study trains stays as it was begun."
        )
    raise ValueError(f"Unknown option {argument!r}; {nearest(name, known)}.")


if __name__ == "__main__":
    program()
