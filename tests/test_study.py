"""Studies: sharding, segments, the directory, resume, isolation."""

import json
import os
import signal
import threading
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import purejaxppo as ppo
from envs import probes
from purejaxppo.study import Study, load, over_devices
from purejaxppo.study.devices.sharding import padded, run_mesh
from purejaxppo.study.execution import chunks
from purejaxppo.study.execution.segments import run_segments
from purejaxppo.study.storage import files as files_room

CONFIG = ppo.Config(
    total_timesteps=640,
    num_envs=2,
    num_steps=32,
    num_epochs=2,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8, 8)),
)
OFF = {"policy_kl", "stopped", "kl_coef", "ent_coef", "clip_eps"}
OFF |= {"evaluation_return", "evaluation_length", "num_fully_masked"}
NAMES = set(ppo.Metrics._fields) - OFF


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of three runs on two devices, so that one is padding."""
    output = tmp_path_factory.mktemp("study") / "cartpole"
    statuses = []
    study = Study(CONFIG, "CartPole-v1", 3, seed=5, output=output)
    return study, study.run(on_status=statuses.append), statuses


def test_results_have_named_dimensions(finished):
    _, dataset, _ = finished
    assert dict(dataset.sizes) == {"run": 3, "update": 10}
    assert set(dataset.data_vars) == NAMES
    assert dataset.seed.values.tolist() == [5, 6, 7]
    assert dataset.env_steps.values.tolist() == list(range(64, 641, 64))
    assert dataset.finite.dtype == bool


def test_files_hold_the_study(finished):
    study, dataset, _ = finished
    stored = xarray.open_zarr(study.output / "results.zarr", consolidated=False)
    xarray.testing.assert_identical(stored.load(), dataset)
    facts = json.loads((study.output / "environment.json").read_text())
    assert facts["status"] == "complete"
    assert facts["updates"] == facts["num_updates"] == 10
    assert facts["num_devices"] == jax.device_count()
    assert facts["packages"]["jax"] == jax.__version__
    assert not (study.output / "chunks").exists()


def test_each_run_is_train_with_its_seed(finished):
    """A run of a study, sharded and in segments, is `train(key(seed))` alone."""
    study, dataset, _ = finished
    train = jax.jit(ppo.make_train(CONFIG, *ppo.make("CartPole-v1")))
    for i, seed in enumerate(study.seeds):
        alone = train(jax.random.key(seed)).metrics
        for name in NAMES:
            np.testing.assert_allclose(
                dataset[name].values[i], getattr(alone, name), rtol=2e-3, atol=2e-4
            )


def test_parameters_are_the_final_ones(finished):
    study, _, _ = finished
    saved = load(study.output).policies.params
    train = jax.jit(ppo.make_train(CONFIG, *ppo.make("CartPole-v1")))
    alone = train(jax.random.key(6)).state.params
    for ours, theirs in zip(
        jax.tree.leaves(saved), jax.tree.leaves(alone), strict=True
    ):
        np.testing.assert_allclose(ours[1], theirs, rtol=2e-3, atol=2e-4)


def test_status_is_reported_from_before_compiling_to_the_end(finished):
    _, _, statuses = finished
    assert statuses[0].update == 0
    assert statuses[0].seconds == 0
    assert statuses[-1].update == statuses[-1].num_updates == 10
    assert statuses[-1].steps_per_second > 0
    updates = [status.update for status in statuses]
    assert updates == sorted(set(updates))


def test_config_file_makes_the_same_study(finished, tmp_path):
    study, dataset, _ = finished
    job = files_room.read_job(study.output / "config.toml")
    assert job == study.job
    again = Study(job.config, job.env, job.num_seeds, job.seed, tmp_path / "again")
    xarray.testing.assert_identical(again.run(), dataset)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_and_resuming_gives_the_same_bits(tmp_path, number):
    """Ctrl-C during the first segments, then `resume`, equals never stopping."""
    config = ppo.Config(
        total_timesteps=64 * 12,
        num_envs=2,
        num_steps=32,
        num_minibatches=2,
        normalize_observation=ppo.ObservationNormalization(),
        normalize_reward=ppo.RewardNormalization(),
        evaluation=ppo.EvaluationConfig(every=5, num_episodes=2, max_steps=20),
        network=ppo.NetworkConfig(widths=(8,)),
    )

    def interrupt(status):
        if status.update:
            os.kill(os.getpid(), number)

    def study(name):
        return Study(config, "CartPole-v1", 3, output=tmp_path / name)

    assert threading.current_thread() is threading.main_thread()
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    stopped = study("stopped").run(on_status=interrupt)
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert 0 < stopped.sizes["update"] < 12
    facts = json.loads((tmp_path / "stopped" / "environment.json").read_text())
    assert facts["status"] == "incomplete"
    resumed = study("stopped").run(resume=True)
    xarray.testing.assert_identical(resumed, study("whole").run())
    assert not (tmp_path / "stopped" / "chunks").exists()


def test_resuming_a_complete_study_changes_nothing(finished):
    study, dataset, _ = finished

    def contents():
        files = [path for path in study.output.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    before = contents()
    xarray.testing.assert_identical(study.run(resume=True), dataset)
    assert contents() == before


def test_an_existing_study_is_never_mixed(finished):
    study, dataset, _ = finished
    with pytest.raises(ValueError, match=r"; overwrite .*, resume "):
        study.run()
    with pytest.raises(ValueError, match="at most one of overwrite and resume"):
        study.run(resume=True, overwrite=True)
    other = Study(CONFIG, "CartPole-v1", 4, seed=5, output=study.output)
    with pytest.raises(ValueError, match="num_seeds is 3 there and 4 here"):
        other.run(resume=True)
    stored = files_room.read_results(study.output)
    xarray.testing.assert_identical(stored, dataset)


def test_overwrite_deletes_the_study_and_nothing_else(tmp_path):
    config = ppo.Config(
        total_timesteps=32,
        num_envs=2,
        num_steps=16,
        network=ppo.NetworkConfig(widths=(8,)),
    )
    Study(config, "CartPole-v1", 1, output=tmp_path).run()
    (tmp_path / "notes.txt").write_text("mine")
    Study(config, "CartPole-v1", 2, output=tmp_path).run(overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert files_room.read_results(tmp_path).sizes["run"] == 2


def test_bad_output_fails_before_compiling(tmp_path):
    (tmp_path / "file").write_text("")
    study = Study(CONFIG, "CartPole-v1", 1, output=tmp_path / "file" / "study")
    with pytest.raises(ValueError, match=r"to be writable: Not a directory\."):
        study.run()
    with pytest.raises(ValueError, match="Expected a study to resume"):
        Study(CONFIG, "CartPole-v1", 1, output=tmp_path / "none").run(resume=True)


def test_what_was_computed_survives_a_failure(tmp_path):
    def fail(status):
        if status.update:
            raise RuntimeError("broken")

    study = Study(CONFIG, "CartPole-v1", 2, output=tmp_path / "study")
    with pytest.raises(RuntimeError, match="broken"):
        study.run(on_status=fail)
    assert files_room.read_results(tmp_path / "study").sizes["update"] >= 1


def test_a_segment_that_fails_leaves_what_can_be_resumed(tmp_path, monkeypatch):
    """Also after it has taken the memory of the state that it began with."""
    study = Study(CONFIG, "CartPole-v1", 2, output=tmp_path / "study")

    def interrupt(status):
        if status.update:
            os.kill(os.getpid(), signal.SIGINT)

    def break_the_second(programs, values, state, *rest):
        state, segment = next(run_segments(programs, values, state, *rest))
        yield state, segment
        for leaf in jax.tree.leaves(state):
            leaf.delete()
        raise RuntimeError("broken")

    stopped = study.run(on_status=interrupt)
    (tmp_path / "study" / "evaluation.zarr").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "run_segments", break_the_second)
        with pytest.raises(RuntimeError, match="broken"):
            study.run(resume=True)
    kept = files_room.read_results(tmp_path / "study")
    xarray.testing.assert_identical(kept, stopped)
    facts = files_room.read_environment(tmp_path / "study")
    assert facts["updates"] == stopped.sizes["update"]
    assert (tmp_path / "study" / "evaluation.zarr").exists()
    assert study.run(resume=True).sizes["update"] == 10


def test_a_study_given_objects_is_resumed_with_objects(tmp_path):
    _, env_params = ppo.make("CartPole-v1")
    output = tmp_path / "study"

    def interrupt(status):
        if status.update:
            os.kill(os.getpid(), signal.SIGINT)

    Study(CONFIG, "CartPole-v1", 1, output=output, env_params=env_params).run(
        on_status=interrupt
    )
    assert files_room.read_environment(output)["objects"] == ["env_params"]
    with pytest.raises(ValueError) as error:
        Study(CONFIG, "CartPole-v1", 1, output=output).run(resume=True)
    assert str(error.value) == (
        f"Expected resume to go on with the study in {output}, but as Python "
        "objects it was given env_params, and this one nothing."
    )
    study = Study(CONFIG, "CartPole-v1", 1, output=output, env_params=env_params)
    assert study.run(resume=True).sizes["update"] == 10


@pytest.mark.parametrize(
    ("field", "value"), [("num_seeds", 0), ("num_seeds", True), ("seed", -1)]
)
def test_numbers_out_of_range(field, value):
    numbers: Any = {"num_seeds": 1, "seed": 0} | {field: value}
    with pytest.raises(ValueError, match=f"Expected {field} to be"):
        Study(CONFIG, "CartPole-v1", **numbers)


def test_what_is_no_config_is_refused_at_once():
    config: Any = {"gamma": 0.9}
    with pytest.raises(ValueError) as caught:
        Study(config, "CartPole-v1", 2)
    assert str(caught.value) == "Expected config to be a Config, got {'gamma': 0.9}."


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"learning_rat": [0.1]}, "'learning_rat'; nearest: learning_rate, "),
        ({"gravity": [9.8]}, "'gravity'; nearest: env.gravity, "),
        (
            {"learning_rate": ["x"]},
            "Expected learning_rate to be float, got 'x' (setting learning_rate=x).",
        ),
        (
            {"num_envs": [4, 8], "gamma": [0.9, 0.99, 0.9]},
            "Expected each setting of the grid once, got num_envs=4, gamma=0.9 as "
            "settings 0 and 2.",
        ),
        (
            [{"network.widths": [8]}, {"network.widths": (8,)}],
            "got network.widths=8 as settings 0 and 1.",
        ),
        ({"clip_eps": [None, "none"]}, "got clip_eps=none as settings 0 and 1."),
        ({"gamma": [1, 1.0]}, "got gamma=1 as settings 0 and 1."),
        ({"env.gravity": [5.0, 5]}, "got env.gravity=5 as settings 0 and 1."),
    ],
)
def test_a_grid_is_checked_when_the_study_is_made(grid, expected):
    with pytest.raises(ValueError) as caught:
        Study(CONFIG, "CartPole-v1", 2, grid=grid)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_environment_is_not_made_before_it_is_needed():
    study = Study(CONFIG, "not_there:Env", 2, grid={"gamma": [0.9], "env.mass": [1]})
    with pytest.raises(ValueError, match="not_there"):
        _ = study.variants


def test_a_study_of_an_environment_object_needs_no_output():
    env, env_params = ppo.make("CartPole-v1")
    short = env_params.replace(max_steps_in_episode=5)
    config = ppo.Config(
        total_timesteps=64,
        num_envs=2,
        num_steps=32,
        network=ppo.NetworkConfig(widths=(8,)),
    )
    dataset = Study(config, env, 2, env_params=short).run()
    assert (dataset.episode_length <= 5).all()


def test_sharded_equals_unsharded():
    train = ppo.make_train(CONFIG, *ppo.make("CartPole-v1"))
    keys = jax.random.split(jax.random.key(0), 4)
    together = jax.jit(jax.vmap(train))(keys).metrics
    apart = over_devices(train, 4)(keys).metrics
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_mesh_is_no_larger_than_the_work():
    assert run_mesh(1).size == 1
    assert run_mesh(3).size == jax.device_count() == 2
    assert padded(3, run_mesh(3)) == 4


class Stuck(probes.Counting):
    """`Counting` whose action mask allows nothing at the third step of an episode."""

    def reset(self, key, params) -> Any:
        obs, state = super().reset(key, params)
        return self.show(obs), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=self.show(step.obs))

    def show(self, obs):
        mask = jnp.broadcast_to(obs != 2, (2,)).astype(jnp.int8)
        return {"time": obs, "action_mask": mask}

    def observation_space(self, params):
        time = super().observation_space(params)
        mask = gymnasium.spaces.MultiBinary(2)
        return gymnasium.spaces.Dict(time=time, action_mask=mask)


def test_a_mask_that_allows_nothing_stops_the_study(tmp_path):
    study = Study(CONFIG, Stuck(), num_seeds=2, seed=7, output=tmp_path / "stuck")
    # Each of 2 environments x 32 steps is at that place in every fifth step.
    expected = (
        "Expected observation.action_mask to allow an action at each step, got none at "
        "12 steps of update 0 of the run with seed 7."
    )
    for resume in (False, True):
        with pytest.raises(ValueError) as error:
            study.run(resume=resume)
        assert str(error.value) == expected
    kept = files_room.read_results(tmp_path / "stuck")
    assert kept.num_fully_masked.values[0, 0] == 12
    assert files_room.read_environment(tmp_path / "stuck")["status"] == "incomplete"
