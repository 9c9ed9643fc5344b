"""Grids: the settings that lists, ranges, draws, files and command lines ask for."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purejaxppo.cli.grid_options import parse_tables, parse_values
from purejaxppo.config.labels import label
from purejaxppo.study.grids import grids
from purejaxppo.study.grids.grids import (
    LogUniform,
    Uniform,
    crossed,
    from_tables,
    linear_range,
    log_range,
    product,
    read_range,
    sampled,
    settings_of,
    zipped,
)

COLUMNS = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=4), min_size=1
)
BOUNDS = st.tuples(st.floats(1e-8, 1e8), st.floats(1.01, 1e3)).map(
    lambda x: (x[0], x[0] * x[1])
)


def message(call, *arguments, **named):
    with pytest.raises(ValueError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Lists --------------------------------------------------------------------------


@given(COLUMNS)
def test_a_product_is_all_combinations_the_last_field_fastest(columns):
    names = list(columns)
    rows = itertools.product(*columns.values())
    assert product(columns) == [dict(zip(names, row, strict=True)) for row in rows]


@given(st.lists(st.tuples(st.integers(), st.text()), min_size=1))
def test_zipped_values_belong_together(rows):
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    assert zipped(columns) == [{"a": a, "b": b} for a, b in rows]


@given(COLUMNS, COLUMNS.map(lambda x: {name.upper(): y for name, y in x.items()}))
def test_crossed_products_are_one_product(one, other):
    assert crossed(product(one), product(other)) == product(one | other)


def test_arrays_and_their_numbers_become_pythons():
    given = {"a": np.linspace(0, 1, 3), "b": jnp.asarray([2, 3]), "c": [np.bool_(True)]}
    [first, *_] = product(given)
    assert [type(x) for x in first.values()] == [float, int, bool]
    [setting] = settings_of([{"a": np.float32(0.5), "env.goal": jnp.ones(2)}])
    assert setting == {"a": 0.5, "env.goal": [1.0, 1.0]}
    assert product({"widths": [(8, 8), [4]]})[1] == {"widths": [4]}


def test_no_grid_is_one_setting_without_changes():
    assert settings_of(None) == ({},)
    assert settings_of({"a": [1, 2]}) == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({}, "Expected grid to have at least one field, got none."),
        ([], "Expected grid to have at least one setting, got none."),
        ([{}], "Expected grid to have at least one setting, got none."),
        ({"gamma": []}, "Expected gamma to have at least one value, got none."),
        ({"gamma": 0.9}, "Expected the values of gamma to be a list, got 0.9."),
        ({"gamma": "0.9"}, "Expected the values of gamma to be a list, got '0.9'."),
        (7, "Expected grid to be a dict or a list of them, got 7."),
        ("gamma", "Expected grid to be a dict or a list of them, got 'gamma'."),
        (["gamma"], "Expected a setting to be {field: value}, got 'gamma'."),
        (
            [{"a": 1, "b": 2}, {"a": 1}],
            "Expected all settings to have the fields a, b, got a in setting 1.",
        ),
        (
            [{"a": 1}, {}],
            "Expected all settings to have the fields a, got none in setting 1.",
        ),
        (
            {"kl_penalty": [None, {"coef": 1.0}]},
            "Expected the values of kl_penalty to be numbers, texts, none, or lists of "
            "them, got {'coef': 1.0}; a technique's own fields have dotted names.",
        ),
        (
            {name: range(128) for name in "abc"},
            "Expected a study to have at most 1,048,576 runs, got 2,097,152.",
        ),
    ],
)
def test_bad_grids(grid, expected):
    assert message(settings_of, grid) == expected


def test_bad_lists():
    assert message(zipped, {"a": [1], "b": [1, 2]}) == (
        "Expected zipped fields to have equally many values: a has 1, b has 2."
    )
    assert message(crossed, [{"a": 1}], [{"b": 2, "a": 1}]) == (
        "Expected each field in one grid only, got a twice."
    )
    many = [{"a": i} for i in range(1025)]
    assert message(crossed, many, [{"b": i} for i in range(1024)]) == (
        "Expected a study to have at most 1,048,576 runs, got 1,049,600."
    )


# --- Ranges -------------------------------------------------------------------------


@given(BOUNDS, st.integers(2, 9))
def test_ranges_have_equal_ratios_or_differences(bounds, num):
    low, high = bounds
    ratios, differences = log_range(low, high, num), linear_range(low, high, num)
    for values in (ratios, differences):
        assert len(values) == num
        assert (values[0], values[-1]) == (low, high)
    np.testing.assert_allclose(ratios, np.geomspace(low, high, num), rtol=1e-10)
    np.testing.assert_allclose(differences, np.linspace(low, high, num), rtol=1e-10)


def test_ranges_are_written_shortly():
    assert log_range(1e-5, 1e-2, 4) == [1e-5, 1e-4, 1e-3, 1e-2]
    assert linear_range(0.9, 0.99, 4) == [0.9, 0.93, 0.96, 0.99]


@pytest.mark.parametrize(
    ("make", "bounds", "expected"),
    [
        (log_range, (0.0, 1, 3), "log_range to be 0 < low < high, got 0.0 and 1."),
        (log_range, (2, 1, 3), "log_range to be 0 < low < high, got 2 and 1."),
        (linear_range, (1, 1, 3), "linear_range to be low < high, got 1 and 1."),
        (linear_range, (0, math.inf, 3), "to be low < high, got 0 and inf."),
        (linear_range, (math.nan, 1, 3), "to be low < high, got nan and 1."),
        (log_range, (1, 2, 1), "Expected log_range to have at least 2 values, got 1."),
        (log_range, (1, 2, 2**21), "at most 1,048,576 runs, got 2,097,152."),
    ],
)
def test_bad_ranges(make, bounds, expected):
    assert expected in message(make, *bounds)


# --- Draws --------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_draws_are_within_bounds_and_the_first_ones_stay(seed, num):
    domains = {"a": LogUniform(1e-4, 1e-1), "b": Uniform(-1, 1), "c": [1, 2, 3]}
    settings = sampled(domains, num, seed)
    assert settings == sampled(domains, num + 5, seed)[:num]
    for setting in settings:
        assert 1e-4 <= setting["a"] <= 1e-1
        assert -1 <= setting["b"] < 1
        assert setting["c"] in (1, 2, 3)


def test_draws_are_distributed_as_their_names_say():
    drawn = sampled(
        {"a": LogUniform(1e-4, 1.0), "b": Uniform(2, 4), "c": ["x", "y"]}, 4000, 3
    )
    a, b = (np.asarray([setting[name] for setting in drawn]) for name in "ab")
    thirds = np.quantile(np.log10(a), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(thirds, [-3, -2, -1], atol=0.1)
    np.testing.assert_allclose(np.quantile(b, [0.25, 0.75]), [2.5, 3.5], atol=0.05)
    assert 0.45 < np.mean([setting["c"] == "x" for setting in drawn]) < 0.55


def test_another_seed_draws_others():
    one, other = (sampled({"a": Uniform(0, 1)}, 3, seed=seed) for seed in (0, 1))
    assert one != other
    assert sampled({"a": np.asarray([7]).tolist()}, 1) == [{"a": 7}]


@pytest.mark.parametrize(
    ("domains", "numbers", "expected"),
    [
        ({}, (2,), "Expected at least one field to draw, got none."),
        (
            {"a": [1]},
            (0,),
            "Expected num_settings to be a whole number >= 1, got 0.",
        ),
        (
            {"a": [1]},
            (2.5,),
            "Expected num_settings to be a whole number >= 1, got 2.5.",
        ),
        ({"a": [1]}, (1, -1), "Expected seed to be a whole number >= 0, got -1."),
        ({"a": [1]}, (2**21,), "at most 1,048,576 runs, got 2,097,152."),
        ({"a": []}, (1,), "Expected a to have at least one value, got none."),
        ({"a": 3}, (1,), "Expected the values of a to be a list, got 3."),
        (
            {"a": LogUniform(0, 1)},
            (1,),
            "Expected the range of a to be 0 < low < high, got 0 and 1.",
        ),
    ],
)
def test_bad_draws(domains, numbers, expected):
    assert expected in message(sampled, domains, *numbers)


# --- Files and command lines --------------------------------------------------------


def test_tables_are_crossed():
    tables = {
        "grid": {"gamma": [0.9, 0.99]},
        "zip": {"num_envs": [4, 8], "num_steps": [16, 8]},
        "sample": {"learning_rate": "log(1e-5, 1e-2)", "num_settings": 3, "seed": 7},
    }
    drawn = sampled({"learning_rate": LogUniform(1e-5, 1e-2)}, 3, 7)
    assert from_tables(tables) == crossed(
        product(tables["grid"]), zipped(tables["zip"]), drawn
    )
    assert from_tables({}) == []


def test_dotted_names_need_no_quotes():
    quoted = {"grid": {"env.gravity": [1], "network.memory.size": [2]}}
    nested = {"grid": {"env": {"gravity": [1]}, "network": {"memory": {"size": [2]}}}}
    assert from_tables(quoted) == from_tables(nested)
    assert from_tables(nested) == [{"env.gravity": 1, "network.memory.size": 2}]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"grid": []}, "Expected grid to be a table of fields, got []."),
        ({"grid": {}}, "Expected grid to have at least one field, got none."),
        ({"zip": {}}, "Expected grid to have at least one field, got none."),
        (
            {"grid": {"env": {}}},
            "Expected grid to have at least one field, got none.",
        ),
        ({"grid": {"a": 1}}, "Expected the values of a to be a list, got 1."),
        (
            {"sample": {"a": [1]}},
            "Expected sample.num_settings to be given, got none.",
        ),
        (
            {"sample": {"num_settings": 3}},
            "Expected at least one field to draw, got none.",
        ),
        (
            {"sample": {"num_settings": "3", "a": [1]}},
            "Expected num_settings to be a whole number >= 1, got '3'.",
        ),
        (
            {"grid": {"a": "log(1, 2)"}},
            "Expected the range of a to have a number of values, as in log(1, 2, 8), "
            "got 'log(1, 2)'.",
        ),
        (
            {"grid": {"a": "linear(1, 2, 2.5)"}},
            "Expected the range of a to have a number of values, as in "
            "linear(1, 2, 8), got 'linear(1, 2, 2.5)'.",
        ),
        (
            {"grid": {"a": "log(1e-2, 1e-4, 4)"}},
            "Expected the range of a to be 0 < low < high, got 0.01 and 0.0001.",
        ),
        (
            {"zip": {"a": "log(1, 2, 0)"}},
            "Expected a to have at least 2 values, got 0.",
        ),
        (
            {"sample": {"a": "log(1, 2, 3)", "num_settings": 1}},
            "Expected the range of a, which is sampled, to be log(LOW, HIGH), got "
            "'log(1, 2, 3)'.",
        ),
        (
            {"grid": {"a": "cubic(1, 2, 3)"}},
            "Expected the range of a to be log(LOW, HIGH, NUMBER) or linear(LOW, HIGH, "
            "NUMBER), without NUMBER where it is sampled, got 'cubic(1, 2, 3)'.",
        ),
    ],
)
def test_bad_tables(tables, expected):
    assert message(from_tables, tables) == expected


def test_ranges_in_texts():
    assert read_range("a", " log(1, 1e2,3) ") == ("log", [1.0, 100.0, 3.0])
    assert read_range("a", "tanh") is None
    for text in ("log()", "log(1)", "log(a, 2, 3)", "log(1, 2, 3, 4)"):
        assert "Expected the range of a to be" in message(read_range, "a", text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("learning_rate=1e-4, 3e-4", [1e-4, 3e-4]),
        ("learning-rate=1e-4", [1e-4]),
        ("num_envs=4,1e1", [4, 10]),
        ("clip_eps=none,0.2", [None, 0.2]),
        ("anneal_lr=true,False", [True, False]),
        ("network.activation=tanh,relu", ["tanh", "relu"]),
        ("network.widths=64,64", [(64, 64)]),
        ("network.widths=64,64;128", [(64, 64), (128,)]),
        ("network.widths=;8", [(), (8,)]),
        ("kl_penalty=none,true", [None, True]),
        ("normalize_value=none,pop_art", [None, "pop_art"]),
        ("learning_rate=log(1e-5,1e-2,4)", "log(1e-5,1e-2,4)"),
        ("env.gravity=9.8,20", [9.8, 20]),
        ("env.goal=1,2;3,4", [[1, 2], [3, 4]]),
        ("env.windy=true,false", [True, False]),
        ("env.map=maze", ["maze"]),
    ],
)
def test_options_are_read_by_their_field_s_type(text, values):
    name, found = parse_values(text, "grid")
    assert name == text.partition("=")[0].replace("-", "_")
    assert found == values
    assert [type(x) for x in found] == [type(x) for x in values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gamma", "Expected --zip to be FIELD=VALUE,VALUE,..., got 'gamma'."),
        ("=1", "Expected --zip to be FIELD=VALUE,VALUE,..., got '=1'."),
        ("gamma= ", "Expected --zip to be FIELD=VALUE,VALUE,..., got 'gamma= '."),
        ("gamma=a", "Expected gamma to be FLOAT, got 'a'."),
        ("gamma=1,", "Expected gamma to be FLOAT, got ''."),
        ("env.gravity=1,,2", "Expected a value of env.gravity, got '1,,2'."),
        ("gamma=log(1)", "Expected the range of gamma to be log(LOW"),
        ("gamma=lg(1,2)", "Expected the range of gamma to be log(LOW"),
        (
            "network.widths=[[32,32],[64,64]]",
            "Expected the values of network.widths without brackets, lists of them "
            "apart by semicolons, as in network.widths=1,2;3,4, got '[[32,32],",
        ),
        ("gamma=[.9,1]", "Expected the values of gamma without brackets, lists of"),
        (
            "env=a,b",
            "Expected --zip of a field, got env: environments are a study each",
        ),
        ("seed=1,2", "Expected --zip of a field, got seed: --num-seeds and --seed"),
        ("num-seeds=1", "Expected --zip of a field, got num_seeds: --num-seeds is"),
    ],
)
def test_bad_options(text, expected):
    assert message(parse_values, text, "zip").startswith(expected)


def test_options_make_tables():
    tables = parse_tables(["gamma=0.9"], ["num_envs=4"], ["vf_coef=log(1,2)"], 5, 6)
    assert tables == {
        "grid": {"gamma": [0.9]},
        "zip": {"num_envs": [4]},
        "sample": {"vf_coef": "log(1,2)", "num_settings": 5, "seed": 6},
    }
    assert parse_tables([], [], [], None, 0) == {}
    twice = ["gamma=0.9", "gamma=0.99"]
    assert message(parse_tables, twice, [], [], None, 0) == (
        "Expected each field once in --grid, got gamma twice."
    )
    together = "Expected --sample and --num-samples together, got only one."
    assert message(parse_tables, [], [], ["gamma=0.9"], None, 0) == together
    assert message(parse_tables, [], [], [], 3, 0) == together


def test_a_setting_in_one_line():
    setting = {
        "learning_rate": 0.000123456,
        "network.widths": (64, 64),
        "autoregressive": (),
        "clip_eps": None,
        "anneal_lr": False,
        "activation": "tanh",
        "total_timesteps": 1_000_000,
    }
    assert label(setting) == (
        "learning_rate=0.0001235, network.widths=64x64, autoregressive=none, "
        "clip_eps=none, anneal_lr=false, activation=tanh, total_timesteps=1000000"
    )
    assert label({}) == ""
    assert label({"a": 1, "b": 2}, " ") == "a=1 b=2"


def test_more_runs_than_any_machine_trains_are_refused():
    grids.check_size(2**20)
    assert message(grids.check_size, 2**20 + 1) == (
        "Expected a study to have at most 1,048,576 runs, got 1,048,577."
    )
