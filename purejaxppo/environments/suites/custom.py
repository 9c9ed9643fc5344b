"""One's own environment by id: `module:Object`, or `path/to/file.py:Object`."""

import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from purejaxppo.config.fields import nearest
from purejaxppo.environments.protocol import ProtocolError


def is_own(env_id: str) -> bool:
    """Whether an id names an object of a module or of a file: no suite's has a colon.

    >>> is_own("envs.moving:Moving"), is_own("gymnax/CartPole-v1")
    (True, False)
    """
    return ":" in env_id or env_id.endswith(".py")


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


def load(env_id: str) -> Any:
    """What an id names; a class or a function is called, without arguments.

    Modules are looked for in the current directory first, as Python does; a file's
    folder joins Python's path, so that the file can import its neighbours.

    Raises:
      ValueError: there is no such module, file or object (with the nearest names); it
        needs arguments; or the user's code raises (with the line where).
    """
    place, _, name = env_id.rpartition(":")
    if not place or not name:
        raise ValueError(
            f"Expected env to be module:Object or path/to/file.py:Object, got "
            f"{env_id!r}."
        )
    module = _load_file(place) if _is_path(place) else _load_module(place)
    if not hasattr(module, name):
        hint = _hint(name, _own_names(module))
        raise ValueError(f"Expected {place} to have {name!r}, found none{hint}.")
    return _made(getattr(module, name), env_id)


def _made(thing: Any, env_id: str) -> Any:
    """An environment, or what is thought to be one: an instance, or what a call gives.

    Environments may be callable themselves; they are told by their methods.
    """
    is_class = inspect.isclass(thing)
    is_env = hasattr(thing, "reset") or hasattr(thing, "step")
    if not is_class and (is_env or not callable(thing)):
        return thing
    needed = _needed(thing)
    if needed:
        kind = "class" if is_class else "function"
        raise ValueError(
            f"Expected {env_id} to need no arguments, got a {kind} that needs "
            f"{', '.join(needed)}."
        )
    with blamed(f"Making {env_id}"):
        return thing()


def _needed(function: Any) -> list[str]:
    """Names of the arguments that a function or class cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []  # A built-in one, which does not tell.
    anything = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in anything
    ]


# --- Where code lies ----------------------------------------------------------------


def sources(env_id: str) -> list[Path]:
    """Return the files that `load` would import, with all links resolved.

    Nothing is imported to find out. Of a module these are its packages' and its own;
    of one that is not there, or not in a file, none.
    """
    place = env_id.rpartition(":")[0]
    if _is_path(place):
        return [Path(place).expanduser().resolve()]
    found: list[Path] = []
    folders: list[str] = []
    parts = place.split(".")
    for i in range(len(parts)):
        spec = _find_spec(".".join(parts[: i + 1]), folders)
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        file = spec.origin if spec is not None and spec.has_location else None
        if file is None and not folders:  # A package may consist of folders alone.
            return []
        found += [Path(file).resolve()] if file else []
    return found


def _find_spec(name: str, folders: list[str]) -> Any:
    """Where Python has a module from, or would take it from; parents come first."""
    if name in sys.modules:
        return sys.modules[name].__spec__
    if folders:
        # By its last name: of a folder without code Python would ask for the parent,
        # which has not been imported.
        tail = name.rpartition(".")[2]
        return importlib.machinery.PathFinder.find_spec(tail, folders)
    before = sys.path[:]
    _look_in(Path.cwd())
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    finally:
        sys.path[:] = before


def lies_in(path: Path, folder: Path) -> bool:
    """Return whether a file lies below a folder, both as they are without links.

    Python's own files, installed packages and this library lie nowhere.
    """
    names = "stdlib", "platstdlib", "purelib", "platlib"
    installed = [sysconfig.get_path(name) for name in names]
    installed.append(str(Path(__file__).parents[2]))
    others = [Path(other).resolve() for other in installed]
    inside = path.is_relative_to(folder.resolve())
    return inside and not any(map(path.is_relative_to, others))


# --- Modules and files --------------------------------------------------------------


def _load_module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    importlib.invalidate_caches()
    module, parts = None, name.split(".")
    for i in range(len(parts)):
        prefix = ".".join(parts[: i + 1])
        if not _exists(prefix):
            hint = _hint(name, _neighbours(module, ".".join(parts[:i])))
            raise ValueError(f"Expected a module {name}, found none{hint}.")
        with blamed(f"Importing {prefix}"):
            module = importlib.import_module(prefix)
    assert module is not None
    return module


def _exists(name: str) -> bool:
    """Whether there is such a module; its parent has been imported."""
    if name in sys.modules:
        return True
    if not name.rpartition(".")[2].isidentifier():
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # The parent is no package.


def _neighbours(parent: ModuleType | None, prefix: str) -> Iterator[str]:
    """Names of the modules in a package, or in and below the current directory."""
    if parent is None:
        folders, patterns = [Path.cwd()], ("*.py", "*/*.py")
    else:
        folders = map(Path, getattr(parent, "__path__", ()))
        patterns = "*.py", "*/__init__.py"
    for folder in folders:
        for path in (found for pattern in patterns for found in folder.glob(pattern)):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if parts and all(part.isidentifier() for part in parts):
                yield ".".join(filter(None, (prefix, *parts)))


def _load_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    if not path.is_file():
        hint = _hint(place, map(str, path.parent.glob("*.py")))
        raise ValueError(f"Expected a file at {place}, found none{hint}.")
    path = path.resolve()
    name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    _look_in(path.parent)
    with blamed(f"Importing {place}"):
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # Dataclasses and pickles look themselves up there.
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _own_names(module: ModuleType) -> list[str]:
    """Public names of what a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]


def _hint(name: str, known: Iterable[str]) -> str:
    known = sorted(set(known))
    return f"; {nearest(name, known)}" if known else ""


# --- The user's own errors ----------------------------------------------------------


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Make one line of what the user's code raises; a `ProtocolError` is one already.

    Raises:
      ProtocolError: it raised.
    """
    try:
        yield
    except ProtocolError:
        raise
    except (Exception, SystemExit) as error:
        raise ProtocolError(f"{what} raised {describe(error)}.") from error


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its text's first line, and where it arose.

    >>> try:
    ...     int("one")
    ... except ValueError as error:
    ...     describe(error).partition(" (")[0]
    "ValueError: invalid literal for int() with base 10: 'one'"
    """
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    text = message.strip().splitlines()
    parts = [type(error).__name__, *(line.rstrip(".:") for line in text[:1])]
    return ": ".join(parts) + _where(error)


def _where(error: BaseException) -> str:
    """The last line of the user's own code that an exception passed through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_shown(error.filename)}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_foreign(frame.filename)]
    for frame in (own or frames)[-1:]:
        return f" ({_shown(frame.filename)}:{frame.lineno})"
    return ""


def _is_foreign(filename: str) -> bool:
    """Whether a file is Python's, an installed package's, or of this library."""
    names = "stdlib", "platstdlib", "purelib", "platlib"
    folders = [sysconfig.get_path(name) for name in names]
    folders.append(str(Path(__file__).parents[2]))
    return filename.startswith(("<", *(folder + os.sep for folder in folders)))


def _shown(filename: str) -> str:
    """A path as seen from the current directory, if it is below."""
    path = Path(filename)
    return str(
        path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    )
