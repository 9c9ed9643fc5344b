"""Persistent worker processes that answer one question a line, and idle in between."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parent.parent

Answers = Mapping[str, Callable[..., dict[str, Any]]]


class Worker:
    """`python -m module` as a process of its own that serves questions.

    Compiled programs are kept nowhere, so that each worker pays for its own.

    Args:
      module: its `main` must call `serve`.
      python: interpreter to run it with; ours by default.
    """

    def __init__(self, module: str, python: Path | str = sys.executable) -> None:
        self.module = module
        self.process = subprocess.Popen(
            [str(python), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # the end of its input ends it

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer.

        Raises:
          RuntimeError: the worker is gone; it has said why on stderr.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([question, arguments]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise RuntimeError(f"{self.module} ended with {code} at {question!r}.")
        return json.loads(line)


def serve(answers: Answers) -> None:
    """Answer on stdout what stdin asks, until it ends.

    Whatever else this process prints goes to stderr.
    """
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        answer_lines(answers, sys.stdin, output)


def answer_lines(answers: Answers, questions: IO[str], output: IO[str]) -> None:
    """Answer each line `[question, arguments]` with one line of JSON."""
    for line in questions:
        question, arguments = json.loads(line)
        print(json.dumps(answers[question](**arguments)), file=output, flush=True)
