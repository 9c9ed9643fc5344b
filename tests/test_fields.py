"""Access to config fields by dotted name."""

import jax.numpy as jnp
import pytest

import purejaxppo as ppo
from purejaxppo.fields import flatten, leaves, nearest, parse, replace

CONFIGS = [
    ppo.Config(),
    ppo.Config(
        normalize_observation=ppo.ObservationNormalization(clip=5.0),
        evaluation=ppo.EvaluationConfig(every=3),
        network=ppo.NetworkConfig(widths=(8,), shared=True),
        vf_clip_eps=0.2,
        max_grad_norm=None,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_flatten_and_replace_are_inverse(config):
    assert replace(ppo.Config(), flatten(config)) == config


def test_leaves_name_every_field_once_with_help():
    names = [leaf.name for leaf in leaves(ppo.Config)]
    assert len(set(names)) == len(names)
    assert {"gamma", "network", "network.widths", "evaluation.every"} <= set(names)
    assert all(leaf.help.endswith(".") for leaf in leaves(ppo.Config))


def test_techniques_switch_on_and_off():
    on = replace(ppo.Config(), {"evaluation": True})
    assert on.evaluation == ppo.EvaluationConfig()
    by_field = replace(ppo.Config(), {"evaluation.every": 3})
    assert by_field.evaluation == ppo.EvaluationConfig(every=3)
    by_mapping = replace(ppo.Config(), {"evaluation": {"every": 3}})
    assert by_mapping == by_field
    again = replace(by_field, {"evaluation.num_episodes": 2})
    assert again.evaluation == ppo.EvaluationConfig(every=3, num_episodes=2)
    assert replace(again, {"evaluation": None}).evaluation is None
    assert replace(again, {"evaluation": False}).evaluation is None
    assert replace(again, {"evaluation": True}).evaluation == again.evaluation


def test_values_are_made_to_fit():
    config = replace(
        ppo.Config(),
        {"network.widths": [8, 8], "learning_rate": 1, "max_grad_norm": "none"},
    )
    assert config.network.widths == (8, 8)
    assert isinstance(config.learning_rate, float)
    assert config.max_grad_norm is None
    assert replace(config, {"gamma": jnp.float32(0.5)}).gamma == 0.5


@pytest.mark.parametrize(
    "name, near",
    [
        ("learning_rat", "learning_rate"),
        ("network.width", "network.widths"),
        ("evaluation.evry", "evaluation.every"),
    ],
)
def test_unknown_names_give_the_nearest(name, near):
    with pytest.raises(ValueError) as error:
        replace(ppo.Config(), {name: 1})
    message = str(error.value)
    assert "\n" not in message and near.split(".")[-1] in message
    assert name.split(".")[-1] in message


def test_a_field_of_what_has_none_is_unknown():
    with pytest.raises(ValueError, match=r"^Unknown config field 'gamma\.x'"):
        replace(ppo.Config(), {"gamma.x": 1})


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"^Expected evaluation\.every to be > 0"):
        replace(ppo.Config(), {"evaluation.every": 0})


def test_nearest_gives_all_where_none_is_near():
    assert nearest("zzz", ["gamma", "seed"]) == "known: gamma, seed"
    assert nearest("gama", ["gamma", "seed"]) == "nearest: gamma"


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("gamma", "0.5", 0.5),
        ("total_timesteps", "500_000", 500_000),
        ("anneal_lr", "false", False),
        ("network.widths", "64,32", (64, 32)),
        ("max_grad_norm", "none", None),
        ("normalize_advantage", "batch", "batch"),
        ("evaluation", "true", True),
    ],
)
def test_parse(name, text, value):
    leaf = next(leaf for leaf in leaves(ppo.Config) if leaf.name == name)
    assert parse(leaf, text) == value


@pytest.mark.parametrize(
    "name, text",
    [("gamma", "high"), ("num_envs", "2.5"), ("anneal_lr", "2"), ("gamma", "none")],
)
def test_parse_refuses_in_one_line(name, text):
    leaf = next(leaf for leaf in leaves(ppo.Config) if leaf.name == name)
    with pytest.raises(
        ValueError, match=rf"^Expected {name} to be .*, got '{text}'\.$"
    ):
        parse(leaf, text)
