"""Access to config fields by dotted name."""

import dataclasses
import typing

import jax.numpy as jnp
import pytest

import purejaxppo as ppo
from purejaxppo.cli.grid_options import parse_values
from purejaxppo.config import techniques as t
from purejaxppo.config.config import Config
from purejaxppo.config.fields import (
    FieldError,
    flatten,
    kind_name,
    leaves,
    nearest,
    own_leaves,
    parse,
    replace,
)
from purejaxppo.config.presets import PRESETS
from purejaxppo.study.grids.groups import make_configs
from purejaxppo.study.storage import files

LEAVES = {leaf.name: leaf for leaf in leaves(ppo.Config)}

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


# --- Techniques ---------------------------------------------------------------------

NEEDED = {
    "kl_learning_rate": {"anneal_lr": False},
    "scale_advantage": {"normalize_advantage": None},
    "clip_grad": {"max_grad_norm": None},
    "shared_optimizer": {"network.shared": True},
    "trpo": {"clip_eps": None},
}


def odd(leaf, i):
    """A value of a field that is not its default, and not round."""
    if leaf.choices:
        return next(x for x in reversed(leaf.choices) if x != leaf.default)
    if leaf.default is None:
        return (i + 1) / 7 if "float" in str(leaf.kind) else 3
    if isinstance(leaf.default, bool):
        return not leaf.default
    if isinstance(leaf.default, tuple):
        return tuple(x * 6 / 7 + 1 / 9 for x in leaf.default)
    if isinstance(leaf.default, int):
        return leaf.default + 1
    return leaf.default * 6 / 7 or 0.1


def with_odd_numbers(name, kind):
    """A config with one technique, each of whose fields has a value of its own."""
    technique = LEAVES[name].techniques[kind]
    own = {leaf.name: odd(leaf, i) for i, leaf in enumerate(own_leaves(technique))}
    needed = NEEDED.get(name, {})
    return replace(ppo.Config(), {**needed, name: {"kind": kind, **own}})


KINDS = [
    (name, kind)
    for name, leaf in LEAVES.items()
    if name != "network"
    for kind in leaf.techniques
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_every_technique_survives_flattening_and_toml(name, kind, tmp_path):
    config = with_odd_numbers(name, kind)
    fields = {n: x for n, x in flatten(config).items() if n.startswith(f"{name}.")}
    fields.pop(f"{name}.kind", None)
    for field, value in fields.items():
        assert value not in (None, LEAVES[field].default)
    assert replace(ppo.Config(), flatten(config)) == config
    assert written_and_read(config, tmp_path) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_flattening_and_toml(name, tmp_path):
    config = PRESETS[name]()
    assert replace(ppo.Config(), flatten(config)) == config
    assert written_and_read(config, tmp_path) == config


def written_and_read(config, directory):
    """What comes back from the file, where lists stand for tuples and text for none."""
    job = files.Job("CartPole-v1", 3, 7, config)
    files.write_job(directory, job)
    back = files.read_job(directory / "config.toml")
    assert back == job
    for leaf in own_leaves(type(config)):
        assert type(getattr(back.config, leaf.name)) is type(getattr(config, leaf.name))
    return back.config


def test_what_a_file_turns_off_is_off_and_what_it_leaves_out_is_default(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        "[config]\nclip_eps = 'none'\nadvantage = 'n_step'\ntrpo = true\n"
        "kl_stop = false\n[config.ent_schedule]\ntimes = [0, 1]\nfactors = [1, 0]\n"
        "[config.network.sigma]\nkind = 'fixed_sigma'\nvalue = 1\n"
    )
    assert files.read_job(path).config == ppo.Config(
        clip_eps=None,
        advantage=t.NStep(),
        trpo=t.TRPO(),
        ent_schedule=t.Piecewise((0.0, 1.0), (1.0, 0.0)),
        network=ppo.NetworkConfig(sigma=t.FixedSigma(1.0)),
    )


def on(**changes):
    return replace(ppo.Config(), {k.replace("__", "."): x for k, x in changes.items()})


def test_alternatives_are_switched_on_by_name_by_field_and_by_true():
    assert on(advantage="n_step").advantage == t.NStep()
    assert on(advantage__n=3).advantage == t.NStep(3)
    assert on(advantage=True).advantage == t.OneStep()
    assert on(advantage={"kind": "n_step", "n": 3}).advantage == t.NStep(3)
    assert on(advantage="n_step", advantage__n=3).advantage == t.NStep(3)
    assert on(advantage={"baseline": "batch_mean", "kind": "episode_return"}) == on(
        advantage=t.EpisodeReturn("batch_mean")
    )
    assert on(clip_grad__warmup=3).clip_grad == t.ClipMomentum(warmup=3)
    assert on(network__sigma__value=0.3).network.sigma == t.FixedSigma(0.3)
    assert on(network={"sigma": {"every": 9}}) == on(network__sigma__every=9)


def test_alternatives_give_way_to_each_other_and_go_off():
    n_step = on(advantage__n=3)
    assert replace(n_step, {"advantage": "n_step"}) == n_step
    assert replace(n_step, {"advantage": True}) == n_step
    assert replace(n_step, {"advantage": "one_step"}).advantage == t.OneStep()
    to_go = replace(n_step, {"advantage": "reward_to_go", "advantage.baseline": None})
    assert to_go.advantage == t.RewardToGo(None)
    again = replace(to_go, {"advantage.baseline": "batch_mean"})
    assert again.advantage == t.RewardToGo("batch_mean")
    for off in (None, False, "none"):
        assert replace(n_step, {"advantage": off}).advantage is None
    sigma = on(network__sigma="state_sigma", network__sigma__high=1)
    assert sigma.network.sigma == t.StateSigma(high=1.0)
    widths = replace(sigma, {"network.widths": [8]})
    assert widths.network == dataclasses.replace(sigma.network, widths=(8,))
    assert replace(sigma, {"network.sigma": None}) == ppo.Config()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"advantage.baseline": "value"},
            "Expected advantage to be given, as one of reward_to_go, episode_return, "
            "got None.",
        ),
        (
            {"clip_grad.max": 1.0},
            "Expected clip_grad to be given, as one of clip_norm, clip_value, "
            "ignore_norm, ignore_value, got None.",
        ),
        (
            {"network.sigma.kind": "conditioned"},
            "Expected network.sigma to be one of fixed_sigma, scheduled_sigma, "
            "state_sigma, got 'conditioned'.",
        ),
        (
            {"kl_penalty": "adaptive"},
            "Expected kl_penalty to be one of kl_penalty, got 'adaptive'.",
        ),
        (
            {"network.sigma.low": "high"},
            "Expected network.sigma.low to be float, got 'high'.",
        ),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_kinds_that_are_unknown_or_could_be_several(changes, expected):
    with pytest.raises(FieldError) as error:
        replace(ppo.Config(), changes)
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"advantge": True}, "Unknown config field 'advantge'; nearest: advantage"),
        (
            {"advantage.m": 3},
            "Unknown config field 'advantage.m'; nearest: advantage.n",
        ),
        (
            {"advantage.n.x": 3},
            "Unknown config field 'advantage.n.x' of n_step; nearest: advantage.n",
        ),
        (
            {"advantage": "n_step", "advantage.baseline": "value"},
            "Unknown config field 'advantage.baseline' of n_step; nearest: advantage.n",
        ),
        (
            {"advantage": "one_step", "advantage.n": 3},
            "Unknown config field 'advantage.n' of one_step; there are none.",
        ),
        (
            {"advantage.n": 3, "advantage.baseline": "value"},
            "Expected advantage to be one that has n and baseline, got None.",
        ),
        (
            {"network.sigma.val": 1.0},
            "Unknown config field 'network.sigma.val'; nearest: network.sigma.value",
        ),
        (
            {"evaluation.evry": 3},
            "Unknown config field 'evaluation.evry'; nearest: evaluation.every",
        ),
    ],
    ids=lambda x: list(x)[-1] if isinstance(x, dict) else "",
)
def test_unknown_fields_of_alternatives(changes, expected):
    with pytest.raises(ValueError) as error:
        replace(ppo.Config(), changes)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(expected)


def test_leaves_say_which_alternatives_have_a_field():
    owners = {
        "advantage": (),
        "advantage.n": ("n_step",),
        "advantage.baseline": ("reward_to_go", "episode_return"),
        "kl_stop.target": (),
        "network.sigma": (),
        "network.sigma.decay": ("scheduled_sigma",),
        "network.sigma.low": ("state_sigma",),
        "network.widths": (),
    }
    assert {name: LEAVES[name].owners for name in owners} == owners
    for name, kind in KINDS:
        for leaf in own_leaves(LEAVES[name].techniques[kind]):
            shared = LEAVES[f"{name}.{leaf.name}"]
            assert shared.kind == leaf.kind
            assert (kind in shared.owners) == (len(LEAVES[name].techniques) > 1)


def test_metavars():
    expected = {
        "advantage": "one_step|n_step|reward_to_go|episode_return|none",
        "trpo": "BOOL",
        "truncation": "final_obs|current_value|drop|none",
        "advantage.baseline": "value|batch_mean|none",
        "ent_schedule.times": "FLOAT,...",
        "network.widths": "INT,...",
        "clip_eps": "FLOAT",
        "clip_grad.order": "INT",
    }
    assert {name: LEAVES[name].metavar for name in expected} == expected


def test_kind_names_are_in_snake_case():
    names = [kind_name(x) for x in (t.TRPO, t.KLStop, t.NStep, t.PopArt, t.ClipNorm)]
    assert names == ["trpo", "kl_stop", "n_step", "pop_art", "clip_norm"]


# --- Names and values ---------------------------------------------------------------


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
        ("advantage", "N_Step", "n_step"),
        ("advantage", "none", None),
        ("advantage", "true", True),
        ("advantage.baseline", "none", None),
        ("ent_schedule.times", "0,.5,1", (0.0, 0.5, 1.0)),
        ("trpo", "none", None),
        ("clip_grad.order", "none", None),
        ("clip_grad.order", "1", 1),
        ("normalize_value.max_std", "1e6", 1e6),
    ],
)
def test_parse(name, text, value):
    assert parse(LEAVES[name], text) == value


@pytest.mark.parametrize(
    "name, text",
    [
        ("gamma", "high"),
        ("num_envs", "2.5"),
        ("anneal_lr", "2"),
        ("gamma", "none"),
        ("trpo", "yes"),
        ("ent_schedule.times", "0,a"),
    ],
)
def test_parse_refuses_in_one_line(name, text):
    leaf = LEAVES[name]
    with pytest.raises(
        ValueError, match=rf"^Expected {name} to be .*, got '{text}'\.$"
    ):
        parse(leaf, text)


@pytest.mark.parametrize("word", ["off", "none", "Off", "NONE"])
def test_whatever_may_be_off_is_switched_off_by_either_word(word, tmp_path):
    """As an option, in a grid's option, from Python, and in a file."""
    optional = [leaf for leaf in leaves(Config) if leaf.optional and not leaf.owners]
    assert len(optional) > 30
    for leaf in optional:
        assert parse(leaf, word) is None
        head, _, rest = leaf.name.partition(".")
        if not rest:  # Others need their technique.
            assert parse_values(f"{head}={word}", "grid") == (head, [None])
            assert getattr(replace(Config(), {head: word}), head) is None
    (tmp_path / "config.toml").write_text(
        f"[config]\nvf_clip_eps = '{word}'\nclip_eps = '{word}'\n"
        f"normalize_advantage = '{word}'\nnetwork.hidden_gain = '{word}'\n"
        f"truncation = '{word}'\nnetwork.autoregressive = '{word}'\n"
        f"[grid]\nmax_grad_norm = [0.5, '{word}']\n"
    )
    job = files.read_job(tmp_path / "config.toml")
    config = job.config
    off = config.vf_clip_eps, config.clip_eps, config.normalize_advantage
    assert (*off, config.network.hidden_gain) == (None,) * 4
    assert (config.truncation, config.network.autoregressive) == ("none", ())
    norms = [c.max_grad_norm for c in make_configs(config, job.settings)]
    assert norms == [0.5, None]


def test_types_are_told_once_for_any_number_of_changes(monkeypatch):
    """They take longer to tell than all the rest of a setting."""
    config = ppo.Config()
    replace(config, {"gamma": 0.9})
    monkeypatch.setattr(typing, "get_type_hints", lambda _: pytest.fail("Asked again."))
    assert flatten(replace(config, {"gamma": 0.95}))["gamma"] == 0.95
