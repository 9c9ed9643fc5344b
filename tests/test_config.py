"""Every field of the config: its rule, its effect, and whether it can be traced."""

import dataclasses
import re
from collections import Counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import CountingParams, Cut, Identity
from purejaxppo.fields import leaves, replace

LEAVES = {leaf.name: leaf for leaf in leaves(ppo.Config)}
FLOATS = [name for name, leaf in LEAVES.items() if leaf.kind in (float, float | None)]
STATIC = [name for name in LEAVES if name not in FLOATS]

# Every technique on, and every float where a change of it can be seen.
SMALL = ppo.Config(
    total_timesteps=3 * 32,
    num_envs=4,
    num_steps=8,
    num_epochs=2,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8, 8)),
)
START = {
    "learning_rate": 3e-3,
    "adam_eps": 1e-2,
    "max_grad_norm": 0.1,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "clip_eps": 1e-3,
    "vf_coef": 0.5,
    "vf_clip_eps": 1e-3,
    "ent_coef": 0.01,
    "normalize_observation.clip": 0.5,
    "normalize_observation.eps": 0.1,
    "normalize_reward.clip": 0.5,
    "normalize_reward.eps": 0.1,
    "network.log_std_init": -1.0,
}


class Walk(Cut):
    """Observations of one episode length, rewards for any of two numbers as action."""

    def step(self, key, state, action, params):
        reward = -jnp.sum(jnp.square(action - 0.5))
        return super().step(key, state, action, params)._replace(reward=reward)

    def action_space(self, params):
        return Identity().action_space(params)


def train(config, key):
    return ppo.make_train(config, Walk(), CountingParams(5))(key)


def leaves_of(result):
    return [x for x in jax.tree.leaves(result) if jnp.issubdtype(x.dtype, np.floating)]


@pytest.fixture(scope="module")
def sweep():
    """One program for all floats; run 0 is the start, run i + 1 has float i changed."""
    names = list(START)
    values = np.tile(np.array(list(START.values()), np.float32), (len(names) + 1, 1))
    values[np.arange(1, len(names) + 1), np.arange(len(names))] *= 0.7
    values = jnp.asarray(values)
    config = replace(SMALL, {"anneal_lr": True, **START})

    @chex.assert_max_traces(n=1)
    def run(values):
        changes = dict(zip(names, values, strict=True))
        return train(replace(config, changes), jax.random.key(0))

    batched = jax.jit(jax.vmap(run))(values)
    chex.clear_trace_counter()
    alone = jax.jit(run)
    return batched, [alone(row) for row in values]


def test_all_float_fields_are_swept():
    assert set(FLOATS) == set(START)


@pytest.mark.parametrize("i", range(len(START) + 1), ids=["start", *START])
def test_a_traced_float_gives_what_it_gives_alone(sweep, i):
    batched, alone = sweep
    one = jax.tree.map(lambda x: x[i], batched)
    assert alone[i].metrics.finite.all()
    for a, b in zip(leaves_of(one), leaves_of(alone[i]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("i", range(len(START)), ids=list(START))
def test_a_float_field_changes_the_result(sweep, i):
    _, alone = sweep
    pairs = zip(leaves_of(alone[0]), leaves_of(alone[i + 1]), strict=True)
    assert any(not np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_python_floats_give_the_same_as_traced_ones(sweep):
    result = jax.jit(lambda key: train(replace(SMALL, START), key))(jax.random.key(0))
    for a, b in zip(leaves_of(result), leaves_of(sweep[1][0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


OTHER = {
    "total_timesteps": 64,
    "num_envs": 2,
    "num_steps": 16,
    "num_epochs": 1,
    "num_minibatches": 4,
    "anneal_lr": False,
    "normalize_advantage": "batch",
    "normalize_observation": None,
    "normalize_reward": None,
    "evaluation": None,
    "evaluation.every": 2,
    "evaluation.num_episodes": 3,
    "evaluation.max_steps": 7,
    "evaluation.seed": 5,
    "evaluation.deterministic": False,
    "network": ppo.NetworkConfig(),
    "network.widths": (8,),
    "network.activation": "relu",
    "network.layer_norm": True,
    "network.shared": True,
}
ON = replace(SMALL, {"evaluation.every": 1, "evaluation.num_episodes": 2, **START})


def program(config):
    """What is traced, without the addresses that some of its parameters print."""
    traced = jax.make_jaxpr(lambda key: train(config, key))(jax.random.key(0))
    return re.sub(r"0x[0-9a-f]+", "", str(traced))


@pytest.fixture(scope="module")
def program_on():
    return program(ON)


def test_all_static_fields_are_changed():
    assert set(STATIC) == set(OTHER)


@pytest.mark.parametrize("name", STATIC)
def test_a_static_field_changes_the_program(program_on, name):
    assert program(replace(ON, {name: OTHER[name]})) != program_on


def test_the_same_config_gives_the_same_program(program_on):
    assert program(replace(ON, {})) == program_on


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize_observation": True},
        {"normalize_reward": True},
        {"evaluation": True},
        {"normalize_advantage": "minibatch"},
        {"max_grad_norm": 0.5},
        {"network.layer_norm": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_off_is_absent(changes):
    off = replace(SMALL, {"normalize_advantage": None, "max_grad_norm": None})

    def primitives(config):
        return Counter(re.findall(r"= (\w+)[ \[]", program(config)))

    without, with_it = primitives(off), primitives(replace(off, changes))
    assert without < with_it


def test_the_value_clip_that_is_off_is_absent():
    def plain(config, network, params, batch):
        """The loss as one would write it without a value clip."""
        assert config.vf_clip_eps is None
        unclipped = dataclasses.replace(config, vf_clip_eps=None)
        return ppo.ppo_loss(unclipped, network, params, batch)

    def plain_program(config):
        make = ppo.make_train(config, Walk(), CountingParams(5), loss=plain)
        text = str(jax.make_jaxpr(make)(jax.random.key(0)))
        return re.sub(r"0x[0-9a-f]+", "", text)

    assert plain_program(SMALL) == program(SMALL)
    clips = [program(c).count(" max ") for c in (SMALL, replace(SMALL, START))]
    assert clips[0] < clips[1]


def test_techniques_that_are_off_carry_nothing(key):
    state = jax.eval_shape(ppo.make_ppo(SMALL, Walk()).init, key)
    assert (state.obs_statistics, state.reward_scale) == ((), ())
    result = jax.eval_shape(lambda key: train(SMALL, key), key)
    metrics = result.metrics
    assert (metrics.evaluation_return, metrics.evaluation_length) == ((), ())


BAD = {
    "total_timesteps": [0, -5, 1.5, "many", True],
    "num_envs": [0, 2.0, None],
    "num_steps": [0, -1],
    "num_epochs": [0],
    "num_minibatches": [0],
    "learning_rate": [-1e-4, float("nan"), float("inf"), "fast", None],
    "anneal_lr": [1, None, "yes"],
    "adam_eps": [0.0, -1.0],
    "max_grad_norm": [0.0, -0.5],
    "gamma": [-0.1, 1.1, np.float32(2)],
    "gae_lambda": [-0.1, 1.1],
    "clip_eps": [0.0, -0.2],
    "vf_coef": [-0.5],
    "vf_clip_eps": [0.0],
    "ent_coef": [-0.1],
    "normalize_advantage": ["batches", 1],
    "normalize_observation": [1],
    "normalize_observation.clip": [0.0],
    "normalize_observation.eps": [0.0, -1.0],
    "normalize_reward": ["yes"],
    "normalize_reward.clip": [-1.0],
    "normalize_reward.eps": [0.0],
    "evaluation": [3],
    "evaluation.every": [0, 1.5],
    "evaluation.num_episodes": [0],
    "evaluation.max_steps": [0],
    "evaluation.seed": [-1],
    "evaluation.deterministic": [1],
    "network": ["mlp"],
    "network.widths": [(0,), (8, -1), (1.5,), 64],
    "network.activation": ["sigmoid", None],
    "network.layer_norm": [0],
    "network.shared": [0],
    "network.log_std_init": [float("nan"), "low"],
}


def test_every_field_is_given_bad_values():
    assert set(BAD) == set(LEAVES)


@pytest.mark.parametrize("name, value", [(n, v) for n in BAD for v in BAD[n]])
def test_bad_values_raise_one_line_with_field_rule_and_value(name, value):
    head, _, rest = name.partition(".")
    kind = (rest and LEAVES[head].technique) or ppo.Config
    with pytest.raises(ValueError) as error:
        kind(**{rest or head: value})
    message = str(error.value)
    pattern = rf"Expected {re.escape(name)} to .+, got {re.escape(repr(value))}\."
    assert re.fullmatch(pattern, message), message


@pytest.mark.parametrize("widths", [(), (8,), (8, 16, 4)])
def test_good_widths(widths):
    assert ppo.NetworkConfig(widths=widths).widths == widths


def test_minibatches_must_divide_the_batch():
    with pytest.raises(
        ValueError, match=r"^Expected num_minibatches to divide .*64.*5"
    ):
        ppo.Config(num_envs=4, num_steps=16, num_minibatches=5)


def test_a_run_must_hold_one_batch():
    expected = r"^Expected total_timesteps to be at least one batch.*512, got 511\.$"
    with pytest.raises(ValueError, match=expected):
        ppo.Config(total_timesteps=511)


def test_derived_sizes():
    config = ppo.Config(
        total_timesteps=1000, num_envs=4, num_steps=16, num_minibatches=2
    )
    sizes = config.batch_size, config.minibatch_size, config.num_updates
    assert sizes == (64, 32, 15)


def test_traced_values_and_arrays_pass_unchecked():
    assert ppo.Config(learning_rate=jnp.float32(-1)).learning_rate == -1
    jax.eval_shape(lambda x: ppo.Config(gamma=x) and x, 2.0)
    with pytest.raises(ValueError, match="gamma"):
        replace(ppo.Config(), {"gamma": jnp.ones(2)})
