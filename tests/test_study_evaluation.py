"""A study's policies, read back to act, and played on the same episodes."""

import json
import math
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import xarray

import purejaxppo as ppo
from envs import probes
from purejaxppo.algorithm.normalization.running_statistics import RunningStatistics
from purejaxppo.cli import devices, entry_point
from purejaxppo.config.fields import replace
from purejaxppo.study import (
    MODES,
    Study,
    evaluate_study,
    evaluation,
    load,
    play_policies,
)
from purejaxppo.study.devices.sharding import grid_mesh, over_grid
from purejaxppo.study.storage import files
from tests.studies import leave_facts

jit = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": False})
"""Compiles in a third of the time, for programs that run for milliseconds."""

TINY = ppo.Config(
    total_timesteps=64,
    num_envs=2,
    num_steps=16,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8,), policy_gain=1.0),
)
NORMALISED = {"normalize_observation": ppo.ObservationNormalization()}
NAMES = {f"{mode}_{name}" for mode in MODES for name in ("return", "length", "cut")}


def leave(directory, env, changes=None, num_seeds=3, **given):
    """A study as if trained, with statistics of observations that are nobody's default.

    Returns its algorithm and the states of its runs, which nobody had to read.
    """
    study = Study(replace(TINY, changes or {}), env, num_seeds, seed=5, **given)
    algorithm = study.make_ppo()
    states = jit(jax.vmap(algorithm.init))(jax.random.split(jax.random.key(1), 3))
    states = jax.tree.map(lambda x: x[:num_seeds], states)
    noise = np.random.default_rng(0)
    states = states._replace(
        obs_statistics=jax.tree.map(
            lambda x: x + noise.uniform(0.5, 1, x.shape).astype(x.dtype),
            states.obs_statistics,
        )
    )
    files.write_job(directory, study.job)
    leave_facts(directory, objects=study.objects)
    kept = "params", "obs_statistics", "critic_scale"
    tree = {name: getattr(states, name) for name in kept}
    leave_policies(directory, tree)
    return algorithm, states


def leave_policies(directory, tree):
    path = directory / files.PARAMETERS / "0"
    files.write_tree(path, jax.tree.map(np.asarray, tree))
    files.write_digests(path)


def alone(algorithm, env_params, numbers, seed=0, max_steps=10_000):
    """`state ->` what a policy's episodes with these numbers come to, in each mode."""

    def episode(state, number, sampled):
        def act(obs, memory, key):
            return algorithm.act(state, obs, memory, key if sampled else None)

        key = jax.random.fold_in(jax.random.key(seed), number)
        memory, env = algorithm.init_memory(1), algorithm.env
        return ppo.evaluate(key, act, env, env_params, 1, max_steps, memory)

    def both(state, number):
        return {mode: episode(state, number, mode == "sampled") for mode in MODES}

    played = jit(jax.vmap(both, (None, 0)))
    return lambda state: played(state, jnp.asarray(numbers))


def assert_plays_as(dataset, run, episodes):
    """That a run's figures are those of `alone`."""
    for mode, expected in episodes.items():
        for name in ("return", "length", "cut"):
            field = name if name == "cut" else f"episode_{name}"
            found = dataset[f"{mode}_{name}"].values[run]
            wanted = np.asarray(getattr(expected, field))[:, 0]
            # Products of another shape round otherwise, and Pendulum adds that up.
            np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=mode + name)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A study of three runs on two devices, and its evaluation."""
    output = tmp_path_factory.mktemp("kept") / "cartpole"
    leave(output, "CartPole-v1", NORMALISED)
    return output, evaluate_study(output, 12, max_steps=40)


# --- Reading ------------------------------------------------------------------------


def test_a_loaded_policy_acts_as_the_saved_arrays_say(kept):
    output, _ = kept
    loaded = load(output)
    assert loaded.study.job == files.read_job(output / "config.toml")
    assert loaded.study.output == output
    assert loaded.updates == 10
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore((output / "parameters" / "0").absolute())
    second = jax.tree.map(lambda x: x[1], saved)
    fresh = jit(loaded.ppo.init)(jax.random.key(0))
    state = fresh._replace(
        params=second["params"],
        obs_statistics=RunningStatistics(**second["obs_statistics"]),
    )
    obs, act = jax.random.normal(jax.random.key(1), (64, 4)), jit(loaded.ppo.act)
    ours, memory = act(loaded.policy(1), obs)
    assert memory == ()
    np.testing.assert_array_equal(ours, act(state, obs)[0])
    assert len(np.unique(ours)) == 2
    plain = state._replace(obs_statistics=fresh.obs_statistics)
    assert (ours != act(plain, obs)[0]).any()
    assert (ours != act(loaded.policy(0), obs)[0]).any()
    with pytest.raises(ValueError, match=r"^Expected run to be in \[0, 3\), got 3\.$"):
        loaded.policy(3)


def test_all_policies_act_under_one_vmap(kept):
    loaded = load(kept[0])
    obs = jax.random.normal(jax.random.key(1), (8, 4))

    def act(policy):
        return loaded.ppo.act(policy, obs)[0]

    actions, one = jit(jax.vmap(act))(loaded.policies), jit(act)
    for run in range(3):
        np.testing.assert_array_equal(actions[run], one(loaded.policy(run)))


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "normalised": (
        "Pendulum-v1",
        {"normalize_observation": ppo.ObservationNormalization()},
    ),
    "recurrent": (
        "envs.velocities:HiddenVelocities",
        {"network.memory": "lstm", "network.memory.size": 4},
    ),
    "masked": (
        "envs.masked:Doors",
        {"normalize_observation": ppo.ObservationNormalization()},
    ),
    "hybrid": ("envs.moving:Moving", {"normalize_value": "pop_art", "frame_stack": 2}),
    "images": ("Breakout-MinAtar", {"network.conv": "min_atar"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_run_plays_as_it_does_alone(kind, tmp_path):
    env, changes = KINDS[kind]
    algorithm, states = leave(tmp_path, env, changes)
    dataset = evaluate_study(tmp_path, 6, seed=3, max_steps=40)
    _, env_params = ppo.make(env)
    play = alone(algorithm, env_params, range(6), 3, 40)
    for run in (0, 2):
        state = jax.tree.map(lambda x, run=run: x[run], states)
        assert_plays_as(dataset, run, play(state))
    assert len(np.unique(dataset.sampled_return[0])) > 1
    both = dataset[["greedy_return", "sampled_return"]].to_array()
    assert (both[:, 0] != both[:, 1]).any()


FILE = """
from envs.probes import Counting, CountingParams


def make():
    return Counting(), CountingParams(4)
"""


def test_an_environment_in_a_file_keeps_its_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "own.py").write_text(FILE)
    leave(tmp_path / "study", f"{tmp_path}/own.py:make")
    assert load(
        tmp_path / "study", trust_code=True
    ).env_params == probes.CountingParams(4)
    dataset = evaluate_study(tmp_path / "study", 2, trust_code=True)
    assert (dataset.greedy_return == 1 + 2 + 3 + 4).all()


def linear(bias):
    """A network of one layer without parameters in common with ours."""
    return ppo.ActorCritic(
        init=lambda key, obs: [jnp.ones((obs.shape[1], 2)), jnp.full(2, bias)],
        actor=lambda params, obs, memory: (
            ppo.make_action_head(gymnasium.spaces.Discrete(2)).distribution(
                obs @ params[0] + params[1][None], None
            ),
            memory,
        ),
        critic=lambda params, obs, memory: (obs.sum(1), memory),
    )


def test_objects_that_a_study_was_given_have_to_be_given_again(tmp_path):
    given = {"env_params": probes.CountingParams(3), "network": linear(1.0)}
    leave(tmp_path, probes.Counting(), **given)
    with pytest.raises(ValueError) as error:
        load(tmp_path, env=probes.Counting())
    assert str(error.value) == (
        f"Expected env_params and network to be given in Python: the study in "
        f"{tmp_path} was made with objects, which its config.toml cannot hold."
    )
    with pytest.raises(ValueError, match="Expected env and env_params and network"):
        evaluate_study(tmp_path)
    loaded = load(tmp_path, env=probes.Counting(), **given)
    assert isinstance(loaded.policies.params, list)
    np.testing.assert_array_equal(loaded.policy(2).params[1], [1, 1])
    dataset = evaluate_study(tmp_path, 2, env=probes.Counting(), **given)
    assert (dataset.sampled_return == 6).all()
    assert "Counting" in dataset.env


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"num_seeds": 4},
            "to be of 4 runs with this environment and network, but params."
            "actor_torso.dense_0.bias is of shape (3, 8) there and of shape (4, 8)"
            " here.",
        ),
        (
            {"config": {"network": {"shared": True}}},
            "but params.torso.dense_0.bias is absent there and of shape (3, 8) here.",
        ),
        (
            {"env": "Acrobot-v1"},
            "dense_0.kernel is of shape (3, 4, 8) there and of shape (3, 6, 8) here.",
        ),
    ],
)
def test_parameters_of_another_study_are_refused(config, message, tmp_path):
    leave(tmp_path, "CartPole-v1")
    job = files.read_job(tmp_path / "config.toml")
    changed = replace(job.config, config.pop("config", {}))
    files.write_job(tmp_path, job._replace(config=changed, **config))
    leave_facts(tmp_path)
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"Expected parameters in {tmp_path} to be of")
    assert str(error.value).endswith(message)


def test_directories_without_policies_are_one_line(tmp_path):
    def fails(call):
        with pytest.raises(ValueError) as error:
            call(tmp_path / "study")
        return str(error.value)

    directory = tmp_path / "study"
    for call in (load, evaluate_study):
        assert fails(call) == f"Expected a study in {directory}, found none."
    leave(directory, "envs.probes:Counting")
    files.remove(directory / "parameters")
    assert fails(load) == f"Expected parameters in {directory}, found none."
    assert fails(files.read_evaluation) == (
        f"Expected an evaluation in {directory}, found none; "
        f"`purejaxppo evaluate {directory}` makes it."
    )
    (directory / "environment.json").unlink()
    expected = f"Expected environment.json in {directory}, found none."
    assert fails(evaluate_study) == expected
    assert not (directory / "evaluation.zarr").exists()


# --- Playing ------------------------------------------------------------------------


def test_the_evaluation_is_kept_with_names(kept):
    output, dataset = kept
    xarray.testing.assert_identical(files.read_evaluation(output), dataset)
    assert dict(dataset.sizes) == {"run": 3, "episode": 12}
    assert set(dataset.data_vars) == NAMES | {"finite"}
    assert dataset.seed.values.tolist() == [5, 6, 7]
    assert dataset.attrs == {
        "env": "CartPole-v1",
        "episode_seed": 0,
        "max_steps": 40,
        "updates": 10,
    }
    assert dataset.finite.all()
    for mode in MODES:
        length, cut = dataset[f"{mode}_length"], dataset[f"{mode}_cut"]
        assert dataset[f"{mode}_return"].equals(length.astype(np.float32))
        assert (length <= 40).all() and not (cut & (length < 40)).any()


@pytest.mark.parametrize(("chunk", "num_chunks"), [(1, 12), (5, 3), (100, 1)])
def test_chunks_change_nothing(chunk, num_chunks, kept):
    output, dataset = kept
    statuses = []
    again = play_policies(
        load(output), 12, max_steps=40, chunk=chunk, on_status=statuses.append
    )
    xarray.testing.assert_allclose(again, dataset, rtol=1e-6)
    assert (statuses[0].episode, statuses[0].seconds) == (0, 0)
    done = [status.episode for status in statuses[1:]]
    assert done[-1] == 12 and len(done) == num_chunks
    assert {status.num_episodes for status in statuses} == {12}


def test_more_episodes_begin_with_the_same_ones_and_other_seeds_are_others(kept):
    output, dataset = kept
    more = play_policies(load(output), 17, max_steps=40)
    xarray.testing.assert_allclose(more.isel(episode=slice(12)), dataset, rtol=1e-6)
    other = play_policies(load(output), 17, seed=1, max_steps=40)
    assert (other.sampled_return != more.sampled_return).any()


def test_what_would_take_too_much_memory_is_played_in_smaller_chunks(kept, monkeypatch):
    output, dataset = kept
    monkeypatch.setattr(evaluation, "WORKING_BYTES", 1)
    statuses = []
    small = play_policies(load(output), 12, max_steps=40, on_status=statuses.append)
    # Of each run one episode on each of two devices.
    assert [status.episode for status in statuses] == list(range(0, 13, 2))
    xarray.testing.assert_allclose(small, dataset, rtol=1e-6)


class Dice(probes.Counting):
    """Episodes whose lengths and rewards the policy has no part in."""

    def reset(self, key, params):
        length = jax.random.randint(key, (), 1, 10)
        return jnp.zeros(1), (jnp.int32(0), length)

    def step(self, key, state, action, params):
        time, length = state[0] + 1, state[1]
        return ppo.Step(
            obs=jnp.zeros(1),
            state=(time, length),
            reward=jax.random.uniform(key),
            terminated=time >= length,
            truncated=jnp.bool_(False),
            info={},
        )


def test_an_episode_is_the_same_for_all_policies_and_both_modes(tmp_path):
    leave(tmp_path, Dice())
    dataset = evaluate_study(tmp_path, 20, seed=2**32 - 1, env=Dice())
    returns = dataset.greedy_return.values
    assert len(np.unique(returns[0])) == 20
    for mode in MODES:
        values = dataset[f"{mode}_return"].values
        np.testing.assert_array_equal(values, np.tile(returns[0], (3, 1)))
    # By hand: the start of episode 7.
    key = jax.random.fold_in(jax.random.key(np.uint32(2**32 - 1)), 7)
    start = jax.random.split(jax.random.split(key)[0], 1)[0]
    length = jax.random.randint(start, (), 1, 10)
    assert (dataset.greedy_length[:, 7] == int(length)).all()


@pytest.mark.parametrize(
    ("max_steps", "total", "length", "cut"),
    [(10_000, 15, 5, False), (5, 15, 5, False), (3, 6, 3, True)],
)
def test_known_returns_and_what_is_cut(max_steps, total, length, cut, tmp_path):
    leave(tmp_path, "envs.probes:Counting", num_seeds=1)
    dataset = evaluate_study(tmp_path, 3, max_steps=max_steps)
    for mode in MODES:
        assert dataset[f"{mode}_return"].values.tolist() == [[total] * 3]
        assert dataset[f"{mode}_length"].values.tolist() == [[length] * 3]
        assert dataset[f"{mode}_cut"].values.tolist() == [[cut] * 3]


def test_modes_are_modes_and_samples_are_samples(tmp_path):
    """On `Match`, a policy that answers rightly with probability 3/4."""
    _, states = leave(tmp_path, probes.Match())
    states = jax.tree.map(jnp.zeros_like, states.params)
    output, torso = states["policy"]["output"], states["actor_torso"]["dense_0"]
    # tanh(20 x) is x for x = -1 and 1; the logits differ by log 3.
    torso["kernel"] = torso["kernel"].at[:, 0, 0].set(20.0)
    output["kernel"] = output["kernel"].at[:, 1, 0].set(math.log(3) / 2)
    output["kernel"] = output["kernel"].at[:, 0, 0].set(-math.log(3) / 2)
    tree = {"params": states, "obs_statistics": (), "critic_scale": ()}
    leave_policies(tmp_path, tree)
    dataset = evaluate_study(tmp_path, 2000, env=probes.Match())
    assert (dataset.greedy_return == 1).all()
    # The standard deviation of the mean is 0.01.
    np.testing.assert_allclose(dataset.sampled_return.mean("episode"), 0.75, atol=0.04)


# --- The directory ------------------------------------------------------------------


def test_an_evaluation_is_replaced_only_if_asked_for(kept, tmp_path):
    output, dataset = kept
    with pytest.raises(ValueError) as error:
        evaluate_study(output, 3)
    assert str(error.value) == (
        f"Expected {output} to hold no evaluation.zarr, but it does; overwrite "
        "replaces it."
    )
    xarray.testing.assert_identical(files.read_evaluation(output), dataset)
    leave(tmp_path, "envs.probes:Counting")
    evaluate_study(tmp_path, 3)
    evaluate_study(tmp_path, 2, overwrite=True)
    assert files.read_evaluation(tmp_path).sizes["episode"] == 2
    files.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"episodes": 0}, "Expected episodes to be in [1, 16777216], got 0."),
        ({"episodes": 1.5}, "Expected episodes to be int, got 1.5."),
        ({"max_steps": 0}, "Expected max_steps to be in [1, 2147483647], got 0."),
        ({"seed": -1}, "Expected seed to be in [0, 4294967295], got -1."),
        ({"seed": True}, "Expected seed to be int, got True."),
        ({"chunk": 0}, "Expected chunk to be in [1, 16777216], got 0."),
    ],
)
def test_numbers_out_of_range(kept, numbers, message):
    output, dataset = kept
    for call in (partial(evaluate_study, output), partial(play_policies, load(output))):
        with pytest.raises(ValueError) as error:
            call(**numbers)
        assert str(error.value) == message
    xarray.testing.assert_identical(files.read_evaluation(output), dataset)


def test_a_directory_that_cannot_be_written_to_is_told_first(tmp_path, monkeypatch):
    leave(tmp_path, "envs.probes:Counting")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    played = []
    with pytest.raises(ValueError) as error:
        evaluate_study(tmp_path, on_status=played.append)
    assert str(error.value) == f"Expected {tmp_path} to be writable."
    assert played == []


def test_training_that_goes_on_removes_the_evaluation(tmp_path):
    config = replace(TINY, {"total_timesteps": 32 * 12, **NORMALISED})
    study = Study(config, "CartPole-v1", 2, output=tmp_path / "study")
    play = partial(evaluate_study, tmp_path / "study", 2, max_steps=20)

    def interrupt(status):
        if status.update:
            os.kill(os.getpid(), signal.SIGINT)

    updates = study.run(on_status=interrupt).sizes["update"]
    assert 0 < updates < 12
    assert play().updates == updates
    assert study.run(resume=True).sizes["update"] == 12
    with pytest.raises(ValueError, match=r"Expected an evaluation in .*, found none"):
        files.read_evaluation(tmp_path / "study")

    dataset = play()
    assert dataset.updates == 12
    loaded = load(tmp_path / "study")
    expected = alone(loaded.ppo, loaded.env_params, range(2), 0, 20)(loaded.policy(1))
    assert_plays_as(dataset, 1, expected)
    study.run(resume=True)  # It is complete: nothing changes.
    xarray.testing.assert_identical(files.read_evaluation(tmp_path / "study"), dataset)


# --- Devices ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_runs", "num_episodes", "shape"),
    [(1, 1, (1, 1)), (1, 9, (1, 2)), (2, 1, (2, 1)), (4, 9, (2, 1)), (3, 9, (1, 2))],
)
def test_the_grid_gives_both_devices_the_same_to_do(num_runs, num_episodes, shape):
    assert jax.device_count() == 2
    mesh = grid_mesh(num_runs, num_episodes)
    assert tuple(mesh.shape.values()) == shape


def test_a_grid_is_every_pair():
    def pair(run, episode):
        return {"sum": 10 * run["x"] + episode, "run": run["x"]}

    runs, episodes = jnp.arange(4), jnp.arange(6)
    for mesh in (grid_mesh(4, 6), grid_mesh(1, 6)):
        found = over_grid(pair, mesh)({"x": runs}, episodes)
        np.testing.assert_array_equal(found["sum"], 10 * runs[:, None] + episodes[None])
        np.testing.assert_array_equal(found["run"], np.tile(runs[:, None], (1, 6)))


# --- The command --------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command; gives its exit code, output and errors."""
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        code = entry_point.main(["evaluate", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_command_evaluates_and_prints_a_table(tmp_path, command):
    leave(tmp_path, "envs.probes:Counting", num_seeds=2)
    code, printed, _ = command(tmp_path, "--episodes", "1_100", "--max-steps", "3")
    assert code == 0
    assert "envs.probes:Counting: 2 runs x 1,100 episodes after 10 updates" in printed
    rows = {
        cells[0]: cells[1:]
        for line in printed.splitlines()
        if len(cells := [cell.strip() for cell in line.split("│")[1:-1]]) == 4
    }
    over_runs = "over runs, of their mean returns"
    assert rows == {
        "mean": ["6", "6", over_runs],
        "median": ["6", "6", over_runs],
        "worst run": ["6 (run 0)", "6 (run 0)", "the lowest mean return"],
        "length": ["3", "3", "mean steps of an episode"],
        "cut": ["2,200", "2,200", "episodes cut after 3 steps"],
    }
    assert "Warning" not in printed
    assert f"{tmp_path}/evaluation.zarr" in printed.replace("\n", "")
    assert dict(files.read_evaluation(tmp_path).sizes) == {"run": 2, "episode": 1100}

    code, printed, error = command(tmp_path)
    assert (code, printed) == (2, "")
    assert error.startswith(f"purejaxppo: error: Expected {tmp_path} to hold no eval")
    assert error.count("\n") == 1
    leave_facts(tmp_path, status="incomplete", num_updates=30)
    again = ("--episodes", "2", "--seed", "3", "--overwrite")
    code, printed, _ = command(tmp_path, *again)
    assert code == 0
    assert (
        f"Warning: Incomplete: the study in {tmp_path} stopped after 10 of 30 updates."
        in " ".join(printed.split())
    )
    dataset = files.read_evaluation(tmp_path)
    assert dataset.attrs["episode_seed"] == 3
    assert (dataset.greedy_return == 15).all()


def test_policies_that_are_not_finite_are_counted_and_shown(tmp_path, command):
    _, states = leave(tmp_path, "envs.probes:Identity")
    params = jax.tree.map(lambda x: np.asarray(x).copy(), states.params)
    params["policy"]["output"]["bias"][1] = np.nan
    tree = {"params": params, "obs_statistics": (), "critic_scale": ()}
    leave_policies(tmp_path, tree)
    code, printed, _ = command(tmp_path, "--episodes", "4")
    assert code == 0
    warnings = [line for line in printed.splitlines() if line.startswith("Warning")]
    left_out = "return that is no number, and is left out (run 1)."
    assert warnings == [
        "Warning: of 3 policies 1 has parameters that are not finite (run 1).",
        f"Warning: of 3 policies 1 has a greedy {left_out}",
        f"Warning: of 3 policies 1 has a sampled {left_out}",
    ]
    dataset = files.read_evaluation(tmp_path)
    assert dataset.finite.values.tolist() == [True, False, True]
    rest = dataset.greedy_return.values[[0, 2]].mean()
    assert f"{rest:.4g}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "Expected a study in nowhere, found none."),
        ((".", "--episodes", "0"), "Expected episodes to be in [1, 16777216], got 0."),
        ((".", "--seed", "-1"), "Expected seed to be in [0, 4294967295], got -1."),
        ((".", "--overwrite", "--episode", "3"), "nearest: episodes"),
    ],
)
def test_bad_input_of_the_command_is_one_line(
    arguments, message, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, printed, error = command(*arguments)
    assert (code, printed, error.count("\n")) == (2, "", 1)
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_the_facts_of_a_study_name_its_objects(tmp_path):
    leave(tmp_path, probes.Counting(), env_params=probes.CountingParams(2))
    facts = json.loads(Path(tmp_path / "environment.json").read_text())
    assert facts["objects"] == ["env", "env_params"]
