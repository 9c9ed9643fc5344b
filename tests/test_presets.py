"""Presets against the published numbers of the systems that they are named after."""

import operator
import re

import jax
import pytest
from gymnasium import spaces

import purejaxppo as ppo
from purejaxppo.config import presets
from purejaxppo.config.fields import flatten, replace

MINIBATCHES_OF_64 = {"num_envs": 1, "batch_size": 2048, "minibatch_size": 64}
TANH_64 = {
    "network.widths": (64, 64),
    "network.activation": "tanh",
    "network.shared": False,
}

PUBLISHED = {
    "ppo2_mujoco": {
        **MINIBATCHES_OF_64,
        **TANH_64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "anneal_lr": True,
        "adam_eps": 1e-5,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "anneal_clip": False,
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "max",
        "squared error": 0.25,
        "ent_coef": 0.0,
        "normalize_advantage": "minibatch",
        "advantage_eps": 1e-8,
        "advantage": None,
        "target": None,
        "truncation": "none",
        "shuffle": "transitions",
        "recompute_advantages": False,
        "normalize_observation.clip": 10.0,
        "normalize_reward.kind": "reward_normalization",
        "normalize_reward.clip": 10.0,
        "network.log_std_init": 0.0,
        "network.sigma": None,
    },
    "ppo2_atari": {
        "num_envs": 8,
        "num_steps": 128,
        "num_minibatches": 4,
        "num_epochs": 4,
        "learning_rate": 2.5e-4,
        "anneal_lr": True,
        "adam_eps": 1e-5,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.1,
        "vf_clip_eps": 0.1,
        "vf_clip_mode": "max",
        "squared error": 0.25,
        "ent_coef": 0.01,
        "normalize_advantage": "minibatch",
        "truncation": "none",
        "transform_reward.sign": True,
        "normalize_observation": None,
        "network.shared": True,
    },
    "ppo1": {
        **MINIBATCHES_OF_64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "anneal_lr": True,
        "clip_eps": 0.2,
        "anneal_clip": True,
        "kl_penalty": None,
        "max_grad_norm": None,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "adam_eps": 1e-5,
        "normalize_advantage": "batch",
        "advantage_eps": 0.0,
        "vf_clip_eps": None,
        "squared error": 1.0,
        "ent_coef": 0.0,
        "truncation": "none",
        "normalize_reward": None,
    },
    "paper_clip": {
        **MINIBATCHES_OF_64,
        **TANH_64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "kl_penalty": None,
        "vf_clip_eps": None,
        "target": None,
        "ent_coef": 0.0,
    },
    "paper_penalty": {
        **MINIBATCHES_OF_64,
        "num_epochs": 10,
        "clip_eps": None,
        "vf_clip_eps": None,
        "kl_penalty.adaptive": True,
        "kl_penalty.target": 0.01,
        "kl_penalty.high": 1.5,
        "kl_penalty.low": 1 / 1.5,
        "kl_penalty.up": 2.0,
        "kl_penalty.down": 0.5,
    },
    "spinning_up": {
        **TANH_64,
        "num_envs": 1,
        "num_steps": 4000,
        "num_minibatches": 1,
        "num_epochs": 80,
        "critic_epochs": 80,
        "actor rate": 3e-4,
        "critic rate": 1e-3,
        "anneal_lr": False,
        "adam_eps": 1e-8,
        "gamma": 0.99,
        "gae_lambda": 0.97,
        "clip_eps": 0.2,
        "kl_stop.target": 0.01,
        "kl_stop.factor": 1.5,
        "kl_stop.estimator": "k1",
        "kl_stop.scope": "policy",
        "kl_stop.at": "minibatch",
        "max_grad_norm": None,
        "target.kind": "monte_carlo",
        "normalize_advantage": "batch",
        "advantage_eps": 0.0,
        "vf_clip_eps": None,
        "ent_coef": 0.0,
        "truncation": "final_obs",
        "normalize_value": None,
        "network.log_std_init": -0.5,
    },
    "sb3": {
        **MINIBATCHES_OF_64,
        **TANH_64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "anneal_lr": False,
        "adam_eps": 1e-5,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "vf_clip_eps": None,
        "squared error": 0.5,
        "ent_coef": 0.0,
        "normalize_advantage": "minibatch",
        "kl_stop": None,
        "truncation": "final_obs",
        "network.init": "orthogonal",
        "network.hidden_gain": 2**0.5,
        "network.policy_gain": 0.01,
        "network.value_gain": 1.0,
        "network.log_std_init": 0.0,
    },
    "cleanrl": {
        **TANH_64,
        "num_envs": 4,
        "num_steps": 128,
        "num_minibatches": 4,
        "num_epochs": 4,
        "learning_rate": 2.5e-4,
        "anneal_lr": True,
        "adam_eps": 1e-5,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "max",
        "squared error": 0.25,
        "ent_coef": 0.01,
        "normalize_advantage": "minibatch",
        "kl_stop": None,
        "truncation": "none",
    },
    "rllib": {
        "num_envs": 1,
        "minibatch_size": 128,
        "num_epochs": 30,
        "learning_rate": 5e-5,
        "anneal_lr": False,
        "adam_eps": 1e-8,
        "max_grad_norm": None,
        "gamma": 0.99,
        "gae_lambda": 1.0,
        "clip_eps": 0.3,
        "kl_penalty.coef": 0.2,
        "kl_penalty.target": 0.01,
        "kl_penalty.high": 2.0,
        "kl_penalty.up": 1.5,
        "kl_penalty.low": 0.5,
        "kl_penalty.down": 0.5,
        "vf_clip_mode": "error",
        "vf_clip_eps": 10.0,
        "squared error": 1.0,
        "ent_coef": 0.0,
        "normalize_advantage": "batch",
        "advantage_min_std": 1e-4,
    },
    "rl_games": {
        "anneal_lr": False,
        "kl_learning_rate.target": 0.008,
        "kl_learning_rate.high": 2.0,
        "kl_learning_rate.low": 0.5,
        "kl_learning_rate.factor": 1.5,
        "kl_learning_rate.min": 1e-6,
        "kl_learning_rate.max": 1e-2,
        "kl_learning_rate.at": "minibatch",
        "adam_eps": 1e-8,
        "max_grad_norm": 1.0,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "squared error": 1.0,
        "ent_coef": 0.0,
        "bounds_loss.form": "soft",
        "bounds_loss.bound": 1.1,
        "normalize_value.kind": "running_mean_std",
        "normalize_value.eps": 1e-5,
        "normalize_value.clip": 5.0,
        "normalize_observation.clip": 5.0,
        "normalize_observation.eps": 1e-5,
        "truncation": "current_value",
    },
    "dopamine": {
        "num_envs": 1,
        "num_steps": 2048,
        "num_epochs": 10,
        "anneal_lr": True,
        "adam_eps": 1e-5,
        "clip_eps": 0.2,
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "max",
        "vf_half": True,
        "shuffle": "none",
    },
    "acme": {
        "num_steps": 8,
        "num_envs": 256,
        "num_minibatches": 8,
        "num_epochs": 2,
        "gae_lambda": 0.95,
        "gamma": 0.99,
        "ent_coef": 3e-4,
        "vf_coef": 1.0,
        "adam_eps": 1e-7,
        "clip_eps": 0.2,
        "normalize_value.kind": "moving_mean_std",
        "normalize_value.decay": 0.995,
        "normalize_value.min_std": 1e-6,
        "normalize_advantage": None,
        "scale_advantage.kind": "mean_absolute",
    },
    "di_engine": {
        "batch_size": 3200,
        "minibatch_size": 64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "anneal_lr": False,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "max",
        "squared error": 0.25,
        "ent_coef": 0.0,
        "normalize_advantage": "minibatch",
        "recompute_advantages": True,
        "truncation": "none",
        "normalize_value.kind": "running_std",
        "dual_clip": None,
    },
    "ppo_pytorch": {
        "num_minibatches": 1,
        "num_epochs": 80,
        "actor rate": 3e-4,
        "critic rate": 1e-3,
        "anneal_lr": False,
        "max_grad_norm": None,
        "gamma": 0.99,
        "clip_eps": 0.2,
        "squared error": 0.5,
        "ent_coef": 0.01,
        "advantage.kind": "reward_to_go",
        "target.kind": "monte_carlo",
        "advantage_eps": 1e-7,
        "network.sigma.kind": "scheduled_sigma",
        "network.sigma.initial": 0.6,
        "network.sigma.decay": 0.05,
        "network.sigma.every": 250_000,
        "network.sigma.minimum": 0.1,
    },
    "dppo_morvan": {
        "num_envs": 4,
        "batch_size": 64,
        "num_minibatches": 1,
        "num_epochs": 10,
        "gamma": 0.9,
        "actor rate": 1e-4,
        "critic rate": 2e-4,
        "clip_eps": None,
        "kl_penalty.coef": 0.5,
        "kl_penalty.target": 0.01,
        "kl_penalty.high": 1.5,
        "kl_penalty.low": 1 / 1.5,
        "kl_penalty.up": 2.0,
        "kl_penalty.down": 0.5,
        "kl_penalty.min": 1e-4,
        "kl_penalty.max": 10.0,
        "kl_stop.target": 0.01,
        "kl_stop.factor": 4.0,
        "kl_stop.scope": "policy",
        "transform_reward.shift": 8.0,
        "transform_reward.scale": 1 / 8,
        "normalize_advantage": None,
        "ent_coef": 0.0,
        "network.tanh_mean": True,
        "network.sigma.kind": "state_sigma",
        "network.sigma.parametrization": "softplus",
    },
    "drl_code_pytorch": {
        **MINIBATCHES_OF_64,
        **TANH_64,
        "num_epochs": 10,
        "learning_rate": 3e-4,
        "anneal_lr": True,
        "adam_eps": 1e-5,
        "max_grad_norm": 0.5,
        "grad_scope": "group",
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "ent_coef": 0.01,
        "normalize_advantage": "batch",
        "advantage_eps": 1e-5,
        "normalize_reward.kind": "reward_normalization",
        "truncation": "final_obs",
        "network.tanh_mean": True,
        "network.policy": "gaussian",
        "network.init": "orthogonal",
        "network.hidden_gain": 1.0,
        "network.policy_gain": 0.01,
        "network.value_gain": 1.0,
    },
    "ppo_continuous_beta": {
        **MINIBATCHES_OF_64,
        "num_epochs": 10,
        "actor rate": 2e-4,
        "critic rate": 2e-4,
        "anneal_lr": False,
        "critic_optimizer.weight_decay": 2 * 1e-3,  # Of the loss term 1e-3 Σ θ².
        "max_grad_norm": 40.0,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_eps": 0.2,
        "ent_coef": 1e-3,
        "ent_schedule.kind": "exponential",
        "ent_schedule.decay": 0.99,
        "normalize_advantage": "batch",
        "advantage_eps": 1e-4,
        "network.policy": "beta",
        "network.widths": (150, 150),
        "network.activation": "tanh",
    },
    "trpo": {
        "num_envs": 1,
        "batch_size": 1024,
        "trpo.max_kl": 0.01,
        "trpo.num_iters": 10,
        "trpo.damping": 0.1,
        "gamma": 0.99,
        "gae_lambda": 0.98,
        "num_epochs": 5,
        "learning_rate": 1e-3,
        "anneal_lr": False,
        "clip_eps": None,
        "ent_coef": 0.0,
        "normalize_advantage": "batch",
    },
}
"""Numbers of the systems' papers and code; "squared error" is the factor of it."""


def figures(config):
    """A preset by dotted name, and what follows from several of its fields."""
    flat = flatten(config)
    common = config.learning_rate
    actor, critic = (
        flat.get(f"{part}_optimizer.learning_rate") or common
        for part in ("actor", "critic")
    )
    return {
        **flat,
        "batch_size": config.batch_size,
        "minibatch_size": config.minibatch_size,
        "squared error": config.vf_coef * (0.5 if config.vf_half else 1.0),
        "actor rate": actor,
        "critic rate": critic,
    }


def test_presets_are_those_that_were_asked_for():
    assert list(presets.PRESETS) == list(PUBLISHED)
    for name, preset in presets.PRESETS.items():
        assert preset is getattr(presets, name)
        assert presets.make_preset(name) == preset()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_its_system_s_numbers(name):
    own = figures(presets.make_preset(name))
    got = {field: own.get(field, "absent") for field in PUBLISHED[name]}
    assert got == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_says_what_it_is_and_what_it_leaves_out(name):
    text = presets.PRESETS[name].__doc__ or ""
    assert re.search("Left out: |leaves out", text)
    assert text.splitlines()[0].endswith(".")


def test_unknown_presets_give_the_nearest():
    with pytest.raises(ValueError, match=r"^Unknown preset 'sb_3'; nearest: sb3\.$"):
        presets.make_preset("sb_3")


@pytest.fixture(scope="module")
def envs():
    return {name: ppo.make(name) for name in ("Pendulum-v1", "CartPole-v1")}


SMALL = {"num_envs": 2, "num_steps": 8, "num_minibatches": 2, "total_timesteps": 32}


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_trains_on_both_kinds_of_actions(name, env_id, envs):
    env, env_params = envs[env_id]
    preset = presets.make_preset(name, env.action_space(env_params))
    few = {name: 2 for name in ("num_epochs", "critic_epochs") if getattr(preset, name)}
    config = replace(preset, {**SMALL, **few, "network.widths": (4,)})
    ppo.make_ppo(preset, env, env_params)  # In its own sizes it is sound, too.
    train = jax.jit(ppo.make_train(config, env, env_params))
    metrics = train(jax.random.key(0)).metrics
    assert metrics.finite.all() and metrics.finite.shape == (2,)


def box_only(config):
    """The values of the fields that are for a Box of actions."""
    get = operator.attrgetter
    return {name: get(name)(config) for name in presets.BOX_ONLY}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_leaves_out_what_is_for_a_box_only_without_one(name):
    discrete = spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)])
    hybrid = spaces.Dict(a=discrete, b=spaces.Box(-1, 1, (2,)))
    preset, without = presets.make_preset(name), presets.make_preset(name, discrete)
    assert presets.make_preset(name, hybrid) == preset
    assert box_only(without) == box_only(ppo.Config())
    assert replace(without, box_only(preset)) == preset  # Nothing else changes.
    text = " ".join((presets.PRESETS[name].__doc__ or "").split())
    assert ("Without a Box of actions: " in text) == (without != preset)


def test_without_its_action_space_a_preset_keeps_what_is_for_a_box(envs):
    with pytest.raises(ValueError, match=r"^Expected bounds_loss [^\n]+\.$"):
        ppo.make_ppo(presets.rl_games(), *envs["CartPole-v1"])
