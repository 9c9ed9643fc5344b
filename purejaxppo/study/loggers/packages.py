"""The packages of loggers, which are extras."""

import importlib.util


def require(package: str, logger: str) -> None:
    """Refuse to log without the package that does it; it is not imported yet.

    Raises:
      ValueError: the package, whose extra has its name, is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"Expected {package} to be installed for {logger}, found none: "
            f'pip install "purejaxppo[{package}]".'
        )
