"""Each choice is a program of its own, and what is off is absent."""

import functools
import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import purejaxppo as ppo
from envs.probes import CountingParams
from purejaxppo.algorithm.learning import loss_terms
from purejaxppo.algorithm.learning.minibatches import draw_permutations
from purejaxppo.algorithm.learning.shapes import linear
from purejaxppo.algorithm.rollouts import rollout
from purejaxppo.config.fields import replace
from purejaxppo.environments.protocol import make_reset, make_step
from tests.techniques import (
    FLOATS,
    LEAVES,
    SAME,
    SMALL,
    STATIC,
    Hybrid,
    Screen,
    Walk,
    changes,
    jit,
    train,
    values,
)


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
    policy_loss = loss_terms.clipped_surrogate(ratio, advantage, config.clip_eps)
    entropy = policy.entropy().mean()
    value = network.critic(params, obs, ())[0]
    value_loss = loss_terms.value_loss(value, old_value, target)
    mean = ratio.mean()
    figures = [
        policy_loss,
        value_loss,
        entropy,
        loss_terms.approximate_kl(log_ratio),
        loss_terms.clip_fraction(ratio, config.clip_eps),
        loss_terms.kl_k1(log_ratio),
        loss_terms.kl_k2(log_ratio),
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
    done = (
        jnp.minimum(jnp.float32(state.update), config.num_updates) / config.num_updates
    )
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
    explained = loss_terms.explained_variance(value, target)
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
