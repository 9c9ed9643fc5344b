"""Packages that only some commands need."""

import importlib.util


def check_installed(extra: str, *packages: str) -> None:
    """Refuse to begin without packages that are not installed with the library.

    Raises:
      ValueError: one is missing; with the extra that brings it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"Expected the package {package} to be installed, found none; "
                f'pip install "purejaxppo[{extra}]" brings it.'
            )
