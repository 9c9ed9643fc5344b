"""Every field of the config by its rule, and every contradiction by its line."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.config.config import EXCLUDES, NEEDS, ORDERED
from purejaxppo.config.fields import FieldError, leaves, replace
from purejaxppo.config.techniques import KLPenalty, Piecewise

LEAVES = {leaf.name: leaf for leaf in leaves(ppo.Config)}

COUNT = [0, -5, 1.5, "many", True]
FLAG = [1, "yes"]
POSITIVE = [0.0, -1.0, float("nan"), float("inf"), "high", True]
NON_NEGATIVE = [-0.1, float("inf"), "high"]
SHARE = [-0.1, 1.1, np.float32(2)]
DECAY = [-0.1, 1.0, 1.5]
ANY = [float("nan"), float("-inf"), "low"]
KIND = ["nothing_like_it", 3, ppo.NetworkConfig()]
NAME = ["sideways", 1]


def each(names, values):
    return {name: list(values) for name in names}


BAD = {
    **each(
        [
            "total_timesteps",
            "num_envs",
            "num_steps",
            "num_epochs",
            "num_minibatches",
            "evaluation.every",
            "evaluation.num_episodes",
            "evaluation.max_steps",
            "advantage.n",
            "target.n",
            "trpo.num_iters",
            "trpo.num_backtracks",
            "network.sigma.every",
            "network.memory.size",
        ],
        [*COUNT, None],
    ),
    **each(["num_starts", "critic_epochs", "critic_warmup", "clip_grad.order"], COUNT),
    **each(["frame_stack", "sequence_length"], COUNT),
    **each(["evaluation.seed", "clip_grad.warmup"], [-1, 0.5, None]),
    **each(
        [
            "anneal_lr",
            "evaluation.deterministic",
            "transform_reward.sign",
            "recompute_advantages",
            "anneal_clip",
            "kl_penalty.adaptive",
            "vf_half",
            "network.layer_norm",
            "network.memory.layer_norm",
            "network.shared",
            "network.tanh_mean",
        ],
        [*FLAG, None],
    ),
    **each(
        [
            "adam_eps",
            "normalize_observation.clip",
            "normalize_observation.eps",
            "normalize_reward.clip",
            "normalize_reward.eps",
            "scale_advantage.value",
            "kl_penalty.high",
            "kl_penalty.low",
            "kl_penalty.up",
            "kl_penalty.down",
            "kl_penalty.max",
            "kl_stop.target",
            "kl_stop.factor",
            "kl_learning_rate.target",
            "kl_learning_rate.high",
            "kl_learning_rate.low",
            "kl_learning_rate.max",
            "trpo.max_kl",
            "normalize_value.eps",
            "normalize_value.clip",
            "normalize_value.min_std",
            "normalize_value.max_std",
            "transform_value.eps",
            "ent_schedule.decay",
            "ent_schedule.step",
            "clip_grad.max",
            "clip_grad.factor",
            "ent_schedule.max",
            "bounds_loss.bound",
            "network.init_std",
            "network.policy_gain",
            "network.value_gain",
            "network.sigma.value",
            "network.sigma.initial",
            "network.sigma.minimum",
        ],
        [*POSITIVE, None],
    ),
    **each(
        [
            "max_grad_norm",
            "clip_eps",
            "vf_clip_eps",
            "temperature",
            "advantage_min_std",
            "kl_penalty.target",
            "vf_huber",
            "actor_optimizer.adam_eps",
            "critic_optimizer.adam_eps",
            "shared_optimizer.adam_eps",
            "network.hidden_gain",
        ],
        POSITIVE,
    ),
    **each(
        [
            "learning_rate",
            "vf_coef",
            "ent_coef",
            "advantage_eps",
            "kl_penalty.coef",
            "kl_penalty.min",
            "kl_learning_rate.min",
            "trpo.damping",
            "ent_schedule.final",
            "bounds_loss.coef",
            "network.sigma.decay",
        ],
        [*NON_NEGATIVE, None],
    ),
    **each(
        [
            "min_learning_rate",
            "actor_optimizer.learning_rate",
            "actor_optimizer.weight_decay",
            "critic_optimizer.learning_rate",
            "critic_optimizer.weight_decay",
            "shared_optimizer.learning_rate",
            "shared_optimizer.weight_decay",
        ],
        NON_NEGATIVE,
    ),
    **each(["gamma", "gae_lambda"], [*SHARE, None]),
    **each(
        ["scale_advantage.decay", "normalize_value.decay", "clip_grad.decay"],
        [*DECAY, None],
    ),
    **each(
        [
            "transform_reward.shift",
            "transform_reward.scale",
            "network.log_std_init",
            "network.memory.forget_bias",
            "network.sigma.low",
            "network.sigma.high",
        ],
        [*ANY, None],
    ),
    **each(
        ["transform_reward.low", "transform_reward.high", "ent_schedule.target"], ANY
    ),
    **{name: KIND for name, leaf in LEAVES.items() if leaf.techniques},
    "network": ["mlp", 3, None],
    **{name: [*NAME, None] for name, leaf in LEAVES.items() if leaf.choices},
    "normalize_advantage": NAME,
    "advantage.baseline": NAME,
    "dual_clip": [1.0, 0.5, -3.0, float("nan"), "high"],
    "kl_learning_rate.factor": [1.0, 0.5, -1.0, None],
    "trpo.backtrack": [0.0, 1.0, -0.5, None],
    "ent_schedule.times": [(), (0.5, 0.2), (0.0, 2.0), (0.5, 0.5), ("a",), 0.5, None],
    "ent_schedule.factors": [(1.0, -1.0), (None, 1.0), 0.5, None],
    "network.widths": [(0,), (8, -1), (1.5,), 64, None],
    "network.autoregressive": [("1",), ("all", "1:0"), ("1:0:2",), (1,), "all", None],
}


def test_every_field_is_given_bad_values():
    assert set(BAD) == set(LEAVES)


def line(changes):
    """The one line with which a config is refused."""
    with pytest.raises(ValueError) as error:
        replace(ppo.Config(), changes)
    assert re.fullmatch(r"Expected [^\n]+\.", str(error.value)), str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_values_raise_one_line_with_field_rule_and_value(name):
    for kind in LEAVES[name].owners or [None]:
        technique = {name.rpartition(".")[0]: kind} if kind else {}
        for value in BAD[name]:
            message = line({**technique, name: value})
            got = re.escape(repr(value))
            pattern = rf"Expected {re.escape(name)} to .+, got {got}\."
            assert re.fullmatch(pattern, message), message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gamma": 1.5}, "Expected gamma to be in [0, 1], got 1.5."),
        (
            {"advantage.n": 0},
            "Expected advantage.n to be > 0, got 0.",
        ),
        (
            {"advantage": "nstep"},
            "Expected advantage to be one of one_step, n_step, reward_to_go, "
            "episode_return, got 'nstep'.",
        ),
        (
            {"normalize_observation": 1},
            "Expected normalize_observation to be ObservationNormalization or None, "
            "got 1.",
        ),
        (
            {"network.sigma.value": -1.0},
            "Expected network.sigma.value to be > 0, got -1.0.",
        ),
        (
            {"network.sigma.parametrization": "exp"},
            "Expected network.sigma.parametrization to be one of clamp, softplus, got "
            "'exp'.",
        ),
        (
            {"kl_penalty.target": None},
            "Expected kl_penalty.target to be given if adaptive, got None.",
        ),
        (
            {"ent_schedule.factors": (1.0, 0.5, 0.0)},
            "Expected ent_schedule.factors to hold as many numbers as times, 2, got "
            "(1.0, 0.5, 0.0).",
        ),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_the_lines_of_bad_values(changes, expected):
    assert line(changes) == expected


def test_a_subclass_of_a_technique_is_refused_wherever_one_is_taken():
    tried = 0
    for leaf in leaves(ppo.Config):
        for base in leaf.techniques.values():
            own = type("Mine", (base,), {"__doc__": "Not the base's formula."})()
            head, _, name = leaf.name.rpartition(".")
            owner: Any = ppo.NetworkConfig if head else ppo.Config
            rule = f"{name} to be no subclass of {base.__name__}, whose formula would "
            with pytest.raises(FieldError, match=re.escape(rule)):
                owner(**{name: own})
            tried += 1
    assert tried > 30


def test_techniques_made_by_hand_are_checked_too():
    with pytest.raises(ValueError, match=r"^Expected kl_penalty\.target .*adaptive"):
        KLPenalty(target=None)
    assert KLPenalty(target=None, adaptive=False).coef == 1
    with pytest.raises(ValueError, match=r"^Expected piecewise\.factors to hold"):
        Piecewise(times=(0.5,))
    with pytest.raises(ValueError, match=r"^Expected clip_eps to be > 0, got -0\.2"):
        ppo.Config(clip_eps=-0.2)


# --- Contradictions -----------------------------------------------------------------

BARE = {
    "anneal_lr": False,
    "clip_eps": None,
    "max_grad_norm": None,
    "normalize_advantage": None,
}
"""What is on by default, off."""

ON = {
    "actor_optimizer.learning_rate": 1e-3,
    "advantage_min_std": 1e-4,
    "clip_eps": 0.2,
    "critic_warmup": 1,
    "dual_clip": 3.0,
    "min_learning_rate": 1e-5,
    "network.autoregressive": ("all",),
    "normalize_advantage": "batch",
    "temperature": 0.5,
}
"""What switches a field on, where `True` does not."""


def with_on(*names):
    return {**BARE, **{name: ON.get(name, True) for name in names}}


HINTS = {"anneal_lr": "false", "clip_eps": "none", "normalize_advantage": "none"}
"""What is on without having been asked for, and what switches it off."""

PAIRS = {
    ("bounds_loss", "network.autoregressive"),
    ("bounds_loss", "network.tanh_mean"),
    ("kl_penalty", "network.autoregressive"),
    ("trpo", "network.autoregressive"),
    ("kl_learning_rate", "actor_optimizer.learning_rate"),
    ("kl_learning_rate", "anneal_lr"),
    ("normalize_value", "transform_value"),
    ("scale_advantage", "normalize_advantage"),
    ("temperature", "kl_learning_rate"),
    ("temperature", "kl_stop"),
    ("trpo", "actor_optimizer"),
    ("trpo", "clip_eps"),
    ("trpo", "critic_warmup"),
    ("trpo", "kl_learning_rate"),
    ("trpo", "kl_penalty"),
    ("trpo", "kl_stop"),
    ("trpo", "network.shared"),
}


def test_every_pair_of_the_config_is_tried():
    assert set(EXCLUDES) == PAIRS
    assert set(NEEDS) == ALONE
    assert set(ORDERED) == set(REVERSED)


@pytest.mark.parametrize(("one", "other"), sorted(PAIRS))
def test_fields_that_exclude_each_other(one, other):
    for name in (one, other):
        replace(ppo.Config(), with_on(name))
    expected = f"Expected at most one of {one} and {other}, got both"
    hint = f"; set {other} to {HINTS[other]}." if other in HINTS else "."
    assert line(with_on(one, other)) == expected + hint


ALONE = {
    ("advantage_min_std", "normalize_advantage"),
    ("anneal_clip", "clip_eps"),
    ("dual_clip", "clip_eps"),
    ("min_learning_rate", "anneal_lr"),
    ("shared_optimizer", "network.shared"),
}


@pytest.mark.parametrize(("one", "other"), sorted(ALONE))
def test_fields_that_need_another(one, other):
    replace(ppo.Config(), with_on(one, other))
    expected = f"Expected {one} only together with {other}, got it alone."
    assert line(with_on(one)) == expected


REVERSED = {
    ("", "min_learning_rate", "learning_rate"): (1e-3, 1e-3),
    ("kl_learning_rate", "low", "high"): (2.0, 0.5),
    ("kl_learning_rate", "min", "max"): (1e-2, 1e-3),
    ("kl_penalty", "low", "high"): (1.5, 1.5),
    ("kl_penalty", "min", "max"): (2.0, 1.0),
    ("network.sigma", "low", "high"): (2.0, -20.0),
    ("transform_reward", "low", "high"): (1.0, -1.0),
}
"""Technique, and the fields of it that are in order -> values that are not."""


@pytest.mark.parametrize(("name", "low", "high"), sorted(REVERSED))
def test_bounds_in_the_wrong_order(name, low, high):
    under, over = REVERSED[name, low, high]
    lower, upper = (f"{name}.{bound}".lstrip(".") for bound in (low, high))
    changes = {**BARE, "anneal_lr": not name, lower: under, upper: over}
    expected = f"Expected {lower} < {upper}, got {under} and {over}."
    assert line(changes) == expected
    traced = replace(ppo.Config(), {**changes, lower: jnp.float32(under)})
    assert isinstance(traced, ppo.Config)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"num_envs": 4, "num_steps": 16, "num_minibatches": 5},
            "Expected num_minibatches to divide num_envs * num_steps = 64, got 5.",
        ),
        (
            {"total_timesteps": 511},
            "Expected total_timesteps to be at least one batch, num_envs * num_steps "
            "= 512, got 511.",
        ),
        (
            {"shuffle": "trajectories", "num_envs": 2},
            "Expected num_minibatches to divide num_envs = 2 with shuffle = "
            "trajectories, got 4.",
        ),
        (
            {"total_timesteps": 1024, "critic_warmup": 2},
            "Expected critic_warmup to be below the run's 2 updates, got 2.",
        ),
        (
            {"vf_clip_mode": "clipped"},
            "Expected vf_clip_mode only together with vf_clip_eps, got it alone.",
        ),
        (
            {"clip_grad": "clip_norm"},
            "Expected at most one of clip_grad.clip_norm and max_grad_norm, got both; "
            "set max_grad_norm to none.",
        ),
        (
            {"grad_scope": "group", "max_grad_norm": None},
            "Expected grad_scope only with max_grad_norm or clip_grad, got it alone.",
        ),
        (
            {"ent_schedule": "entropy_target", "ent_coef": 0.0},
            "Expected ent_coef to be > 0 with ent_schedule.entropy_target, got 0.",
        ),
        (
            {"ent_schedule": "entropy_target", "network.sigma": "fixed_sigma"},
            "Expected ent_schedule.entropy_target only with a standard deviation that "
            "is learned, got network.sigma fixed or scheduled.",
        ),
        (
            {"network.sigma": "scheduled_sigma", "actor_optimizer.weight_decay": 0.1},
            "Expected at most one of network.sigma.scheduled_sigma and "
            "actor_optimizer.weight_decay, got both.",
        ),
        (
            {"kl_stop.scope": "policy", "network.shared": True},
            "Expected kl_stop.scope to be all with network.shared, whose critic moves "
            "the policy, got 'policy'.",
        ),
        *(
            (
                {"network.policy": "beta", name: value},
                f"Expected {name} to be off with network.policy = beta, got both.",
            )
            for name, value in (
                ("network.sigma", "fixed_sigma"),
                ("network.tanh_mean", True),
                ("bounds_loss", True),
            )
        ),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_contradictions(changes, expected):
    assert line(changes) == expected
    last = list(changes)[-1]
    replace(ppo.Config(), {k: v for k, v in changes.items() if k != last})


# --- Good input ---------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(), (8,), (8, 16, 4)])
def test_good_widths(widths):
    assert ppo.NetworkConfig(widths=widths).widths == widths


def test_derived_sizes():
    config = ppo.Config(
        total_timesteps=1000, num_envs=4, num_steps=16, num_minibatches=2
    )
    sizes = config.batch_size, config.minibatch_size, config.num_updates
    assert sizes == (64, 32, 15)


@pytest.mark.parametrize(
    ("changes", "groups", "pauses"),
    [
        ({}, False, False),
        ({"critic_optimizer.learning_rate": 1e-3}, True, False),
        ({"grad_scope": "group"}, True, False),
        ({"kl_stop.scope": "all"}, False, False),
        ({"kl_stop.scope": "policy"}, True, True),
        ({"critic_epochs": 4}, False, False),
        ({"critic_epochs": 5}, True, True),
        ({"critic_warmup": 1}, True, True),
        ({"trpo": True, "clip_eps": None}, True, True),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_what_needs_actor_and_critic_apart(changes, groups, pauses):
    config = replace(ppo.Config(), changes)
    assert (config.has_groups, config.pauses_a_part) == (groups, pauses)


def test_traced_values_and_arrays_pass_unchecked():
    assert ppo.Config(learning_rate=jnp.float32(-1)).learning_rate == -1
    jax.eval_shape(lambda x: ppo.Config(gamma=x) and x, 2.0)
    jax.eval_shape(lambda x: KLPenalty(target=x, min=x, max=x) and x, -1.0)
    jax.eval_shape(lambda x: Piecewise(times=(x, x), factors=(x, x)) and x, -1.0)
    with pytest.raises(ValueError, match="gamma"):
        replace(ppo.Config(), {"gamma": jnp.ones(2)})
