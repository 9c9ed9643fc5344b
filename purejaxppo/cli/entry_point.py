"""The command line: which command is meant, and how its errors are told."""

import contextlib
import dataclasses
import functools
import io
import operator
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import tyro

from purejaxppo.cli import failures, interrupts, silence, terminal
from purejaxppo.cli.evaluate import Evaluate, run_evaluate
from purejaxppo.cli.export import Export, Play, run_export, run_play
from purejaxppo.cli.listing import Check, List, run_check, run_list
from purejaxppo.cli.options import AS_TEXT, read, texts, with_fields
from purejaxppo.cli.report import Compare, Report, run_compare, run_report
from purejaxppo.cli.train import (
    Resume,
    Sweep,
    Train,
    Wanted,
    run_resume,
    run_sweep,
    run_train,
)
from purejaxppo.cli.tune import Tune, run_tune
from purejaxppo.config.config import Config
from purejaxppo.config.fields import FLAGS, leaves, nearest
from purejaxppo.reporting.formatting import listed
from purejaxppo.study.storage import disk

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
    terminal.accept_any_text()
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
        return failures.leave(0)
    except disk.WriteError as error:
        return _fail(error, 1)
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt as stop:
        print(str(stop) or "Stopped.", file=sys.stderr)
        return failures.leave(interrupts.STOPPED)
    except Exception as error:
        return _fail(error, 1)


def program() -> NoReturn:
    """The command line as a process of its own, which it ends."""
    silence.quiet_threads()
    interrupts.hear_interrupts()
    interrupts.end(main())


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("PUREJAXPPO_TRACEBACK"):
        traceback.print_exc()
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return failures.leave(code, lines[0])


def parse_command(arguments: Sequence[str]) -> Any:
    """The command that is meant, with its options.

    Raises:
      ValueError: there is no such command or option (with the nearest names), a value
        is missing, or a number or a choice is none.
    """
    arguments = list(arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    name = arguments[0] if arguments else ""
    # tyro has options that print completions for a shell.
    if name not in (*COMMANDS, "-h", "--help") and not name.startswith("--tyro-"):
        raise ValueError(_no_command(name))
    kinds = (
        Annotated[_full(kind, meant=other == name), _subcommand(other)]
        for other, (kind, _) in COMMANDS.items()
    )
    kind: Any = functools.reduce(operator.or_, kinds)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            command, unknown = tyro.cli(
                kind,
                prog="purejaxppo",
                args=arguments,
                return_unknown_args=True,
                registry=AS_TEXT,
            )
    except SystemExit as leave:
        if not leave.code:  # The help text was asked for.
            raise
        raise ValueError(_what_is_missing(told.getvalue(), name)) from None
    if unknown:
        raise ValueError(_of_unknown(unknown[0], command, name))
    return read(command)


def _full(kind: type, meant: bool) -> type:
    """A command's options; those of the config's fields where it is the one meant."""
    return with_fields(kind) if meant and issubclass(kind, Wanted) else kind


def _subcommand(name: str) -> Any:
    return tyro.conf.subcommand(name, prefix_name=False)


def _no_command(name: str) -> str:
    """What is wrong with a first word that is no command."""
    if name.isalpha():
        return f"Unknown command {name!r}; {nearest(name, COMMANDS)}."
    got = f", not {name!r}" if name else ""
    return (
        f"The first word is a command{got}: {', '.join(COMMANDS)}; `purejaxppo --help` "
        "describes them."
    )


def _what_is_missing(told: str, name: str) -> str:
    """Return tyro's box of an error as one line of ours."""
    words = " ".join(re.sub(r"[^ -~]|-{3,}", " ", told).split())
    if option := re.search(r"value for argument '(--[^']+)'", words):
        return f"{option[1]} needs a value; `purejaxppo {name} --help` describes it."
    if missing := re.search(r"Missing from [^:]+: (.+?) \(required\)", words):
        metavar, _, meaning = missing[1].partition(" ")
        return f"{name} needs {metavar}: {meaning}"
    return words


def _of_unknown(argument: str, command: Any, name: str) -> str:
    """What is wrong with an argument that a command does not know."""
    if not argument.startswith("-"):
        why = "options begin with --"
        if argument.lower() in FLAGS:
            why = "a switch such as --overwrite takes no value"
        return f"Unexpected argument {argument!r}; {why}."
    option = argument.lstrip("-").split("=")[0].replace("-", "_")
    others = [
        other for other, (kind, _) in COMMANDS.items() if option in options_of(kind)
    ]
    if isinstance(command, Resume) and option in _of_training():
        return (
            f"Unknown option {argument!r}; resume cannot change what a study trains. "
            "`purejaxppo train --config DIR/config.toml --output NEW` trains a changed "
            "copy."
        )
    if others:
        return f"{argument!r} is an option of {listed(others)}, not of {name}."
    known = [known.replace("__", ".") for known in texts(command)]
    return f"Unknown option {argument!r}; {nearest(option, known)}."


def options_of(kind: type) -> set[str]:
    """Names of a command's options, those of the config's fields included."""
    fields = {leaf.name for leaf in leaves(Config)} if issubclass(kind, Wanted) else ()
    return {item.name for item in dataclasses.fields(kind)}.union(fields)


def _of_training() -> set[str]:
    """Names of the options that say what is trained."""
    grid = {"grid", "zip", "sample", "num_samples", "sample_seed"}
    return (options_of(Wanted) | grid) - {"output"}


if __name__ == "__main__":
    program()
