"""Code that a file names is imported only if it is the user's, or he allows it."""

import os
from pathlib import Path

from purejaxppo.environments.suites import custom
from purejaxppo.study.storage.files import ENVIRONMENT


def check_code(env: str, config: Path, trust_code: bool) -> None:
    """Raise if a config file names code that may have come with it.

    The user's own is what lies in the current directory, but for what lies in a study's
    directory beside its config, or shares with the config a folder below the current
    directory: an archive that was unpacked there holds both.

    Args:
      env: the environment that the file names, by its id.
      config: the file.
      trust_code: whether the user allows it.

    Raises:
      ValueError: naming the code, and what allows it.
    """
    if needs_trust(env, config) and not trust_code:
        raise ValueError(
            f"{config} names code, {env}, which would be imported and run; if you "
            "trust it, pass --trust-code, or trust_code=True in Python."
        )


def needs_trust(env: str, config: Path) -> bool:
    """Return whether an environment that a config file names is code of others."""
    return custom.is_own(env) and not _is_users(env, config)


def _is_users(env: str, config: Path) -> bool:
    cwd, found = Path.cwd().resolve(), custom.sources(env)
    # A config file may be a link: both folders may have come with the code.
    places = config.parent.resolve(), config.resolve().parent
    return bool(found) and all(
        custom.lies_in(path, cwd) and not _came_with(path, place, cwd)
        for path in found
        for place in places
    )


def _came_with(code: Path, place: Path, cwd: Path) -> bool:
    """Whether code may have come with a config file that lies in a place."""
    in_study = (place / ENVIRONMENT).exists() and code.is_relative_to(place)
    both = os.path.commonpath([code.parent, place])
    return in_study or not cwd.is_relative_to(both)
