"""Environment suites: one adapter a file, imported only when asked for."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from purejaxppo.environments import Environment, EnvParams
from purejaxppo.fields import nearest

SUITES: Mapping[str, str] = MappingProxyType({"gymnax": "purejaxppo.suites.gymnax"})
"""Suite name -> module with `env_ids()` and `make(env_id)`."""


def make(env_id: str) -> tuple[Environment, EnvParams]:
    """Make an environment by id: `"CartPole-v1"` or `"gymnax/CartPole-v1"`.

    Returns:
      The environment and its default parameters.

    Raises:
      ValueError: the suite or the environment is unknown (with the nearest names), or
        the environment cannot be made.
    """
    suite, _, name = env_id.rpartition("/")
    suite = suite or "gymnax"
    if suite not in SUITES:
        raise ValueError(
            f"Unknown suite {suite!r} in {env_id!r}; {nearest(suite, SUITES)}."
        )
    module = importlib.import_module(SUITES[suite])
    if name not in module.env_ids():
        raise ValueError(
            f"Unknown environment {env_id!r}; {nearest(name, module.env_ids())}."
        )
    env = module.make(name)
    return env, env.default_params


def env_ids() -> tuple[str, ...]:
    """Ids of all environments of all suites, as `suite/name`."""
    return tuple(
        f"{suite}/{name}"
        for suite, module in SUITES.items()
        for name in importlib.import_module(module).env_ids()
    )


def adapt(env: Any) -> Environment:
    """`env` as an `Environment`: itself, or a raw gymnax object behind our adapter.

    Raises:
      TypeError: `env` is neither.
    """
    if hasattr(env, "step_env") and hasattr(env, "reset_env"):
        from purejaxppo.suites.gymnax import Gymnax

        return Gymnax(env)
    if not isinstance(env, Environment):
        missing = [
            name
            for name in (
                "default_params",
                "reset",
                "step",
                "observation_space",
                "action_space",
            )
            if not hasattr(env, name)
        ]
        raise TypeError(
            f"Expected env to be an Environment or a gymnax environment, got "
            f"{type(env).__name__}, which lacks {', '.join(missing)}."
        )
    return env
