"""The default network, and networks of other makes through the seam."""

from typing import Any, NamedTuple

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.networks import ACTIVATIONS, make_encoder

BOX = gymnasium.spaces.Box(-1, 1, (3, 2), np.float32)
CONFIG = ppo.Config(
    total_timesteps=2 * 16, num_envs=4, num_steps=4, num_epochs=2, num_minibatches=2
)


def mlp(
    space: gymnasium.Space = BOX,
    action_space: gymnasium.Space = gymnasium.spaces.Discrete(3),  # noqa: B008
    **options: Any,
):
    head = ppo.make_action_head(action_space)
    return ppo.make_mlp(space, head, **{"widths": (16, 8), **options})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_shapes(activation, key):
    network = mlp(activation=activation, layer_norm=activation == "relu")
    obs = jax.random.normal(key, (5, 3, 2))
    params = network.init(key, obs)
    distribution, memory = network.actor(params, obs, ())
    value, _ = network.critic(params, obs, ())
    assert (distribution.mode().shape, value.shape, memory) == ((5,), (5,), ())


def test_trunks_of_their_own_or_a_shared_one(key):
    obs = jnp.ones((5, 3, 2))

    def critic_moves_actor(shared):
        network = mlp(shared=shared)
        params = network.init(key, obs)
        grads = jax.grad(lambda p: network.critic(p, obs, ())[0].sum())(params)
        moved = jax.tree.map(lambda p, g: p + g, params, grads)
        before, after = (network.actor(p, obs, ())[0].logits for p in (params, moved))
        return not np.array_equal(before, after)

    assert critic_moves_actor(True)
    assert not critic_moves_actor(False)


def test_weights_are_orthogonal_with_the_gains_of_ppo(key):
    params = mlp().init(key, jnp.ones((1, 3, 2)))

    def scale(kernel):
        return np.linalg.svd(np.asarray(kernel), compute_uv=False)

    torso = params["actor_torso"]
    np.testing.assert_allclose(scale(torso["dense_0"]["kernel"]), 2**0.5, rtol=1e-4)
    np.testing.assert_allclose(scale(torso["dense_1"]["kernel"]), 2**0.5, rtol=1e-4)
    policy, value = params["policy"]["output"], params["value"]
    np.testing.assert_allclose(scale(policy["kernel"]), 0.01, rtol=1e-4)
    np.testing.assert_allclose(scale(value["kernel"]), 1, rtol=1e-4)
    for layer in (torso["dense_0"], policy, value):
        np.testing.assert_array_equal(layer["bias"], 0)


def test_log_std_starts_where_told(key):
    network = mlp(
        action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32), log_std_init=-1.0
    )
    obs = jnp.ones((1, 3, 2))
    distribution, _ = network.actor(network.init(key, obs), obs, ())
    np.testing.assert_allclose(distribution.stddev(), np.exp(-1.0) * np.ones((1, 2)))


def test_discrete_observations_are_one_hot():
    encode = make_encoder(gymnasium.spaces.Discrete(3, start=1))
    np.testing.assert_array_equal(encode(jnp.array([1, 3])), [[1, 0, 0], [0, 0, 1]])


def test_images_and_scalars_become_flat_floats():
    images = gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8)
    encoded = make_encoder(images)(jnp.full((4, 2, 2, 3), 255, jnp.uint8))
    assert encoded.shape == (4, 12) and encoded.dtype == jnp.float32
    scalar = gymnasium.spaces.Box(0, 1, (), np.float32)
    assert make_encoder(scalar)(jnp.zeros(4)).shape == (4, 1)


def test_observations_of_another_shape_are_refused(key):
    with pytest.raises(ValueError, match=r"^Expected observations of shape \(3, 2\)"):
        mlp().init(key, jnp.ones((5, 2, 3)))


def test_other_observation_spaces_are_refused():
    space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)})
    with pytest.raises(ValueError, match=r"^Expected observation_space to be .*, got"):
        mlp(space)


class Bernoulli(NamedTuple):
    """A distribution of our own over {0, 1}, with only what the seam asks for."""

    logit: jax.Array

    def sample(self, seed):
        return jax.random.bernoulli(seed, jax.nn.sigmoid(self.logit)).astype(jnp.int32)

    def log_prob(self, action):
        return jax.nn.log_sigmoid(jnp.where(action == 1, self.logit, -self.logit))

    def entropy(self):
        p = jax.nn.sigmoid(self.logit)
        return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p))

    def mode(self):
        return (self.logit > 0).astype(jnp.int32)


class Linear(NamedTuple):
    """A network as a plain record of functions and nothing else."""

    init: Any
    actor: Any
    critic: Any


LINEAR = Linear(
    init=lambda key, obs: {"actor": jnp.zeros(obs.shape[1:]), "critic": jnp.zeros(())},
    actor=lambda params, obs, memory: (Bernoulli(obs @ params["actor"]), memory),
    critic=lambda params, obs, memory: (
        jnp.broadcast_to(params["critic"], obs.shape[:1]),
        memory,
    ),
)


class Module(nn.Module):
    """A Linen module of the user's, with a head of ours."""

    head: Any

    def setup(self):
        self.body = nn.Dense(8)
        self.policy, self.value = nn.Dense(self.head.num_outputs), nn.Dense(1)

    def __call__(self, obs):
        x = nn.tanh(self.body(obs))
        log_std = jnp.zeros(self.head.num_outputs)
        distribution = self.head.distribution(self.policy(x), log_std)
        return distribution, self.value(x).squeeze(-1)


def linen(action_space):
    module = Module(ppo.make_action_head(action_space))
    return ppo.ActorCritic(
        init=module.init,
        actor=lambda params, obs, memory: (module.apply(params, obs)[0], memory),
        critic=lambda params, obs, memory: (module.apply(params, obs)[1], memory),
    )


@pytest.mark.parametrize(
    "network, env",
    [
        (LINEAR, probes.Match()),
        (linen(probes.Match().action_space(None)), probes.Match()),
        (linen(probes.Identity().action_space(None)), probes.Identity()),
    ],
    ids=["record", "linen", "linen-box"],
)
def test_own_networks_train_and_act(network, env):
    parts = ppo.make_ppo(CONFIG, env, network=network)
    result = jax.jit(ppo.make_train(CONFIG, env, network=network))(jax.random.key(0))
    assert result.metrics.finite.all()
    start = parts.init(jax.random.key(0))
    changed = jax.tree.map(
        lambda a, b: (a != b).any(), start.params, result.state.params
    )
    assert all(jax.tree.leaves(changed))
    obs, _ = jax.vmap(env.reset, (0, None))(
        jax.random.split(jax.random.key(1), 6), None
    )
    for key in (None, jax.random.key(2)):
        actions = np.asarray(parts.act(result.state, obs, key))
        assert all(env.action_space(None).contains(action) for action in actions)


def test_own_network_learns():
    config = ppo.Config(
        total_timesteps=40 * 64, num_envs=16, num_steps=4, learning_rate=0.05
    )
    train = ppo.make_train(config, probes.Match(), network=LINEAR)
    result = jax.jit(train)(jax.random.key(0))
    assert result.metrics.episode_return[-5:].mean() > 0.9


def test_a_critic_of_the_wrong_shape_is_refused(key):
    """`[batch, 1]` would broadcast against `[batch]` in the value loss."""
    env, env_params = ppo.make("CartPole-v1")
    good = ppo.make_mlp(
        env.observation_space(env_params),
        ppo.make_action_head(env.action_space(env_params)),
    )
    bad = ppo.ActorCritic(
        init=good.init,
        actor=good.actor,
        critic=lambda params, obs, memory: (
            good.critic(params, obs, memory)[0][:, None],
            memory,
        ),
    )
    algorithm = ppo.make_ppo(ppo.Config(), env, env_params, network=bad)
    state = jax.eval_shape(algorithm.init, key)
    with pytest.raises(ValueError, match=r"values to be of shape \[batch\], got"):
        jax.eval_shape(algorithm.step, state)
