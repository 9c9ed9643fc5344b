"""Imports run strictly downward, importing is cheap, and the doctests hold."""

import ast
import doctest
import importlib
import io
import os
import pkgutil
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import purejaxppo

ROOT = Path(purejaxppo.__file__).parent

# Lowest first; a room may import from lower rows only.
LAYERS = [
    "reliability",
    "config",
    "environments",
    "networks",
    "checks",
    "algorithm",
    "study",
    "results",
    "export",
    "reporting",
    "tuning",
    "cli",
]
HEIGHT = {room: height for height, room in enumerate(LAYERS)}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported_modules(path):
    """Every module of the package that a file imports, at the top or inside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms(path):
    names = [name.split(".") for name in imported_modules(path)]
    rooms = {name[1] for name in names if name[0] == "purejaxppo" and len(name) > 1}
    return {room for room in rooms if room in HEIGHT}


def test_every_room_has_its_place():
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    others = imported_rooms(path) - {room}
    if room in ("reliability", "config"):
        assert not others
    assert {other for other in others if HEIGHT[other] >= HEIGHT[room]} == set()


def test_no_module_is_named_like_what_it_defines():
    for path in FILES:
        names = {
            getattr(node, "name", None) for node in ast.parse(path.read_text()).body
        }
        assert path.stem not in names


VALUES = {"config", "distribution", "env", "ppo", "state"}
PACKAGES = {"gymnasium", "jax", "nn", "optax"}
"""With the values, the names before a dot that are no files of the library."""


def test_every_name_that_a_text_gives_to_a_file_is_there():
    """`file.name` in a docstring or a comment: files move, and texts do not follow."""
    names, defined = {}, set()
    for path in FILES:
        body = ast.parse(path.read_text("utf-8")).body
        own = {name for node in body for name in names_of(node)}
        stem = path.parent.name if path.stem == "__init__" else path.stem
        names.setdefault(stem, set()).update(own)
        names.setdefault(path.parent.name, set()).add(path.stem)
        defined |= own
    seen = 0
    for path in FILES:
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type not in (tokenize.STRING, tokenize.COMMENT):
                continue
            for stem, name in re.findall(r"`([a-z_]+)\.(\w+)[`(]", token.string):
                if name in defined and stem not in VALUES | PACKAGES:
                    seen += 1
                    assert name in names.get(stem, ()), f"{path}: `{stem}.{name}`"
    assert seen > 20


def names_of(node):
    """The names that a statement at the top of a file binds."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_the_library_imports_no_environment_of_the_project():
    for path in FILES:
        assert not {m.split(".")[0] for m in imported_modules(path)} & {"envs", "tests"}


def test_all_names_what_there_is():
    public = set(purejaxppo.__all__)
    assert all(hasattr(purejaxppo, name) for name in public)
    assert len(public) == len(purejaxppo.__all__)


IMPORT = """
import sys, purejaxppo
late = {"gymnax", "matplotlib", "xarray", "zarr", "orbax.checkpoint", "tyro"}
late |= {"tensorboard", "wandb"}
print(sorted(late & set(sys.modules)))
"""


def test_import_starts_no_backend_and_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "JAX_PLATFORMS": "bogus"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def modules():
    walk = pkgutil.walk_packages(purejaxppo.__path__, "purejaxppo.")
    return ["purejaxppo", *(m.name for m in walk if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("name", modules())
def test_doctests(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
