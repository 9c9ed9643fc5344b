"""What every field of the config can be, and a small job on which it matters.

The fields are walked, so that a new one without a case here fails.
"""

from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import purejaxppo as ppo
from envs.probes import CountingParams, Cut, Identity
from purejaxppo.config.fields import leaves, replace

jit = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": False})
"""Compiles in a third of the time, for programs that run for milliseconds."""

LEAVES = {leaf.name: leaf for leaf in leaves(ppo.Config)}
FLOATS = (float, float | None, tuple[float, ...])

SMALL = ppo.Config(
    total_timesteps=6 * 32,
    num_envs=4,
    num_steps=8,
    num_epochs=2,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=()),
)


class Walk(Cut):
    """Observations of one episode length, rewards for any of two numbers as action."""

    def step(self, key, state, action, params):
        reward = -jnp.sum(jnp.square(action - 0.5))
        return super().step(key, state, action, params)._replace(reward=reward)

    def action_space(self, params):
        return Identity().action_space(params)


class Hybrid(Walk):
    """`Walk` by a hybrid action: its first part says whether the second counts."""

    def step(self, key, state, action, params):
        return super().step(key, state, action[0] * action[1], params)

    def action_space(self, params):
        kind = gymnasium.spaces.Discrete(2)
        return gymnasium.spaces.Tuple([kind, super().action_space(params)])


class Screen(Hybrid):
    """`Hybrid` seen on a screen that has one brightness all over."""

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return jnp.broadcast_to(obs, (36, 36, 1)), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=jnp.broadcast_to(step.obs, (36, 36, 1)))

    def observation_space(self, params):
        return gymnasium.spaces.Box(0.0, 1.0, (36, 36, 1), np.float32)


def train(config, key, env=None):
    return ppo.make_train(config, env or Walk(), CountingParams(5))(key)


GROUPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": (
        {
            "anneal_clip": True,
            "clip_grad": "clip_value",
            "ent_schedule": "linear",
            "network.widths": (8,),
            "normalize_reward": "reward_normalization",
            "normalize_value": "running_mean_std",
        },
        {
            "adam_eps": 1e-2,
            "advantage_eps": 0.1,
            "clip_eps": 0.2,
            "clip_grad.max": 0.05,
            "dual_clip": 1.01,
            "ent_coef": 0.01,
            "ent_schedule.final": 0.2,
            "gae_lambda": 0.8,
            "gamma": 0.9,
            "learning_rate": 3e-2,
            "max_grad_norm": 0.1,
            "min_learning_rate": 2e-2,
            "network.hidden_gain": 1.4,
            "network.log_std_init": -1.0,
            "network.policy_gain": 0.1,
            "network.value_gain": 1.0,
            "normalize_observation.clip": 0.5,
            "normalize_observation.eps": 0.1,
            "normalize_reward.clip": 0.5,
            "normalize_reward.eps": 0.1,
            "normalize_value.clip": 0.5,
            "normalize_value.eps": 0.1,
            "temperature": 0.7,
            "transform_reward.high": -0.1,
            "transform_reward.low": -0.5,
            "transform_reward.scale": 0.5,
            "transform_reward.shift": 0.1,
            "vf_clip_eps": 0.1,
            "vf_coef": 0.5,
            "vf_huber": 0.3,
        },
    ),
    "penalty": (
        {
            "clip_eps": None,
            "clip_grad": "ignore_norm",
            "ent_schedule": "exponential",
            "kl_stop.at": "epoch",
            "max_grad_norm": None,
            "network.init": "normal",
            "network.sigma": "state_sigma",
            "normalize_reward": "reward_standardization",
            "normalize_value": "moving_mean_std",
        },
        {
            "actor_optimizer.adam_eps": 1e-2,
            "actor_optimizer.learning_rate": 0.1,
            "actor_optimizer.weight_decay": 0.1,
            "advantage_min_std": 2.0,
            "clip_grad.max": 0.5,
            "critic_optimizer.adam_eps": 1e-2,
            "critic_optimizer.learning_rate": 0.1,
            "critic_optimizer.weight_decay": 0.1,
            "ent_coef": 0.1,
            "ent_schedule.decay": 0.7,
            "kl_penalty.coef": 1.0,
            "kl_penalty.down": 0.5,
            "kl_penalty.high": 1.5,
            "kl_penalty.low": 0.7,
            "kl_penalty.max": 1.7,
            "kl_penalty.min": 0.5,
            "kl_penalty.target": 0.01,
            "kl_penalty.up": 2.0,
            "kl_stop.factor": 1.5,
            "kl_stop.target": 0.01,
            "network.init_std": 0.3,
            "network.sigma.high": 0.1,
            "network.sigma.low": -0.1,
            "normalize_reward.clip": 0.5,
            "normalize_reward.eps": 0.1,
            "normalize_value.decay": 0.9,
            "normalize_value.min_std": 2.0,
        },
    ),
    "adaptive": (
        {
            "anneal_lr": False,
            "clip_grad": "clip_momentum",
            "clip_grad.warmup": 2,
            "ent_schedule": "entropy_target",
            "network.shared": True,
            "network.widths": (8,),
            "normalize_advantage": None,
            "normalize_value": "pop_art",
            "scale_advantage": "mean_absolute",
        },
        {
            "bounds_loss.bound": 0.1,
            "bounds_loss.coef": 0.1,
            "clip_grad.decay": 0.9,
            "clip_grad.factor": 1.0,
            "ent_coef": 0.1,
            "ent_schedule.max": 0.15,
            "ent_schedule.step": 0.1,
            "ent_schedule.target": 5.0,
            "kl_learning_rate.factor": 1.5,
            "kl_learning_rate.high": 2.0,
            "kl_learning_rate.low": 0.5,
            "kl_learning_rate.max": 4e-2,
            "kl_learning_rate.min": 2e-2,
            "kl_learning_rate.target": 1e-3,
            "normalize_value.decay": 0.9,
            "normalize_value.max_std": 1e6,
            "normalize_value.min_std": 1e-4,
            "scale_advantage.decay": 0.9,
            "shared_optimizer.adam_eps": 1e-2,
            "shared_optimizer.learning_rate": 0.1,
            "shared_optimizer.weight_decay": 0.1,
        },
    ),
    "scheduled": (
        {
            "clip_grad": "clip_norm",
            "ent_schedule": "piecewise",
            "learning_rate": 3e-2,
            "max_grad_norm": None,
            "network.memory": "lstm",
            "network.memory.size": 8,
            "network.policy": "tanh_gaussian",
            "network.sigma": "scheduled_sigma",
            "network.sigma.every": 32,
            "normalize_advantage": None,
            "scale_advantage": "constant_scale",
            "transform_value": "signed_hyperbolic",
        },
        {
            "clip_grad.max": 0.1,
            "ent_coef": 0.1,
            "ent_schedule.factors": (1.0, 0.1),
            "ent_schedule.times": (0.1, 0.6),
            "network.memory.forget_bias": 1.0,
            "network.sigma.decay": 0.2,
            "network.sigma.initial": 0.6,
            "network.sigma.minimum": 0.1,
            "scale_advantage.value": 2.0,
            "transform_value.eps": 0.1,
        },
    ),
    "trpo": (
        {
            "clip_grad": "ignore_value",
            "clip_eps": None,
            "network.policy": "tanh_gaussian",
            "network.sigma": "fixed_sigma",
            "normalize_value": "running_std",
        },
        {
            "clip_grad.max": 1.0,
            "network.sigma.value": 0.5,
            "normalize_value.eps": 0.1,
            "trpo.backtrack": 0.5,
            "trpo.damping": 0.01,
            "trpo.max_kl": 5.0,
        },
    ),
}
"""Name -> what is on, and every float of it where a change can be seen."""


def base(group):
    on, numbers = GROUPS[group]
    return replace(SMALL, {**on, **numbers})


NEEDED = {
    "advantage_min_std": {"normalize_advantage": "minibatch"},
    "clip_grad": {"max_grad_norm": None},
    "kl_learning_rate": {"anneal_lr": False},
    "network.activation": {"network.widths": (8,)},
    "network.hidden_gain": {"network.widths": (8,)},
    "network.layer_norm": {"network.widths": (8,)},
    "network.shared": {"network.widths": (8,)},
    "sequence_length": {"network.memory": "lstm"},
    "min_learning_rate": {"learning_rate": 3e-2},
    "scale_advantage": {"normalize_advantage": None},
    "shared_optimizer": {"network.shared": True, "network.widths": (8,)},
    "trpo": {"clip_eps": None},
    "vf_clip_mode": {"vf_clip_eps": 0.2},
}
"""Field, or technique -> what else must be so for it to matter."""

WHOLE = {
    "advantage.n": [3, 4],
    "clip_grad.order": [1, 2],
    "clip_grad.warmup": [0, 9],
    "critic_epochs": [1, 3],
    "critic_warmup": [1, 2],
    "evaluation.every": [1, 2],
    "evaluation.max_steps": [6, 7],
    "evaluation.num_episodes": [2, 3],
    "evaluation.seed": [0, 1],
    "frame_stack": [2, 3],
    "network.autoregressive": [(), ("all",)],
    "network.memory.size": [4, 8],
    "network.sigma.every": [32, 64],
    "network.widths": [(), (8,), (8, 8)],
    "num_envs": [2, 4],
    "num_epochs": [1, 2],
    "num_minibatches": [1, 2],
    "num_starts": [1, 2],
    "num_steps": [4, 8],
    "sequence_length": [2, 4],
    "target.n": [3, 4],
    "total_timesteps": [96, 128],
    "trpo.num_backtracks": [5, 6],
    "trpo.num_iters": [5, 6],
}
"""Values of the fields of whole numbers, beside none."""

NUMBERS = {name: x for _, numbers in GROUPS.values() for name, x in numbers.items()}


def values(leaf):
    """All that a field can be, as far as it is static: a number counts as one value."""
    off = [None] if leaf.optional else []
    if leaf.kind in FLOATS:
        return [*off, NUMBERS[leaf.name]]
    if leaf.kind is bool:
        return [False, True]
    return [*off, *(leaf.choices or leaf.techniques or WHOLE[leaf.name])]


SAME = {"network", "kl_penalty.target"}
"""What is always on; and what may be none only where it is not looked at."""

STATIC = [
    (name, kind)
    for name, leaf in LEAVES.items()
    if name not in SAME and len(values(leaf)) > 1
    for kind in leaf.owners or [None]
]
"""Fields with several values, and the technique that has them where there are many."""


def needed(name):
    return {
        field: value
        for head, changes in NEEDED.items()
        if f"{name}.".startswith(f"{head}.")
        for field, value in changes.items()
    }


def changes(name, kind, value):
    """What sets a field, with all that it needs to matter."""
    technique = {} if kind is None else {name.rpartition(".")[0]: kind}
    return needed(name) | technique | {name: value}
