"""The default network, and networks of other makes through the seam."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.config.choices import ACTIVATIONS, SCHEMES
from purejaxppo.networks.distributions import Sigma
from purejaxppo.networks.encoders import make_encoder
from purejaxppo.networks.initializers import (
    activation_gain,
    normals,
    orthogonal,
)
from purejaxppo.networks.parameters import draw_kernels

BOX = gymnasium.spaces.Box(-1, 1, (3, 2), np.float32)
CONFIG = ppo.Config(
    total_timesteps=2 * 16, num_envs=4, num_steps=4, num_epochs=2, num_minibatches=2
)


def mlp(
    space: gymnasium.Space = BOX,
    action_space: gymnasium.Space = gymnasium.spaces.Discrete(3),  # noqa: B008
    **options: Any,
):
    names = {"policy", "sigma", "tanh_mean"} & set(options)
    head = ppo.make_action_head(action_space, **{n: options.pop(n) for n in names})
    drawing = {"init", "init_std", "hidden_gain", "policy_gain", "value_gain"}
    drawn = {n: options.pop(n) for n in drawing & set(options)}
    drawn["activation"] = options.get("activation", "tanh")
    draw = functools.partial(draw_kernels, **drawn)
    return ppo.make_actor_critic(
        space, head, **{"widths": (16, 8), "draw": draw, **options}
    )


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


def singular_values(kernel):
    return np.linalg.svd(np.asarray(kernel), compute_uv=False)


def test_defaults_draw_what_they_say_bit_for_bit(key):
    params = mlp().init(key, jnp.ones((1, 3, 2)))
    gains = {"policy": 0.01, "value": 1.0}

    def plain(key, params):
        kernels = jax.tree.map(
            lambda x: None if x.ndim == 1 else x,
            params,
        )
        noise = normals(key, kernels)
        gained = {}
        for name, part in noise.items():
            gain = gains.get(name, 2**0.5)
            gained[name] = jax.tree.map(lambda x, g=gain: g * orthogonal(x), part)
        return gained

    def drawn(key, params):
        drawn = draw_kernels(key, params)
        return jax.tree.map(lambda x: None if x.ndim == 1 else x, drawn)

    same = jax.tree.map(
        np.testing.assert_array_equal, drawn(key, params), plain(key, params)
    )
    assert jax.tree.structure(same) == jax.tree.structure(
        jax.tree.map(lambda x: None, params)
    )
    programs = [jax.make_jaxpr(f)(key, params) for f in (drawn, plain)]
    assert str(programs[0]) == str(programs[1])


WIDE = gymnasium.spaces.Box(-1, 1, (20,), np.float32)


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu"])
@pytest.mark.parametrize("init", [s for s in SCHEMES if s != "orthogonal"])
def test_kernels_have_the_variance_of_their_scheme(init, activation, key):
    # Layers that widen, narrow and stay: Dense keeps the short side first.
    box = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
    network = mlp(
        WIDE,
        box,
        widths=(40, 10, 10),
        activation=activation,
        init=init,
        init_std=0.3,
        policy_gain=0.1,
        value_gain=2.0,
    )
    keys = jax.random.split(key, 200)
    params = jax.vmap(lambda key: network.init(key, jnp.ones((1, 20))))(keys)

    def std(fan_in, fan_out, gain):
        return {
            "xavier": (2 / (fan_in + fan_out)) ** 0.5,
            "kaiming": gain / fan_in**0.5,
            "lecun": fan_in**-0.5,
            "normal": 0.3,
        }[init]

    def got(layer):
        return layer["kernel"].std()

    gain = activation_gain(activation)
    for torso in (params["actor_torso"], params["critic_torso"]):
        sizes = [std(20, 40, gain), std(40, 10, gain), std(10, 10, gain)]
        stds = [got(torso[f"dense_{i}"]) for i in range(3)]
        np.testing.assert_allclose(stds, sizes, rtol=0.03)
    policy, value = got(params["policy"]["output"]), got(params["value"])
    np.testing.assert_allclose(policy, 0.1 * std(10, 6, 1), rtol=0.03)
    np.testing.assert_allclose(value, 2 * std(10, 1, 1), rtol=0.05)
    assert all((x == 0).all() for x in jax.tree.leaves(params) if x.ndim == 2)


@pytest.mark.parametrize("shared", [False, True])
def test_policy_gain_is_of_its_last_layer_only(shared, key):
    # A peer scales every layer of the actor by .01, the shared ones, too.
    def draw(policy_gain, value_gain):
        network = mlp(shared=shared, policy_gain=policy_gain, value_gain=value_gain)
        return network.init(key, jnp.ones((1, 3, 2)))

    gains = jnp.array([0.01, 0.5]), jnp.array([1.0, 3.0])
    params = jax.jit(jax.vmap(draw))(*gains)
    for name, part in params.items():
        first, second = (jax.tree.map(lambda x, i=i: x[i], part) for i in range(2))
        times = {"policy": 50.0, "value": 3.0}.get(name, 1.0)
        jax.tree.map(
            lambda a, b, t=times: np.testing.assert_allclose(b, t * a, rtol=1e-5),
            first,
            second,
        )
        if name not in ("policy", "value"):
            kernel = first["dense_0"]["kernel"]
            np.testing.assert_allclose(singular_values(kernel), 2**0.5, rtol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_gain_is_given_or_that_of_the_activation(activation, key):
    for hidden_gain, expected in ((None, activation_gain(activation)), (0.7, 0.7)):
        network = mlp(activation=activation, hidden_gain=hidden_gain)
        torso = network.init(key, jnp.ones((1, 3, 2)))["critic_torso"]
        for layer in torso.values():
            got = singular_values(layer["kernel"])
            np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_fans_of_kernels_of_other_makes(key):
    # [inputs, outputs] with and without bias, and a window of 3 × 3.
    params = {
        "dense": {"kernel": jnp.zeros((400, 9)), "bias": jnp.zeros(9)},
        "free": {"kernel": jnp.zeros((400, 9))},
        "conv": {"kernel": jnp.zeros((3, 3, 50, 8)), "bias": jnp.zeros(8)},
    }
    lecun = draw_kernels(key, params, init="lecun")
    xavier = draw_kernels(key, params, init="xavier")
    for name, fan_in, fan_out in (
        ("dense", 400, 9),
        ("free", 400, 9),
        ("conv", 450, 72),
    ):
        stds = lecun[name]["kernel"].std(), xavier[name]["kernel"].std()
        expected = fan_in**-0.5, (2 / (fan_in + fan_out)) ** 0.5
        np.testing.assert_allclose(stds, expected, rtol=0.05)


def test_other_schemes_are_refused(key):
    with pytest.raises(
        ValueError, match=r"^Expected init to be one of .*, got zeros\.$"
    ):
        mlp(init="zeros").init(key, jnp.ones((1, 3, 2)))


@pytest.mark.parametrize(
    "options, width, has_log_std",
    [
        ({}, 2, True),
        ({"policy": "tanh_gaussian"}, 2, True),
        ({"tanh_mean": True}, 2, True),
        ({"policy": "beta"}, 4, False),
        ({"sigma": Sigma("fixed", 0.5)}, 2, False),
        ({"sigma": Sigma("scheduled")}, 2, True),
        ({"sigma": Sigma("conditioned")}, 4, False),
    ],
)
def test_policies_have_the_parameters_that_they_need(options, width, has_log_std, key):
    network = mlp(action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32), **options)
    obs = jax.random.normal(key, (5, 3, 2))
    params = network.init(key, obs)
    assert params["policy"]["output"]["bias"].shape == (width,)
    assert ("log_std" in params["policy"]) == has_log_std
    distribution, _ = network.actor(params, obs, ())
    assert distribution.mode().shape == (5, 2)
    scheduled = options.get("sigma", Sigma()).kind == "scheduled"
    assert (network.set_log_std is not None) == scheduled


def test_conditioned_sigma_starts_near_one_and_depends_on_the_state(key):
    network = mlp(
        action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32),
        sigma=Sigma("conditioned"),
    )
    obs = jax.random.normal(key, (50, 3, 2))
    distribution, _ = network.actor(network.init(key, obs), obs, ())
    assert 0 < distribution.stddev().std() < 0.03
    np.testing.assert_allclose(distribution.stddev(), 1, atol=0.05)


def test_scheduled_sigma_is_overwritten_and_never_learned(key):
    network = mlp(
        action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32),
        sigma=Sigma("scheduled"),
    )
    assert network.set_log_std is not None
    obs = jax.random.normal(key, (5, 3, 2))
    params = network.init(key, obs)

    def log_prob(params):
        return network.actor(params, obs, ())[0].log_prob(jnp.ones((5, 2))).sum()

    grads = jax.grad(log_prob)(params)["policy"]
    np.testing.assert_array_equal(grads["log_std"], 0)
    assert (grads["output"]["bias"] != 0).all()
    each = jax.jit(jax.vmap(network.set_log_std, (None, 0)))(
        params, jnp.log(jnp.array([0.5, 0.1]))
    )
    np.testing.assert_allclose(
        np.exp(each["policy"]["log_std"]), [[0.5] * 2, [0.1] * 2]
    )
    rest = jax.tree.map(lambda x: x[0], each)
    rest["policy"]["log_std"] = params["policy"]["log_std"]
    jax.tree.map(np.testing.assert_array_equal, rest, params)


@pytest.mark.parametrize("shared", [False, True])
def test_groups_say_what_each_loss_moves(shared, key):
    network = mlp(
        action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32), shared=shared
    )
    assert network.groups is not None
    obs = jax.random.normal(key, (5, 3, 2))
    # Kernels that let a gradient through everywhere.
    params = jax.tree.map(lambda x: x + 0.1, network.init(key, obs))

    def moved(loss):
        return jax.tree.map(lambda g: bool((g != 0).any()), jax.grad(loss)(params))

    actor = moved(
        lambda p: network.actor(p, obs, ())[0].log_prob(jnp.ones((5, 2))).sum()
    )
    critic = moved(lambda p: network.critic(p, obs, ())[0].sum())
    names = {(True, True): "shared", (True, False): "actor", (False, True): "critic"}
    expected = jax.tree.map(lambda a, c: names[a, c], actor, critic)
    assert network.groups(params) == expected


def test_rescaling_keeps_what_the_critic_predicts(key):
    # PopArt: w' = w σ / σ', b' = (σ b + μ − μ') / σ'.
    network = mlp(value_gain=1.0)
    rescale_value = network.rescale
    assert rescale_value is not None
    obs = jax.random.normal(key, (5, 3, 2))
    params = jax.tree.map(lambda x: x + 0.1, network.init(key, obs))
    (mean, std), (new_mean, new_std) = (
        (3.0, 2.0),
        (jnp.array([-7.0, 40.0]), jnp.array([0.5, 30.0])),
    )

    def rescale(new_mean, new_std):
        return rescale_value(params, std / new_std, (mean - new_mean) / new_std)

    rescaled = jax.jit(jax.vmap(rescale))(new_mean, new_std)
    before, _ = network.critic(params, obs, ())
    after, _ = jax.vmap(network.critic, (0, None, None))(rescaled, obs, ())
    predicted = after * np.asarray(new_std)[:, None] + np.asarray(new_mean)[:, None]
    for row in predicted:
        np.testing.assert_allclose(row, std * before + mean, rtol=1e-5)
    for i in range(2):
        expected = (std * params["value"]["bias"] + mean - new_mean[i]) / new_std[i]
        np.testing.assert_allclose(rescaled["value"]["bias"][i], expected, rtol=1e-5)
    assert all(
        (a == b[None]).all()
        for name in ("actor_torso", "critic_torso", "policy")
        for a, b in zip(
            jax.tree.leaves(rescaled[name]), jax.tree.leaves(params[name]), strict=True
        )
    )


def test_log_std_starts_where_told(key):
    network = mlp(
        action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32), log_std_init=-1.0
    )
    obs = jnp.ones((1, 3, 2))
    distribution, _ = network.actor(network.init(key, obs), obs, ())
    np.testing.assert_allclose(distribution.stddev(), np.exp(-1.0) * np.ones((1, 2)))


def test_discrete_observations_are_one_hot():
    encode = make_encoder(gymnasium.spaces.Discrete(3, start=1))
    encoded = encode(jnp.array([1, 3])).flat
    np.testing.assert_array_equal(encoded, [[1, 0, 0], [0, 0, 1]])


def test_images_and_scalars_become_flat_floats():
    images = gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8)
    encoded = make_encoder(images)(jnp.full((4, 2, 2, 3), 255, jnp.uint8)).flat
    assert encoded.shape == (4, 12) and encoded.dtype == jnp.float32
    scalar = gymnasium.spaces.Box(0, 1, (), np.float32)
    assert make_encoder(scalar)(jnp.zeros(4)).flat.shape == (4, 1)


def test_observations_of_another_shape_are_refused(key):
    with pytest.raises(ValueError, match=r"^Expected observations of shape \(3, 2\)"):
        mlp().init(key, jnp.ones((5, 2, 3)))


def test_other_observation_spaces_are_refused():
    space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Text(2)})
    expected = r"^Expected observation_space\.a to be .*, got"
    with pytest.raises(ValueError, match=expected):
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
        actions = np.asarray(parts.act(result.state, obs, (), key)[0])
        assert all(env.action_space(None).contains(action) for action in actions)


def test_own_network_learns():
    config = ppo.Config(
        total_timesteps=40 * 64, num_envs=16, num_steps=4, learning_rate=0.05
    )
    train = ppo.make_train(config, probes.Match(), network=LINEAR)
    result = jax.jit(train)(jax.random.key(0))
    assert result.metrics.episode_return[-5:].mean() > 0.9


def test_a_critic_of_the_wrong_shape_is_refused():
    """`[batch, 1]` would broadcast against `[batch]` in the value loss."""
    env, env_params = ppo.make("CartPole-v1")
    good = ppo.make_actor_critic(
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
    with pytest.raises(ValueError, match=r"has shape \(4, 1\); it must be \(4,\), one"):
        ppo.make_ppo(ppo.Config(), env, env_params, network=bad)
