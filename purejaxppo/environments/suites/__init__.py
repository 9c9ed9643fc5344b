"""Environment suites: one adapter a file, imported only when asked for."""

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gymnasium

from purejaxppo.config.fields import nearest
from purejaxppo.environments.protocol import Environment, EnvParams
from purejaxppo.environments.suites import custom
from purejaxppo.environments.wrappers import Wrapper

SUITES: Mapping[str, str] = MappingProxyType(
    {"gymnax": "purejaxppo.environments.suites.gymnax"}
)
"""Suite name -> module with `env_ids()` and `make(env_id)`."""

METHODS = ("reset", "step", "observation_space", "action_space")
"""What an environment does, beside having `default_params`."""


def make(env_id: str) -> tuple[Environment, EnvParams]:
    """Make an environment by id: `"CartPole-v1"` or `"gymnax/CartPole-v1"`.

    One's own are `"module:Object"`, with the current directory on Python's path, or
    `"path/to/file.py:Object"`. The object is an environment, or a class or function
    that makes one without arguments; or that with its parameters as a pair.

    Returns:
      The environment and its default parameters.

    Raises:
      ValueError: the suite or the environment is unknown (with the nearest names), or
        the environment cannot be made.
    """
    if custom.is_own(env_id):
        return _make_own(env_id)
    suite, _, name = env_id.rpartition("/")
    suite = suite or "gymnax"
    if suite not in SUITES:
        raise ValueError(
            f"Unknown suite {suite!r} in {env_id!r}; {nearest(suite, SUITES)}."
        )
    module = importlib.import_module(SUITES[suite])
    if name not in module.env_ids():
        raise ValueError(
            f"Unknown environment {env_id!r}; {nearest(name, module.env_ids())}; one's "
            "own is module:Object or file.py:Object."
        )
    env = module.make(name)
    return env, env.default_params


def _make_own(env_id: str) -> tuple[Environment, EnvParams]:
    made, params = custom.load(env_id), None
    if type(made) is tuple and len(made) == 2:
        made, params = made
    with custom.blamed(f"Making {env_id}"):
        defaults = getattr(made, "default_params", None)
    try:
        env = adapt(made, env_id)
    except TypeError as error:
        raise ValueError(str(error)) from None
    if params is None:
        return env, defaults
    return Configured(env, params), params


class Configured(Wrapper):
    """An environment with other default parameters than its own."""

    def __init__(self, env: Environment, default_params: EnvParams) -> None:
        super().__init__(env)
        self._default_params = default_params

    @property
    def default_params(self) -> EnvParams:
        """What was given."""
        return self._default_params


def env_ids() -> tuple[str, ...]:
    """Ids of all environments of all suites, as `suite/name`."""
    return tuple(
        f"{suite}/{name}"
        for suite, module in SUITES.items()
        for name in importlib.import_module(module).env_ids()
    )


def adapt(env: Any, name: str = "env") -> Environment:
    """Return `env` as an `Environment`: itself, or an object of gymnax in an adapter.

    Messages call it `name`.

    Raises:
      TypeError: `env` is neither.
      ValueError: a gymnax wrapper cannot be played as it is.
    """
    if isinstance(env, tuple) and len(env) == 2 and hasattr(env[0], "step"):
        raise TypeError(
            f"{name} is a pair of an environment and its parameters, as make returns "
            f"it; pass both: make_train(config, *{name})."
        )
    if isinstance(env, type):
        raise TypeError(
            f"{name} is the class {env.__name__}; pass an instance: {env.__name__}()."
        )
    with custom.blamed(f"Reading the attributes of {name}"):
        fits = isinstance(env, Environment)
    if not fits:
        missing = [
            part for part in ("default_params", *METHODS) if not hasattr(env, part)
        ]
        outside = isinstance(env, gymnasium.Env | gymnasium.vector.VectorEnv)
        hint = " and is not of JAX" if outside else ""
        raise TypeError(
            f"Expected {name} to be an Environment or a gymnax environment, got "
            f"{type(env).__name__}, which lacks {', '.join(missing)}{hint}."
        )
    for method in METHODS:
        if not callable(getattr(env, method)):
            kind = type(getattr(env, method)).__name__
            raise TypeError(f"Expected {name}.{method} to be a method, got {kind}.")
    if is_gymnax(env):
        from purejaxppo.environments.suites.wrapped_gymnax import adapt_gymnax

        return adapt_gymnax(env)
    return env


def is_gymnax(env: Any) -> bool:
    """Return whether an object is a gymnax environment, or a wrapper in its style."""
    wrappers: Any = sys.modules.get("gymnax.wrappers.purerl")
    is_wrapper = wrappers is not None and isinstance(env, wrappers.GymnaxWrapper)
    return is_wrapper or hasattr(env, "step_env")
