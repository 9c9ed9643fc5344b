"""All techniques: each number can be traced, each choice is a program, off is absent.

The fields are walked, so that a new one without a case here fails.
"""

import functools
import re
from collections import Counter
from functools import partial
from typing import Any

import chex
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import purejaxppo as ppo
from envs.probes import Counting, CountingParams, Cut, Identity
from purejaxppo import losses
from purejaxppo.environments import make_reset, make_step
from purejaxppo.fields import flatten, leaves, replace
from purejaxppo.permutations import draw_permutations
from purejaxppo.rollouts import rollout
from purejaxppo.schedules import linear

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


# --- Numbers ------------------------------------------------------------------------

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

OTHER = {
    "kl_learning_rate.high": 100.0,
    "kl_learning_rate.low": 0.02,
    "kl_learning_rate.target": 1.0,
    "kl_penalty.high": 100.0,
    "kl_penalty.low": 0.01,
    "kl_penalty.target": 1.0,
    "kl_stop.factor": 1e3,
    "kl_stop.target": 10.0,
    "normalize_value.max_std": 1e-2,
    "normalize_value.min_std": 10.0,
    "vf_clip_eps": 0.02,
}
"""Values for those floats that 0.7 times their own do not show."""


def base(group):
    on, numbers = GROUPS[group]
    return replace(SMALL, {**on, **numbers})


def paths(group):
    """What each entry of a group's matrix is: a field, and its place in a tuple."""
    leaves = jax.tree_util.tree_leaves_with_path(GROUPS[group][1])
    return [path[0].key + "".join(map(str, path[1:])) for path, _ in leaves]


def variants(group):
    """The group's numbers as rows: as they are, each one changed, and as they are."""
    numbers = GROUPS[group][1]
    start, unravel = ravel_pytree(numbers)
    other, _ = ravel_pytree(
        {k: OTHER.get(k, jax.tree.map(lambda x: 0.7 * x, numbers[k])) for k in numbers}
    )
    rows = np.tile(np.asarray(start), (start.size + 2, 1))
    np.fill_diagonal(rows[1:-1], other)
    return jnp.asarray(rows), unravel


@functools.cache
def sweep(group):
    """One program for all floats of a group: its runs in one batch."""
    rows, unravel = variants(group)

    @chex.assert_max_traces(n=1)
    def run(row):
        return train(replace(base(group), unravel(row)), jax.random.key(0))

    result = jit(jax.vmap(run))(rows)
    chex.clear_trace_counter()
    return result, [jax.tree.map(lambda x, i=i: x[i], result) for i in range(len(rows))]


def params(result):
    return ravel_pytree(result.state.params)[0]


def assert_same_run(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, np.floating):
            np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-4)


def test_every_float_of_every_technique_is_swept():
    swept = set()
    for group, (_, numbers) in GROUPS.items():
        kinds = flatten(base(group))
        swept |= {(n, kinds.get(n.rpartition(".")[0] + ".kind")) for n in numbers}
    assert swept == {
        (leaf.name, kind)
        for leaf in LEAVES.values()
        if leaf.kind in FLOATS
        for kind in leaf.owners or [None]
    }


@pytest.mark.parametrize("group", GROUPS)
def test_traced_floats_give_what_python_floats_give(group):
    batched, runs = sweep(group)
    assert batched.metrics.finite.all()
    alone = jit(lambda key: train(base(group), key))(jax.random.key(0))
    assert_same_run(runs[0], alone)


def test_a_run_of_a_batch_is_what_it_is_alone():
    rows, unravel = variants("scheduled")
    alone = jit(
        lambda row: train(replace(base("scheduled"), unravel(row)), jax.random.key(0))
    )
    for row, run in zip(rows, sweep("scheduled")[1], strict=True):
        assert_same_run(run, alone(row))


@pytest.mark.parametrize(
    "group, i", [(group, i) for group in GROUPS for i in range(len(paths(group)))]
)
def test_a_float_changes_what_is_learned(group, i):
    _, (start, *changed, same) = sweep(group)
    np.testing.assert_allclose(params(same), params(start), rtol=0, atol=1e-6)
    assert np.abs(params(changed[i]) - params(start)).max() > 1e-5, paths(group)[i]


# --- Choices ------------------------------------------------------------------------

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


def configs(name, kind):
    """A config for each value of a field, the same but for it."""
    start = replace(SMALL, changes(name, kind, values(LEAVES[name])[-1]))
    return [replace(start, {name: value}) for value in values(LEAVES[name])]


def env_of(name):
    """An environment on which a field matters."""
    if name.startswith("network.conv"):
        return Screen()
    return Hybrid() if name in ("ratio", "network.autoregressive") else None


@functools.cache
def program(config, env=None):
    return jax.make_jaxpr(lambda key: train(config, key, env))(jax.random.key(0))


def text(config, program=program, env=None):
    """What is traced, without the addresses that some of its parameters print."""
    return re.sub(r"0x[0-9a-f]+", "", str(program(config, env)))


def primitives(jaxpr):
    """How often each primitive occurs, in loops and calls too."""
    counts = Counter()
    for equation in jaxpr.eqns:
        counts[equation.primitive.name] += 1
        for x in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(x, "jaxpr", x)
            if hasattr(inner, "eqns"):
                counts += primitives(inner)
    return counts


def test_every_static_field_has_values():
    names = {name for name, _ in STATIC} | SAME
    numbers = {n for n, leaf in LEAVES.items() if leaf.kind in FLOATS}
    assert names | numbers == set(LEAVES)


@pytest.mark.parametrize("name, kind", STATIC)
def test_each_value_of_a_static_field_is_a_program_of_its_own(name, kind):
    env = env_of(name)
    programs = [text(config, env=env) for config in configs(name, kind)]
    assert len(set(programs)) == len(programs) > 1


def test_the_same_config_gives_the_same_program():
    first, again = (text(replace(SMALL, {}), program.__wrapped__) for _ in range(2))
    assert first == again == text(SMALL)


# --- Off is absent ------------------------------------------------------------------

OPTIONAL = [
    name
    for name, kind in STATIC
    if LEAVES[name].optional and LEAVES[name].default is None and "." not in name
    if name != "sequence_length"  # Which changes shapes alone.
]
REPLACES = {"advantage_min_std", "frame_stack", "trpo"}
"""What takes the place of something: a sum of a maximum, epochs of the policy."""


def test_off_is_the_default():
    nothing = dict.fromkeys(
        [*OPTIONAL, "network.sigma", "network.memory", "network.conv"]
    )
    nothing |= {n: False for n, leaf in LEAVES.items() if leaf.default is False}
    nothing = {
        n: x for n, x in nothing.items() if "." not in n.removeprefix("network.")
    }
    assert text(replace(SMALL, nothing)) == text(SMALL)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_on_adds_to_the_program(name):
    off, *on = (primitives(program(config).jaxpr) for config in configs(name, None))
    assert on
    for counts in on:
        assert counts - off
        assert name in REPLACES or not off - counts


def test_what_is_off_carries_nothing(key):
    state = jax.eval_shape(ppo.make_ppo(SMALL, Walk()).init, key)
    names = ["obs_statistics", "reward_scale", "critic_scale", "advantage_scale"]
    names += ["critic_memory"]
    assert [getattr(state, name) for name in names] == [()] * 5
    assert state.collector.memory == ()
    assert set(state.adaptive) == {()}
    metrics = jax.eval_shape(lambda key: train(SMALL, key), key).metrics
    names = ["policy_kl", "stopped", "kl_coef", "ent_coef", "clip_eps"]
    names += ["evaluation_return", "evaluation_length", "num_fully_masked"]
    assert [getattr(metrics, name) for name in names] == [()] * 8


def plain_loss(config, network, params, batch):
    """PPO-Clip's loss as one would write it with no technique in mind."""
    obs, action, old_log_prob, old_value, advantage, target = batch
    centred = advantage - advantage.mean()
    advantage = centred / (advantage.std() + config.advantage_eps)
    policy = network.actor(params, obs, ())[0]
    log_ratio = policy.log_prob(action) - old_log_prob
    ratio = jnp.exp(log_ratio)
    policy_loss = losses.clipped_surrogate(ratio, advantage, config.clip_eps)
    entropy = policy.entropy().mean()
    value = network.critic(params, obs, ())[0]
    value_loss = losses.value_loss(value, old_value, target)
    mean = ratio.mean()
    figures = [
        policy_loss,
        value_loss,
        entropy,
        losses.approximate_kl(log_ratio),
        losses.clip_fraction(ratio, config.clip_eps),
        losses.kl_k1(log_ratio),
        losses.kl_k2(log_ratio),
        mean,
        jnp.sqrt(jnp.square(ratio - mean).mean()),
        ratio.min(),
        ratio.max(),
    ]
    total = policy_loss - config.ent_coef * entropy + config.vf_coef * value_loss
    return total, figures


def plain_epochs(config, network, key, carry, rate, batch):
    """Adam on minibatches of the shuffled batch; what was seen, over all of them."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.scale_by_adam(eps=config.adam_eps),
    )
    loss = partial(plain_loss, config, network)

    def learn(carry, row):
        params, opt_state = carry
        minibatch = jax.tree.map(lambda x: x[row], batch)
        grads, figures = jax.grad(loss, has_aux=True)(params, minibatch)
        direction, opt_state = optimizer.update(grads, opt_state, params)
        params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
        return (params, opt_state), [*figures, optax.tree.norm(grads)]

    rows = draw_permutations(key, config.num_epochs, config.batch_size)
    rows = rows.reshape(config.num_epochs, config.num_minibatches, -1)
    carry, seen = jax.lax.scan(partial(jax.lax.scan, learn), carry, rows)
    *means, low, high, norm = (x.reshape(-1) for x in seen)
    return carry, [x.mean() for x in (*means, norm)] + [low.min(), high.max()]


def plain_rollout(config, env, env_params, network, key, state):
    head = ppo.make_action_head(env.action_space(env_params))
    return rollout(
        key,
        state.collector,
        lambda obs, memory: network.actor(state.params, obs, memory),
        head.sampler,
        lambda distribution, action: distribution.log_prob(action),
        head.to_env,
        make_reset(env, env_params),
        make_step(env, env_params),
        config.num_steps,
    )


def plain_step(config, env, env_params, network, state):
    """One update of PPO as one would write it with no technique in mind."""
    done = jnp.float32(state.update) / config.num_updates
    rate = linear(jnp.float32(config.learning_rate), 0.0, done)
    rollout_key, update_key, key = jax.random.split(state.key, 3)
    collector, steps, ended = plain_rollout(
        config, env, env_params, network, rollout_key, state
    )
    seen = steps.obs, steps.action, steps.log_prob, steps.next_obs
    *seen, next_obs = (x.reshape(-1, *x.shape[2:]) for x in seen)
    value = network.critic(state.params, seen[0], ())[0]
    next_value = network.critic(state.params, next_obs, ())[0]
    values = value.reshape(steps.reward.shape)
    advantage = ppo.gae(
        steps.reward,
        values,
        next_value.reshape(steps.reward.shape),
        steps.terminated,
        steps.truncated,
        config.gamma,
        config.gae_lambda,
    )
    target = (advantage + values).reshape(-1)
    batch = (*seen, value, advantage.reshape(-1), target)
    carry = state.params, state.opt_state
    carry, figures = plain_epochs(config, network, update_key, carry, rate, batch)
    explained = losses.explained_variance(value, target)
    total = jnp.stack([jnp.abs(x).sum() for x in jax.tree.leaves(carry[0])])
    carry = *carry, collector, state.update + 1, key
    return carry, (ended, figures, explained, rate, jnp.isfinite(total).all())


def test_the_default_is_the_core_and_nothing_else(key):
    env, env_params = Walk(), CountingParams(5)
    whole = ppo.make_ppo(SMALL, env, env_params)
    step = partial(plain_step, SMALL, env, env_params, whole.network)
    state = jax.eval_shape(whole.init, key)
    counts = [primitives(jax.make_jaxpr(f)(state).jaxpr) for f in (whole.step, step)]
    assert counts[0] == counts[1]

    def both(key):
        start = whole.init(key)
        return whole.step(start), step(start)

    (state, metrics), (carry, (ended, figures, *rest)) = jit(both)(key)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (state.params, state.opt_state), carry[:2])
    assert metrics.episode_return == ended.episode_return
    close([metrics.policy_loss, metrics.value_loss, metrics.entropy], figures[:3])
    close([metrics.explained_variance, metrics.learning_rate], rest[:2])


# --- Together -----------------------------------------------------------------------

SIZES = {"total_timesteps", "num_envs", "num_steps", "network.widths"}
CHANGES = {
    (name, kind): [(name, kind, value) for value in values(LEAVES[name])]
    for name, kind in STATIC
    if name not in SIZES
}


@st.composite
def combinations(draw):
    """A value for each field: techniques in any order, then the fields that they have.

    Earlier techniques keep later ones out that they contradict.
    """
    drawn = [draw(st.sampled_from(options)) for options in CHANGES.values()]
    own = [change for change in drawn if "." not in change[0]]
    return draw(st.permutations(own)) + [x for x in drawn if "." in x[0]]


ENVS = st.sampled_from([Walk(), Counting(), Hybrid()])
EACH_IS_COMPILED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def combine(drawn, env):
    """A config of all changes in turn, but for those that it refuses in one line."""
    config = replace(SMALL, {"total_timesteps": 2 * 32})
    for name, kind, value in drawn:
        on = flatten(config)
        if name not in on or (kind and on[f"{name.rpartition('.')[0]}.kind"] != kind):
            continue
        try:
            changed = replace(config, changes(name, kind, value))
            ppo.make_ppo(changed, env)
            config = changed
        except ValueError as error:
            assert re.fullmatch(r"Expected .+\.", str(error)), str(error)
    return config


def check_that_it_trains(config, env):
    @chex.assert_max_traces(n=1)
    def train(key):
        return ppo.make_train(config, env, CountingParams(5))(key)

    run = jit(train)
    results = [run(jax.random.key(seed)) for seed in (0, 1)]
    chex.clear_trace_counter()
    parts = ppo.make_ppo(config, env, CountingParams(5))
    start = jax.eval_shape(parts.init, jax.random.key(0))
    for state, metrics in results:
        chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
        assert {x.shape for x in jax.tree.leaves(metrics)} == {(2,)}
        assert state.update == 2
        assert metrics.finite.all()
        assert np.isfinite([metrics.policy_loss, metrics.value_loss]).all()


@settings(EACH_IS_COMPILED, max_examples=12)
@given(combinations(), ENVS)
def test_techniques_go_together(drawn, env):
    check_that_it_trains(combine(drawn, env), env)


@pytest.mark.slow
@settings(EACH_IS_COMPILED, max_examples=25)
@given(combinations(), ENVS)
def test_more_techniques_go_together(drawn, env):
    check_that_it_trains(combine(drawn, env), env)


def first_ratios(group, changes):
    """The least and the greatest ratio of each update's first and only minibatch."""
    once = {"num_epochs": 1, "num_minibatches": 1}
    metrics = train(replace(base(group), once | changes), jax.random.key(0)).metrics
    return jnp.stack([metrics.ratio_min, metrics.ratio_max])


def test_the_first_ratio_of_every_update_is_1():
    on = {
        "actor_optimizer.learning_rate": 1e-2,
        "bounds_loss": True,
        "critic_epochs": 2,
        "kl_penalty": True,
        "kl_stop.scope": "policy",
        "normalize_value": "pop_art",
        "recompute_advantages": True,
        "transform_value": None,
        "truncation": "drop",
    }
    ratios = jit(lambda: first_ratios("scheduled", on))()
    np.testing.assert_allclose(ratios, 1, atol=1e-5)


def test_a_temperature_alone_moves_the_first_ratio():
    on = {"critic_warmup": 2, "num_starts": 2, "shuffle": "trajectories"}

    def ratios(temperature):
        return first_ratios("clip", on | {"temperature": temperature})

    neutral, cold = jit(jax.vmap(ratios))(jnp.array([1.0, 0.7]))
    np.testing.assert_allclose(neutral, 1, atol=1e-5)
    assert (np.abs(cold - 1) > 0.1).all()


def test_evaluation_uses_the_normalisers_and_leaves_them_alone(key):
    on = {
        "evaluation": {"every": 1, "num_episodes": 2},
        "network.policy_gain": 1.0,
        "normalize_observation": True,
        "normalize_reward": "reward_normalization",
        "normalize_value": "running_mean_std",
    }
    env, env_params = Walk(), CountingParams(5)
    parts = ppo.make_ppo(replace(SMALL, on), env, env_params)

    def evaluate(state):
        act = lambda obs, memory, key: parts.act(state, obs)  # noqa: E731
        return ppo.evaluate(jax.random.key(0), act, env, env_params, 2).episode_return

    def run(key):
        start = parts.init(key)
        trained, _ = parts.step(start)
        evaluated, metrics = parts.advance(start, jnp.int32(0))
        other = evaluated._replace(obs_statistics=start.obs_statistics)
        return trained, evaluated, metrics, evaluate(evaluated), evaluate(other)

    trained, evaluated, metrics, returns, without = jit(run)(key)
    data = lambda state: state._replace(key=jax.random.key_data(state.key))  # noqa: E731
    chex.assert_trees_all_close(data(trained), data(evaluated), rtol=1e-6)
    assert trained.obs_statistics.num_samples > 30
    np.testing.assert_allclose(metrics.evaluation_return, returns.mean(), rtol=1e-5)
    assert np.abs(returns - without).max() > 1e-3
