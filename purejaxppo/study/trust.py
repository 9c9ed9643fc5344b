"""Code that a file names is imported only if it is the user's, or he allows it."""

import os
from pathlib import Path

from purejaxppo.study.store import ENVIRONMENT
from purejaxppo.suites import own


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
    return own.is_own(env) and not _is_users(env, config)


def _is_users(env: str, config: Path) -> bool:
    cwd, place = Path.cwd().resolve(), config.resolve().parent
    is_study = (place / ENVIRONMENT).exists()
    found = own.sources(env)
    return bool(found) and all(
        own.lies_in(path, cwd)
        and not (is_study and path.is_relative_to(place))
        and cwd.is_relative_to(os.path.commonpath([path.parent, place]))
        for path in found
    )
