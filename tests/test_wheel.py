"""The wheel holds the library and nothing else, and works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

USE = """
import importlib.util, pathlib, sys

# An editable install puts the checkout on the path; here it is not to be found.
sys.path = [entry for entry in sys.path if entry != sys.argv[2]]

import purejaxppo
from purejaxppo.cli import entry_point as cli

target = pathlib.Path(sys.argv[1]).resolve()
package = pathlib.Path(purejaxppo.__file__).resolve().parent
assert package == target / "purejaxppo", package
assert (package / "py.typed").is_file()
assert purejaxppo.__version__

import envs  # The user's own.

assert envs.MINE
for name in ("tests", "benchmarks"):
    assert importlib.util.find_spec(name) is None, name
sys.exit(cli.main(["list"]))
"""


def run(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by the build tools that are installed."""
    output = tmp_path_factory.mktemp("dist")
    options = ("--wheel", "--no-isolation", "--outdir", str(output))
    run("-m", "build", *options, str(ROOT))
    (built,) = output.glob("*.whl")
    return built


def test_wheel_holds_the_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    sources = (ROOT / "purejaxppo").rglob("*.py")
    pages = (ROOT / "purejaxppo/reporting/templates").iterdir()
    expected = {path.relative_to(ROOT).as_posix() for path in (*sources, *pages)}
    assert "purejaxppo/reporting/templates/page.html" in names
    assert names == expected | {"purejaxppo/py.typed"}


def test_wheel_works_beside_an_envs_package_of_the_user(wheel, tmp_path):
    target, home = tmp_path / "target", tmp_path / "home"
    (home / "envs").mkdir(parents=True)
    (home / "envs" / "__init__.py").write_text("MINE = True\n")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    run("-m", "pip", "install", *quiet, "--target", str(target), str(wheel))
    installed = {path.name.split("-")[0] for path in target.iterdir()}
    assert installed - {"bin", "Scripts"} == {"purejaxppo"}

    environment = {**os.environ, "PYTHONPATH": str(target)}
    script = home / "use.py"
    script.write_text(USE)
    printed = run(str(script), str(target), str(ROOT), cwd=home, env=environment)
    assert "gymnax/CartPole-v1" in printed.split()
