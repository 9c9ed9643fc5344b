"""What does not fit is refused in one line, before anything is compiled."""

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import purejaxppo as ppo
from envs import identity, masked, probes
from purejaxppo.algorithm.components import entropy_target
from purejaxppo.config.fields import replace
from purejaxppo.environments.protocol import Arguments
from purejaxppo.environments.wrappers import TimeLimit
from purejaxppo.networks.distributions import most_entropy

TINY = ppo.Config(
    total_timesteps=32,
    num_envs=4,
    num_steps=8,
    num_epochs=1,
    num_minibatches=1,
    network=ppo.NetworkConfig(widths=(4,)),
)


class Seen(probes.Counting):
    """`Counting`, its observation shown as `show` makes it, in the space `space`."""

    def __init__(self, show, space, later=None):
        self.show, self.space, self.later = show, space, later or show

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return self.show(obs), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=self.later(step.obs))

    def observation_space(self, params):
        return self.space


BOX = spaces.Box(0, 9, (1,), np.float32)
PIXELS = spaces.Box(0, 255, (4, 4, 1), np.uint8)
NESTED = spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), BOX]))


def line(env, changes=None, **own):
    with pytest.raises(ValueError) as error:
        ppo.make_ppo(replace(TINY, changes or {}), env, **own)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            Seen(lambda x: {"a": (jnp.int32(0), jnp.ones(2))}, NESTED),
            "Expected observation.a.1 to be of shape (1,), as its space says, "
            "got (2,), from reset.",
        ),
        (
            Seen(lambda x: {"a": (x[0], x)}, NESTED),
            "Expected observation.a.0 to be of whole numbers, as its space "
            "Discrete(2) says, got float32, from reset.",
        ),
        (
            Seen(lambda x: jnp.ones((4, 4, 1)), PIXELS),
            "Expected observation to be of whole numbers, as its space "
            "Box(0, 255, (4, 4, 1), uint8) says, got float32, from reset.",
        ),
        (
            Seen(lambda x: {"a": x}, NESTED),
            "Expected observation.a to be a tuple of 2, got an array, from reset.",
        ),
        (
            Seen(lambda x: {"b": x}, NESTED),
            "Expected observation to be a dict of ['a'], got ['b'], from reset.",
        ),
        (
            Seen(lambda x: x, BOX, later=lambda x: jnp.ones(3)),
            "Expected observation to be of shape (1,), as its space says, got (3,), "
            "from step.",
        ),
        (
            Seen(lambda x: x, spaces.Dict(a=spaces.Dict(b=spaces.Text(3)))),
            "Expected observation_space.a.b to be a gymnasium space, one of Box, "
            "Discrete, MultiDiscrete, MultiBinary, Tuple and Dict, got Text(1, 3, "
            "charset=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz).",
        ),
    ],
)
def test_observations_that_do_not_match(env, expected):
    assert line(env) == expected


class Answers(probes.Match):
    def __init__(self, space):
        self.space = space

    def action_space(self, params):
        return self.space


def test_an_unsupported_action_space_nested_deep():
    space = spaces.Dict(arm=spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]))
    assert line(Answers(space)).startswith("Expected action_space.arm.1 to be ")


def with_mask(action_space, shape):
    env = Seen(
        lambda x: {"x": x, "action_mask": jnp.ones(shape, jnp.int8)},
        spaces.Dict(x=BOX, action_mask=spaces.MultiBinary(shape)),
    )
    env.action_space = lambda params: action_space
    return env


def test_masks_of_the_wrong_shape():
    said = line(with_mask(spaces.Discrete(3), (4,)))
    assert said == (
        "Expected observation_space.action_mask to be of shape (3,), as action_space = "
        "Discrete(3) needs, got (4,)."
    )
    ppo.make_ppo(TINY, with_mask(spaces.Discrete(3), (3,)))
    ppo.make_ppo(TINY, with_mask(spaces.MultiDiscrete([2, 3]), (5,)))


class Unlike(probes.Counting):
    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(state=(step.state, step.state))


class Plain(probes.Counting):
    def step(self, key, state, action, params) -> Any:
        return tuple(super().step(key, state, action, params))


class Wide(probes.Counting):
    """One of its numbers a step is no scalar."""

    def __init__(self, name):
        self.name = name

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(**{self.name: getattr(step, self.name)[None]})


@pytest.mark.parametrize("name", ["reward", "terminated", "truncated"])
def test_rewards_and_flags_are_scalars(name):
    assert line(Wide(name)) == f"Expected {name} to be a scalar, got shape (1,)."


class Rounded(probes.Counting):
    """Starts with a whole number, and goes on with a fraction."""

    def __init__(self, then):
        self.then = then

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return obs, {"at": jnp.int32(0), "state": state}

    def step(self, key, state, action, params):
        step = super().step(key, state["state"], action, params)
        return step._replace(state={"at": self.then, "state": step.state})


def test_states_keep_their_shapes_and_types():
    """A scan would round them, or fail to carry them, without a word of where."""
    assert line(Rounded(jnp.float32(0.3))) == (
        "Expected state.at to be of one shape and type, got int32 from reset, float32 "
        "from step; make it so in reset."
    )
    assert line(Rounded(jnp.zeros(2, jnp.int32))) == (
        "Expected state.at to be of one shape and type, got shape () from reset, (2,) "
        "from step; make it so in reset."
    )
    ppo.make_ppo(TINY, Rounded(jnp.bool_(True)))


class Keeping(probes.Counting):
    def reset(self, key, params):
        self.last = key
        return super().reset(key, params)


def test_an_environment_keeps_no_arrays_in_itself():
    for env in (Keeping(), TimeLimit(Keeping(), 3)):
        assert line(env) == (
            "Expected reset and step to keep nothing in the environment, got last set "
            "in one of them; it belongs in the state."
        )


class Raising(probes.Counting):
    def step(self, key, state, action, params):
        raise KeyError("no such thing")


def test_environments_that_break_the_protocol():
    assert line(Unlike()).startswith("Expected state to be the same tree from reset ")
    assert line(Plain()) == (
        "step returns a tuple of 6; it must return a purejaxppo.Step (obs, state, "
        "reward, terminated, truncated, info)."
    )
    assert "step raised KeyError: 'no such thing' (" in line(Raising())
    assert "test_fitting.py:" in line(Raising())


def test_techniques_without_anything_to_do():
    said = line(probes.Match(), {"ratio": "factored"})
    assert said.startswith("Expected ratio = factored only with a Tuple or Dict of ")
    said = line(identity.DiscreteIdentity(), {"normalize_observation": True})
    assert said.startswith("Expected normalize_observation only with a Box of numbers ")
    flat = Seen(lambda x: jnp.zeros(3, jnp.uint8), spaces.Box(0, 255, (3,), np.uint8))
    assert "normalize_observation" in line(flat, {"normalize_observation": True})
    said = line(probes.Match(), {"bounds_loss": True})
    assert said.startswith("Expected bounds_loss only with a Box of actions, got ")
    said = line(probes.Match(), {"network.conv": "min_atar"})
    assert said.startswith("Expected network.conv only with an image ")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float16])
def test_numbers_of_any_type_are_standardised_unless_they_are_bytes(dtype):
    env = Seen(lambda x: x.astype(dtype), spaces.Box(0, 100, (1,), dtype))
    algorithm = ppo.make_ppo(replace(TINY, {"normalize_observation": True}), env)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    after, _ = jax.eval_shape(algorithm.step, state)
    assert after.collector.now.obs.dtype == dtype
    assert after.obs_statistics.mean.dtype == np.float32
    obs = jnp.ones((3, 1), dtype)
    action, _ = jax.eval_shape(lambda state: algorithm.act(state, obs), state)
    assert action.shape[:1] == (3,)
    if dtype == np.uint8:  # What is not standardised yet has to be of its space.
        with pytest.raises(ValueError, match="to be of whole numbers"):
            algorithm.act(state, obs.astype(jnp.float32))


class Pair(NamedTuple):
    x: jax.Array
    y: jax.Array


@pytest.mark.parametrize(
    ("show", "space"),
    [
        (lambda x: Pair(x, x), spaces.Tuple([BOX, BOX])),
        (lambda x: OrderedDict(b=x, a=x), spaces.Dict(a=BOX, b=BOX)),
    ],
)
def test_any_mapping_and_tuple_is_an_observation(show, space):
    config = replace(TINY, {"normalize_observation": True})
    train = ppo.make_train(config, Seen(show, space))
    metrics = jax.eval_shape(train, jax.random.key(0)).metrics
    assert metrics.finite.shape == (1,)


# --- Networks of one's own ----------------------------------------------------------


def own(init_memory, after=lambda memory: memory):
    head = ppo.make_action_head(spaces.Discrete(2))
    return ppo.ActorCritic(
        init=lambda key, obs: {"w": jnp.zeros(2)},
        actor=lambda p, obs, m: (
            head.distribution(jnp.zeros((obs.shape[0], 2)) + p["w"][None], None),
            after(m),
        ),
        critic=lambda p, obs, m: (jnp.zeros(obs.shape[0]) + p["w"][0], m),
        init_memory=init_memory,
    )


def test_memories_that_do_not_stay_as_they_are():
    zeros = lambda n: (jnp.zeros((n, 3)), jnp.zeros((n, 3)))  # noqa: E731
    env = probes.Match()
    ppo.make_ppo(TINY, env, network=own(zeros))
    said = line(env, network=own(lambda n: jnp.zeros((n, 3))))
    assert said.startswith("Expected network.init_memory to give a pair, ")
    shared = own(lambda n: (jnp.zeros(3), jnp.zeros(3)))
    assert line(env, network=shared).startswith("Expected network.actor to keep its ")
    grows = own(zeros, after=lambda m: (m, m))
    assert line(env, network=grows).startswith("Expected network.actor to keep its ")
    wider = own(zeros, after=lambda m: m.astype(jnp.float16))
    assert line(env, network=wider).startswith("Expected network.actor to keep its ")


def test_an_actor_alone_may_remember():
    network = own(lambda n: (jnp.zeros((n, 3)), ()))
    train = ppo.make_train(TINY, probes.Match(), network=network)
    assert jax.jit(train)(jax.random.key(0)).metrics.finite.all()


def test_a_memory_of_other_environments_is_refused():
    config = replace(TINY, {"network.memory": "gru"})
    algorithm = ppo.make_ppo(config, probes.Match())
    state, obs = algorithm.init(jax.random.key(0)), jnp.ones((3, 1))
    expected = "Expected memory to be that of 3 environments, as init_memory(3) gives"
    for memory in (algorithm.init_memory(1), ()):
        with pytest.raises(ValueError) as error:
            algorithm.act(state, obs, memory)
        assert str(error.value).startswith(expected)
    forgetful = ppo.make_ppo(TINY, probes.Match())
    with pytest.raises(ValueError, match="Expected memory to be that of 3"):
        forgetful.act(forgetful.init(jax.random.key(0)), obs, jax.random.key(0))
    with pytest.raises(ValueError, match="use policy_of and value_of"):
        algorithm.network.actor(state.params, obs, ())


def test_the_environment_as_it_is_played():
    config = replace(TINY, {"frame_stack": 3})
    algorithm = ppo.make_ppo(config, probes.Match())
    obs, _ = algorithm.env.reset(jax.random.key(0), probes.NoParams())
    assert obs.shape == (3,)
    action, _ = algorithm.act(algorithm.init(jax.random.key(0)), obs[None])
    assert action.shape == (1,)


# --- Entropy ------------------------------------------------------------------------


def test_the_default_entropy_target_can_be_reached():
    config = replace(TINY, {"ent_schedule": "entropy_target"})
    space = spaces.Tuple([spaces.Discrete(3), *[spaces.Discrete(10)] * 3])
    uses = {str(i + 1): np.eye(3)[i] for i in range(3)}
    arguments = Arguments(type="0", uses=uses)
    # Each of three types has one argument of ten: thirty actions.
    np.testing.assert_allclose(most_entropy(space, arguments), np.log(30), rtol=1e-6)
    target = entropy_target(config, space, arguments)
    np.testing.assert_allclose(target, 0.98 * np.log(30), rtol=1e-6)
    tree = spaces.Dict(a=spaces.MultiDiscrete([2, 3]), b=spaces.MultiBinary(2))
    expected = 0.98 * np.log(2 * 3 * 4)
    np.testing.assert_allclose(entropy_target(config, tree), expected, rtol=1e-6)


def test_an_entropy_target_with_masks_is_given():
    said = line(masked.Doors(), {"ent_schedule": "entropy_target"})
    assert said == (
        "Expected ent_schedule.target to be given with action masks, which bound the "
        "entropy, got None."
    )
    ppo.make_ppo(replace(TINY, {"ent_schedule.target": 0.5}), masked.Doors())


def test_observations_to_act_on_are_of_their_space():
    """Without its mask a policy would play unmasked, without a word."""
    env = masked.Doors()
    algorithm = ppo.make_ppo(TINY, env)
    state = algorithm.init(jax.random.key(0))
    obs, _ = jax.vmap(env.reset, (0, None))(
        jax.random.split(jax.random.key(1), 3), env.default_params
    )
    algorithm.act(state, obs)
    rest = {"observation": obs["observation"]}
    with pytest.raises(ValueError, match="observation to be a dict of"):
        algorithm.act(state, rest)
    one = jax.tree.map(lambda x: x[0], obs)
    with pytest.raises(ValueError, match=r"observation\.action_mask to be of shape"):
        algorithm.act(state, one)


# --- Networks and environments that are given wrongly ---------------------------------


class Raw(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)

    def actor(self, params, obs, memory):
        return self(obs)

    critic = actor


def changed(**functions):
    return dataclasses.replace(own(None), **functions)


def gaussian():
    head = ppo.make_action_head(spaces.Box(-1, 1, (1,)))
    return changed(
        actor=lambda p, obs, m: (head.distribution(jnp.zeros((len(obs), 1)), None), m)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Raw, "network is the Flax module Raw; pass purejaxppo.ActorCritic(init=..., "),
        (lambda: object(), "network is an object without a function init; pass "),
        (
            lambda: changed(actor=lambda params, obs: None),
            "network.actor takes (params, obs); it is called with (params, obs, memory",
        ),
        (
            lambda: changed(actor=own(None).critic),
            "network.actor returns an array of shape (4,) first; it must be a d",
        ),
        (
            lambda: changed(actor=lambda p, obs, m: own(None).actor(p, obs, m)[0]),
            "network.actor returns a Categorical; it must return a pair: an action",
        ),
        (
            lambda: changed(critic=lambda p, obs, m: own(None).critic(p, obs, m)[0]),
            "network.critic returns an array of shape (4,); it must return a pair: v",
        ),
        (
            lambda: changed(critic=lambda p, obs, m: (jnp.zeros((4, 1)), m)),
            "The value of network.critic has shape (4, 1); it must be (4,), one for",
        ),
        (
            lambda: changed(critic=lambda p, obs, m: (jnp.zeros(()), m)),
            "The value of network.critic is of shape (); it must be an array with 4 r",
        ),
        (
            lambda: changed(critic=lambda p, obs, m: (p["v"], m)),
            "network.critic raised KeyError: 'v' (",
        ),
        (
            gaussian,
            "network.actor raised ValueError: log_std is None, but the standard",
        ),
    ],
)
def test_networks_that_do_not_keep_the_seam(make, message):
    with pytest.raises((TypeError, ValueError)) as error:
        ppo.make_ppo(TINY, probes.Match(), network=make())
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_standard_deviation_that_is_a_parameter_is_not_none():
    space = spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(2)])
    head = ppo.make_action_head(space)
    with pytest.raises(ValueError, match=r"^log_std is None, .*num_scales = 2 numb"):
        head.distribution(jnp.zeros((1, head.num_outputs)), None)
    with pytest.raises(ValueError, match=r"^Expected network\.log_std_init to be fl"):
        replace(TINY, {"network.log_std_init": None})
