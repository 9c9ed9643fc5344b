"""A run spread over devices by its environments is the run of one device."""

import json
import subprocess
import sys
from typing import Any, NamedTuple, cast

import distrax
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import purejaxppo as ppo
from purejaxppo.algorithm import shards
from purejaxppo.algorithm.algorithm import PER_ENV
from purejaxppo.algorithm.learning.epochs import over_shards
from purejaxppo.algorithm.learning.loss_terms import mean
from purejaxppo.algorithm.learning.objective import Diagnostics, log_ratio_figures
from purejaxppo.config.fields import replace
from tests import children
from tests.techniques import jit

KEY = jax.random.key(3)


class At(NamedTuple):
    place: jax.Array
    time: jax.Array


class Drift:
    """Two numbers that drift; reward for naming them. Every key that there is matters.

    Episodes end at random in either way, and after 4 steps.
    """

    default_params: Any = 0.3

    def reset(self, key, params):
        place = jax.random.normal(key, (2,))
        return place, At(place=place, time=jnp.int32(0))

    def step(self, key, state, action, params):
        noise, end, cut = jax.random.uniform(key, (3,))
        place = 0.8 * state.place + params * (noise - 0.5) + 0.1 * action
        time = state.time + 1
        return ppo.Step(
            obs=place,
            state=At(place=place, time=time),
            reward=-jnp.square(action - state.place).sum(),
            terminated=end < 0.1,
            truncated=(cut < 0.1) | (time >= 4),
            info={},
        )

    def observation_space(self, params):
        return gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def action_space(self, params) -> gymnasium.Space:
        return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


class Hybrid(Drift):
    """`Drift` by a hybrid action."""

    def step(self, key, state, action, params):
        return super().step(key, state, action[0] * action[1], params)

    def action_space(self, params) -> gymnasium.Space:
        kind = gymnasium.spaces.Discrete(2)
        return gymnasium.spaces.Tuple([kind, super().action_space(params)])


class Linear:
    """A network of one's own, whose actions are all sampled of one key."""

    scale_shape: tuple[int, ...] = ()

    def init(self, key, obs):
        actor = 0.3 * jax.random.normal(key, (2, 2))
        return {"actor": actor, "critic": jnp.zeros(2)}

    def actor(self, params, obs, memory):
        scale = jnp.full(self.scale_shape, 0.5)
        each = distrax.Normal(obs @ params["actor"], scale)
        return distrax.Independent(each, 1), memory

    def critic(self, params, obs, memory):
        return obs @ params["critic"], memory


class Unjoinable(Linear):
    """Its distribution has an array without a row for each environment."""

    scale_shape = 1, 2


SMALL = ppo.Config(
    total_timesteps=3 * 64,
    num_envs=8,
    num_steps=8,
    num_epochs=2,
    num_minibatches=2,
    learning_rate=3e-2,
    network=ppo.NetworkConfig(widths=()),
)
CASES = {
    "scales": (
        {
            "evaluation": True,
            "evaluation.every": 2,
            "evaluation.max_steps": 5,
            "evaluation.num_episodes": 3,
            "kl_stop.target": 0.01,
            "normalize_observation": True,
            "normalize_reward": "reward_normalization",
            "normalize_value": "running_mean_std",
            "num_starts": 3,
            "truncation": "drop",
        },
        Drift(),
        (8,),
    ),
    "adaptive": (
        {
            "anneal_lr": False,
            "ent_coef": 0.1,
            "ent_schedule": "entropy_target",
            "kl_learning_rate.max": 1e-1,
            "kl_learning_rate.target": 1e-3,
            "network.shared": True,
            "network.widths": (8,),
            "normalize_advantage": None,
            "normalize_reward": "reward_standardization",
            "normalize_value": "pop_art",
            "recompute_advantages": True,
            "scale_advantage": "mean_absolute",
            "shuffle": "trajectories",
        },
        Drift(),
        (4,),
    ),
    "memory": (
        {
            "network.memory": "lstm",
            "network.memory.size": 4,
            "normalize_advantage": "batch",
            "sequence_length": 4,
            "truncation": "drop",
        },
        Drift(),
        (4,),
    ),
    "hybrid": (
        {
            "clip_eps": None,
            "critic_epochs": 3,
            "kl_penalty.target": 0.01,
            "kl_stop.scope": "policy",
            "kl_stop.target": 0.01,
            "ratio": "factored",
            "truncation": "drop",
        },
        Hybrid(),
        (2,),
    ),
    "trpo": ({"clip_eps": None, "shuffle": "none", "trpo": True}, Drift(), (2,)),
}
"""Name -> what is on, the environment, and the numbers of shards."""


def plain(tree):
    """A tree with keys as their numbers."""

    def unwrap(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return jax.tree.map(unwrap, tree)


def specs(*runs):
    """How a state is laid out over the mesh axes of runs, if any, and `env`."""
    return jax.tree.map(lambda own: PartitionSpec(*runs, *["env"] * own), PER_ENV)


def result_specs(*runs) -> Any:
    """How a run's result is laid out; metrics are the same in all shards."""
    return ppo.Result(specs(*runs), cast(Any, PartitionSpec(*runs)))


def over_envs(function, num_shards, out_specs):
    """`function` of a replicated key, on so many devices."""
    mesh = Mesh(jax.devices()[:num_shards], ("env",))
    return jit(
        jax.shard_map(
            function,
            mesh=mesh,
            in_specs=PartitionSpec(),
            out_specs=out_specs,
            check_vma=False,
        )
    )


def sharded(config, env, num_shards, **own):
    train = ppo.make_train(config, env, axis_name="env", **own)
    return plain(over_envs(train, num_shards, result_specs())(KEY))


def whole(config, env, **own):
    return plain(jit(ppo.make_train(config, env, **own))(KEY))


def differences(a, b):
    """Where two trees differ by more than rounding: integers at all."""
    paired = zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True
    )
    return [
        f"{jax.tree_util.keystr(path)}: {x} {y}"
        for (path, x), y in paired
        if x.shape != y.shape
        or x.dtype != y.dtype
        or not np.allclose(
            x, y, rtol=1e-4, atol=1e-5 * (y.dtype.kind == "f"), equal_nan=True
        )
    ]


def over_runs(config, env, keys, **own):
    """Runs by `vmap` on each row of a mesh, their environments over its columns."""
    mesh = Mesh(np.reshape(jax.devices(), (2, -1)), ("run", "env"))
    train = ppo.make_train(config, env, axis_name="env", **own)
    mapped = jax.shard_map(
        jax.vmap(train),
        mesh=mesh,
        in_specs=PartitionSpec("run"),
        out_specs=result_specs("run"),
        check_vma=False,
    )
    return plain(jit(mapped)(keys))


def print_differences():
    """Of all cases on eight devices, as one line of JSON."""
    assert len(jax.devices()) == 8
    found = {}
    for name, (on, env, sizes) in CASES.items():
        config = replace(SMALL, on)
        expected = whole(config, env)
        for size in sizes:
            found[f"{name} {size}"] = differences(sharded(config, env, size), expected)
    keys = jax.random.split(KEY, 4)
    own: Any = {"network": Linear()}
    train = jit(jax.vmap(ppo.make_train(SMALL, Drift(), **own)))
    expected = plain(train(keys))
    found["runs"] = differences(over_runs(SMALL, Drift(), keys, **own), expected)
    print(json.dumps(found))


@pytest.fixture(scope="module")
def on_eight_devices():
    program = """
from tests.test_env_shards import print_differences
print_differences()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=children.environment(
            JAX_NUM_CPU_DEVICES="8",
            JAX_NUMPY_RANK_PROMOTION="raise",
            JAX_COMPILATION_CACHE_DIR=jax.config.values["jax_compilation_cache_dir"],
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.5",
        ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "case", [*(f"{name} {k}" for name, case in CASES.items() for k in case[2]), "runs"]
)
def test_shards_give_what_the_whole_gives(on_eight_devices, case):
    assert on_eight_devices[case] == []


def test_a_shard_holds_its_own_environments_and_all_of_the_rest():
    init = ppo.make_ppo(SMALL, Drift(), axis_name="env").init
    state = over_envs(init, 2, specs())(KEY)
    assert state.collector.now.obs.shape == (8, 2)
    for name, on in zip(PER_ENV._fields, PER_ENV, strict=True):
        for x in jax.tree.leaves(getattr(state, name)):
            share = x.sharding.shard_shape(x.shape)
            assert share == ((x.shape[0] // 2, *x.shape[1:]) if on else x.shape)


def test_a_network_of_ones_own_is_sampled_alike():
    own: Any = {"network": Linear()}
    expected = whole(SMALL, Drift(), **own)
    for num_shards in (1, 2):
        assert differences(sharded(SMALL, Drift(), num_shards, **own), expected) == []


class Whitened(Linear):
    """It starts by the spread of the first observations that it is shown."""

    def init(self, key, obs):
        params = super().init(key, obs)
        return {**params, "actor": params["actor"] / obs.std(0)[:, None]}


def test_a_network_that_starts_by_its_data_starts_alike_in_all_shards():
    """By that of all environments: else each shard would train a network of its own."""
    own: Any = {"network": Whitened()}
    expected = whole(SMALL, Drift(), **own)
    assert differences(sharded(SMALL, Drift(), 2, **own), expected) == []


# --- Parts --------------------------------------------------------------------------


def each(function, *trees, num=4):
    """A function of each of `num` shards, of slices `[num, ...]`."""
    return jax.vmap(function, axis_name="env", axis_size=num)(*trees)


def test_own_is_a_slice_and_gather_joins_them():
    x = jnp.arange(24).reshape(3, 8)
    mine = each(lambda _: shards.own(x, "env", axis=1), jnp.zeros(4))
    np.testing.assert_array_equal(mine, np.split(np.asarray(x), 4, axis=1))
    again = each(lambda mine: shards.gather(mine, "env", axis=1), mine)
    np.testing.assert_array_equal(again, [x] * 4)


def test_flat_rollouts_are_cut_by_environment():
    flat = jnp.arange(12)  # 3 steps of 4 environments.
    mine = each(lambda _: shards.own_flat(flat, "env", 3), jnp.zeros(2), num=2)
    np.testing.assert_array_equal(mine, [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]])
    again = each(lambda mine: shards.gather_flat(mine, "env", 3), mine, num=2)
    np.testing.assert_array_equal(again, [flat] * 2)


def test_one_shard_has_everything_and_no_axis():
    x = jnp.arange(6.0)
    assert shards.num_shards(None) == 1
    assert shards.own(x, None) is shards.gather(x, None) is shards.total(x, None) is x
    assert shards.own_flat(x, None, 2) is shards.gather_flat(x, None, 2) is x
    assert shards.mean_over(x, x, None) is x


WEIGHTS = {
    "none": None,
    "some": jnp.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], jnp.float32),
    "nothing": jnp.zeros((3, 4)),
}


@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
def test_means_and_figures_of_shards_are_those_of_all_samples(weight):
    log_ratio = 1e-3 * jax.random.normal(KEY, (3, 4))

    def seen(log_ratio, weight):
        figures = log_ratio_figures(log_ratio, jnp.exp(log_ratio), weight)
        return Diagnostics(mean(log_ratio, weight), (), (), clip_fraction=(), **figures)

    def one(log_ratio, weight):
        return over_shards(seen(log_ratio, weight), weight, "env")

    of_all = each(one, log_ratio, weight, num=3)
    flat = None if weight is None else weight.reshape(-1)
    expected = seen(log_ratio.reshape(-1), flat)
    for x, y in zip(jax.tree.leaves(of_all), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, [y] * 3, rtol=2e-4, atol=1e-9)


# --- What is refused ----------------------------------------------------------------


def refused(num, config=SMALL, env=None, **own):
    """The message for so many shards."""
    parts = ppo.make_ppo(config, env or Drift(), axis_name="env", **own)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(
            lambda: each(lambda _: parts.step(parts.init(KEY)), jnp.zeros(num), num=num)
        )
    return str(error.value)


def test_shards_divide_the_environments():
    message = "Expected num_envs to be a multiple of the 3 shards over 'env', got 8."
    assert refused(3) == message


def test_shards_divide_the_rows_of_a_minibatch():
    assert refused(8, replace(SMALL, {"num_minibatches": 16})) == (
        "Expected the environment steps of a minibatch to be a multiple of the 8 "
        "shards over 'env', got 4."
    )
    assert refused(8, replace(SMALL, {"network.memory": "lstm"})) == (
        "Expected the sequences of a minibatch to be a multiple of the 8 shards over "
        "'env', got 4."
    )


def test_the_axis_must_be_there():
    parts = ppo.make_ppo(SMALL, Drift(), axis_name="env")
    with pytest.raises(ValueError) as error:
        parts.init(KEY)
    assert str(error.value) == (
        "Expected init, step and advance to be called inside jax.shard_map over a mesh "
        "axis 'env', the axis_name, got no such axis."
    )


def test_a_distribution_that_cannot_be_joined_is_refused():
    assert refused(2, network=Unjoinable()) == (
        "Expected network.actor's distribution to have arrays [batch, ...], for shards "
        "to sample of, got Independent with [(1, 2), (4, 2)]."
    )


def test_a_loss_gives_no_deviation_without_its_mean():
    def loss(config, network, params, batch):
        total, seen = ppo.ppo_loss(config, network, params, batch)
        return total, seen._replace(ratio_mean=())

    assert refused(2, loss=loss) == (
        "Expected the loss's diagnostics to have ratio_mean with ratio_std, for shards "
        "to make one of theirs, got none."
    )
