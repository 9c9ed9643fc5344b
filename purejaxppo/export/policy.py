"""A policy as one function of plain arrays, with all that it takes to call it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxppo.environments.protocol import make_reset
from purejaxppo.export.array_names import fill, flat_names
from purejaxppo.study import Loaded
from purejaxppo.study.grids import env_fields

Arrays = dict[str, np.ndarray]
"""Dotted name -> array."""


class PortablePolicy(NamedTuple):
    """One run's policy, from a study or from an exported directory.

    Attributes:
      call: (params, obs `[N, ...]`, memory `[N, ...]`, key) -> (the most likely action,
        a sampled one, memory after `obs`). The key is raw, an array of uint32; actions
        are as the environment gets them.
      params: parameters, observation statistics and the critic's scale.
      memory: of one episode at its start, `[...]`; empty of a policy without one.
      facts: what is known of it: `env`, those `env_params` that are not its defaults,
        `frame_stack`, `batch` (N, if it is fixed), the run's number and `seed`, the
        `updates` that it learned from, whether all of `params` are `finite`, and so on.
    """

    call: Callable[..., Any]
    params: Arrays
    memory: Arrays
    facts: dict[str, Any]


def make_portable(loaded: Loaded, run: int) -> PortablePolicy:
    """One run's policy from a study that was loaded.

    Raises:
      ValueError: there is no such run, or two arrays have the same name.
    """
    ppo, policy, start = loaded.ppo, loaded.policy(run), loaded.ppo.init_memory(1)

    def call(params: Any, obs: Any, memory: Any, key: Any) -> tuple[Any, Any, Any]:
        state = type(policy)(**fill(policy._asdict(), params))
        before = fill(start, memory, "memory")
        greedy, after = ppo.act(state, obs, before)
        sampled, _ = ppo.act(state, obs, before, jax.random.wrap_key_data(key))
        return greedy, sampled, flat_names(after, "memory")

    params = {k: np.asarray(x) for k, x in flat_names(policy._asdict()).items()}
    memory = flat_names(start, "memory")
    finite = all(np.isfinite(x).all() for x in params.values())
    return PortablePolicy(
        call=call,
        params=params,
        memory={name: np.asarray(x[0]) for name, x in memory.items()},
        facts={**_facts(loaded, run), "finite": finite},
    )


def batched(memory: Arrays, size: int) -> Arrays:
    """The memory of `size` episodes at their start, `[size, ...]`."""
    return {name: np.repeat(x[None], size, axis=0) for name, x in memory.items()}


def seen(loaded: Loaded) -> Any:
    """Shapes and types of one observation, as the policy sees it."""
    reset = make_reset(loaded.ppo.env, loaded.env_params)
    return jax.eval_shape(lambda key: reset(key).obs, jax.random.key(0))


def _facts(loaded: Loaded, run: int) -> dict[str, Any]:
    study, env, params = loaded.study, loaded.ppo.env, loaded.env_params
    return {
        "env": study.job.env,
        "env_params": _changed(params, env.default_params),
        "frame_stack": study.config.frame_stack,
        "run": loaded.setting * study.num_seeds + run,
        "seed": int(study.seeds[run]),
        "updates": loaded.updates,
        "env_steps": loaded.updates * study.config.batch_size,
        "observation_space": repr(env.observation_space(params)),
        "action_space": repr(env.action_space(params)),
        "batch": None,
    }


def _changed(params: Any, default: Any) -> dict[str, Any]:
    """The environment's parameters that are numbers, and other ones than its own."""
    usual = env_fields.flatten(default)
    return {
        name: np.asarray(value).tolist()
        for name, value in env_fields.flatten(params).items()
        if env_fields.kind_of(value) is not None
        and not np.array_equal(value, usual.get(name, np.nan))
    }
