"""Groups: what of a config and of an environment's parameters one program may vary."""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.config.fields import UnknownField, flatten
from purejaxppo.study import Study
from purejaxppo.study.grids import env_fields
from purejaxppo.study.grids.groups import Variant, make_variants, split, variant_of
from tests.techniques import (
    FLOATS,
    GROUPS,
    LEAVES,
    SMALL,
    STATIC,
    base,
    changes,
    values,
)


class Wind(NamedTuple):
    force: float = 1.0
    gusts: int = 2


@dataclasses.dataclass(frozen=True)
class Plain:
    """Parameters that JAX does not know as a tree."""

    length: int = 5


@flax.struct.dataclass
class Params:
    gravity: float = 9.8
    wind: Wind = Wind()
    goal: Any = (0.0, 1.0)
    windy: bool = True
    limit: int = flax.struct.field(pytree_node=False, default=10)


def groups_of(params, *settings, num_seeds=1, **how):
    variants = make_variants(SMALL, params, settings)
    return split(variants, settings, num_seeds, **how)


# --- The config ---------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_every_float_rides_in_one_program(group):
    config, numbers = base(group), GROUPS[group][1]
    names = [name for name, x in numbers.items() if isinstance(x, float)]
    settings = [{name: numbers[name]} for name in names]
    for name, setting in zip(names, settings, strict=True):
        both = [setting, {name: 0.999 * numbers[name]}]
        [found] = split(make_variants(config, None, both), both, 1)
        assert set(found.values) == {name}
        np.testing.assert_array_equal(
            found.values[name],
            np.asarray([numbers[name], 0.999 * numbers[name]], np.float32),
        )


@pytest.mark.parametrize("group", GROUPS)
def test_a_traced_float_is_put_back_in_its_place(group):
    config, numbers = base(group), GROUPS[group][1]
    settings = [
        {name: scale * x for name, x in numbers.items() if isinstance(x, float)}
        for scale in (1, 0.999)
    ]
    variants = make_variants(config, None, settings)
    [found] = split(variants, settings, 1)
    for i, variant in enumerate(variants):
        row = {name: x[i] for name, x in found.values.items()}
        got, wanted = (
            flatten(x) for x in (variant_of(found, row).config, variant.config)
        )
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            kind = np.float32 if isinstance(value, float) else lambda x: x
            assert got[name] == kind(value), name


def test_every_other_field_has_a_program_for_each_value():
    for name, kind in STATIC:
        every = values(LEAVES[name])
        variants = [
            Variant(
                make_variants(SMALL, None, [changes(name, kind, x)])[0].config, None
            )
            for x in every
        ]
        found = split(variants, [{name: x} for x in every], 3)
        assert len(found) == len(every), name
        assert [group.setting[name] for group in found] == every
        assert not any(group.values for group in found)
        runs = np.concatenate([group.runs for group in found])
        np.testing.assert_array_equal(runs, np.arange(3 * len(every)))


def test_the_walks_cover_every_field():
    floats = {
        name
        for _, numbers in GROUPS.values()
        for name, x in numbers.items()
        if isinstance(x, float)
    }
    tuples = {name for name, leaf in LEAVES.items() if leaf.kind == tuple[float, ...]}
    static = {name for name, _ in STATIC}
    assert floats | static | tuples == LEAVES.keys() - {"network"}
    assert all(LEAVES[name].kind in FLOATS for name in floats)


def test_runs_of_a_group_are_in_the_order_of_the_study():
    settings = [
        {"gamma": gamma, "num_envs": envs} for gamma in (0.9, 0.99) for envs in (2, 4)
    ]
    few, many = groups_of(None, *settings, num_seeds=2)
    assert few.runs.tolist() == [0, 1, 4, 5]
    assert many.runs.tolist() == [2, 3, 6, 7]
    np.testing.assert_array_equal(
        many.values["gamma"], np.asarray([0.9, 0.9, 0.99, 0.99], np.float32)
    )
    assert (few.name, many.name) == ("num_envs=2", "num_envs=4")
    assert (few.config.num_envs, many.config.num_envs) == (2, 4)


def test_arrays_of_jax_and_numpy_are_floats_too():
    numbers = [jnp.float32(1e-3), np.float32(2e-3), 3e-3]
    configs = [dataclasses.replace(SMALL, learning_rate=x) for x in numbers]
    [found] = split([Variant(x, None) for x in configs], [{}] * 3, 1)
    np.testing.assert_array_equal(
        found.values["learning_rate"], np.asarray([1e-3, 2e-3, 3e-3], np.float32)
    )


def test_whole_numbers_of_a_range_are_ints():
    variants = make_variants(
        SMALL, None, [{"num_envs": 8.0, "gamma": 1, "frame_stack": 2.0}]
    )
    config = variants[0].config
    assert (config.num_envs, type(config.num_envs)) == (8, int)
    assert (config.gamma, type(config.gamma)) == (1.0, float)
    assert type(config.frame_stack) is int


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"gama": 0.9}, "Unknown config field 'gama'; nearest: gamma, "),
        ({"env.gravty": 1}, "Unknown config field 'env.gravty'; nearest: env.gravity"),
        ({"env.wind.farce": 1}, "'env.wind.farce'; nearest: env.wind.force"),
        ({"gravity": 1}, "Unknown config field 'gravity'; nearest: env.gravity"),
        ({"network.width": (8,)}, "'network.width'; nearest: network.widths"),
        ({"gamma": 2}, "Expected gamma to be in [0, 1], got 2.0 (setting gamma=2)."),
        (
            {"num_envs": 4.5},
            "Expected num_envs to be int, got 4.5 (setting num_envs=4.5).",
        ),
        (
            {"num_minibatches": 3},
            "Expected num_minibatches to divide num_envs * num_steps = 32, got 3 "
            "(setting num_minibatches=3).",
        ),
        (
            {"env.gravity": "low"},
            "Expected env.gravity to be float, got 'low' (setting env.gravity=low).",
        ),
        ({"env.gravity": float("nan")}, "Expected env.gravity to be float, got nan"),
        ({"env.windy": 1}, "Expected env.windy to be bool, got 1"),
        ({"env.wind.gusts": 1.5}, "env.wind.gusts to be a whole number of int32, got"),
        ({"env.wind.gusts": 2**31}, "to be a whole number of int32, got 2147483648"),
        ({"env.wind.gusts": float("inf")}, "to be a whole number of int32, got inf"),
        ({"env.wind.gusts": True}, "to be a whole number of int32, got True"),
        ({"env.wind.gusts": [1]}, "to be a whole number of int32, got [1]"),
        (
            {"env.wind": 1},
            "Unknown config field 'env.wind'; nearest: env.windy, env.wind.",
        ),
    ],
)
def test_bad_settings_are_one_line(setting, expected):
    with pytest.raises(ValueError) as caught:
        make_variants(SMALL, Params(), [{}, setting])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_told_once():
    with pytest.raises(UnknownField) as caught:
        make_variants(SMALL, Params(), [{"env.gravty": 1}])
    assert str(caught.value).count("env.gravity") == 1


# --- The environment's parameters ---------------------------------------------------


def test_parameters_by_dotted_name():
    flat = env_fields.flatten(Params())
    assert flat == {
        "gravity": 9.8,
        "wind.force": 1.0,
        "wind.gusts": 2,
        "goal": (0.0, 1.0),
        "windy": True,
        "limit": 10,
    }
    changed = env_fields.replace(
        Params(), {"wind.force": 3, "gravity": 1, "goal": [2, 3], "windy": False}
    )
    assert changed.wind == Wind(3.0, 2)
    assert (changed.gravity, changed.windy) == (1.0, False)
    assert type(changed.wind.force) is float
    np.testing.assert_array_equal(changed.goal, [2.0, 3.0])
    tree = {"a": {"b": np.zeros(2, np.float32)}, "c": Plain(4)}
    changed = env_fields.replace(tree, {"a.b": [1, 2], "c.length": 6.0})
    assert changed["a"]["b"].dtype == np.float32
    assert changed["c"] == Plain(6)
    assert tree["c"] == Plain(4)


@pytest.mark.parametrize(
    ("params", "name", "numbers"),
    [
        (Params(), "env.gravity", (1.0, 2.0)),
        (Params(), "env.wind.force", (1.0, 2.0)),
        (Params(), "env.wind.gusts", (1, 2)),
        (Params(), "env.windy", (False, True)),
        (probes.CountingParams(), "env.length", (3, 4)),
        ({"a": {"b": 0.5}}, "env.a.b", (1.0, 2.0)),
        ({"goal": jnp.zeros(2)}, "env.goal", ([1.0, 2.0], [3.0, 4.0])),
    ],
)
def test_numbers_of_the_environment_ride_in_one_program(params, name, numbers):
    settings = [{name: x} for x in numbers]
    [found] = groups_of(params, *settings, num_seeds=2)
    assert set(found.values) == {name}
    np.testing.assert_array_equal(found.values[name], np.repeat(numbers, 2, axis=0))
    for i, setting in enumerate(settings):
        row = {k: jnp.asarray(x[2 * i]) for k, x in found.values.items()}
        back = env_fields.flatten(variant_of(found, row).env_params)
        np.testing.assert_array_equal(back[name.removeprefix("env.")], setting[name])
    apart = groups_of(params, *settings, env_static=True)
    assert [group.setting for group in apart] == settings


@pytest.mark.parametrize(
    ("params", "name", "settings"),
    [
        (Params(), "env.limit", (10, 20)),
        (Plain(), "env.length", (3, 4)),
        ({"map": "maze", "length": 3}, "env.map", ("maze", "field")),
    ],
)
def test_what_is_no_number_has_a_program_of_its_own(params, name, settings):
    found = groups_of(
        params, *({name: x, "gamma": g} for x in settings for g in (0, 1))
    )
    assert len(found) >= 2
    assert {group.setting[name] for group in found} == set(settings)


class Sized(probes.Cut):
    """An environment whose parameter is the size of its observations."""

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return jnp.broadcast_to(obs, (int(params.length),)), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=jnp.broadcast_to(step.obs, (int(params.length),)))

    def observation_space(self, params):
        return probes.gymnasium.spaces.Box(0.0, 1.0, (int(params.length),))


def test_an_environment_that_must_know_its_parameters_is_told():
    grid = {"env.length": [3, 4], "gamma": [0.9, 0.99]}
    three, four = Study(SMALL, Sized(), 2, grid=grid).groups
    assert (three.name, four.name) == ("env.length=3", "env.length=4")
    assert set(three.values) == {"gamma"}
    assert three.env_params.length == 3
    [found] = Study(SMALL, probes.Cut(), 2, grid=grid).groups
    assert set(found.values) == {"gamma", "env.length"}


def test_parameters_without_a_grid_are_left_as_they_are():
    params = Params(gravity=np.float64(3.0))
    [found] = groups_of(params, {}, num_seeds=2)
    assert found.env_params is params
    assert found.values == {}
    assert jax.tree.leaves(variant_of(found, {}).env_params) == jax.tree.leaves(params)
    [alone] = Study(ppo.Config(), probes.Cut(), 2).groups
    assert (alone.name, alone.values) == ("", {})
