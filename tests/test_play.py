"""The real environments: gymnax's physics are theirs, and so are the returns."""

import re
import sys
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence
from scipy.stats import ks_2samp

import purejaxppo as ppo
from purejaxppo.cli.export import Play, run_play
from purejaxppo.environments.wrappers import FrameStack
from purejaxppo.export import (
    COUNTERPARTS,
    export_policy,
    export_study,
    make_portable,
    play,
    playing,
    read_policy,
    write_gif,
)
from purejaxppo.export.gymnasium_ids import make_real
from tests.policies import leave, untrained


def fails(call, *arguments, **options):
    """The one line with which a call refuses."""
    with pytest.raises(ValueError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def p_value(one, other):
    """That both samples have the same distribution, by Kolmogorov and Smirnov."""
    result: Any = ks_2samp(one, other)
    return result.pvalue


# --- The same tasks -----------------------------------------------------------------


def states(name, count, noise):
    """States that go on, from all over a task, `[count, ...]`."""
    low, high = {
        "CartPole-v1": ([-2.4, -3, -0.209, -3], [2.4, 3, 0.209, 3]),
        "Acrobot-v1": ([-np.pi, -np.pi, -12, -27], [np.pi, np.pi, 12, 27]),
        "MountainCar-v0": ([-1.2, -0.07], [0.49, 0.07]),
        "MountainCarContinuous-v0": ([-1.1, -0.07], [0.44, 0.07]),
        "Pendulum-v1": ([-9, -8], [9, 8]),
    }[name]
    return noise.uniform(low, high, (count, len(low))).astype(np.float32)


def actions(space, count, noise):
    if isinstance(space, gymnasium.spaces.Discrete):
        return noise.integers(space.n, size=count).astype(np.int32)
    return noise.uniform(space.low, space.high, (count, *space.shape)).astype(
        np.float32
    )


def gymnax_steps(name, start, action):
    """What gymnax makes of states `[count, ...]` and actions."""
    env, params = ppo.make(name)
    _, like = jax.eval_shape(lambda key: env.reset(key, params), jax.random.key(0))
    fields = list(type(like).__dataclass_fields__)
    zeros = {field: jnp.zeros(len(start)) for field in fields}
    values = dict(
        zip([f for f in fields if f not in ("time", "last_u")], start.T, strict=True)
    )
    state = type(like)(**{**zeros, **values, "time": jnp.zeros(len(start), jnp.int32)})
    key = jax.random.key(0)
    step = jax.jit(jax.vmap(lambda state, action: env.step(key, state, action, params)))
    return step(state, action)


def gymnasium_steps(name, start, action):
    """What gymnasium makes of the same: observations, rewards and ends."""
    env: Any = gymnasium.make(name, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    for state, one in zip(start, action, strict=True):
        env.state = np.array(state, np.float64)
        env.steps_beyond_terminated = None
        obs, reward, terminated, truncated, _ = env.step(one)
        assert not truncated
        yield np.array(obs), float(reward), terminated


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_the_physics_are_the_same_step_by_step(name):
    noise = np.random.default_rng(0)
    env, params = ppo.make(name)
    start = states(name, 250, noise)
    action = actions(env.action_space(params), 250, noise)
    ours = gymnax_steps(name, start, action)
    obs, reward, terminated = map(
        np.array, zip(*gymnasium_steps(name, start, action), strict=True)
    )
    np.testing.assert_allclose(ours.obs, obs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.reward, reward, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(ours.terminated, terminated)
    if name != "Pendulum-v1":
        assert 0 < terminated.sum() < 250
    assert len(np.unique(obs[:, 0])) > 100


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_the_spaces_limits_and_starts_are_the_same(name):
    env, params = ppo.make(name)
    real: Any = gymnasium.make(name)
    assert real.spec.max_episode_steps == params.max_steps_in_episode
    assert env.action_space(params) == real.action_space
    ours: Any = env.observation_space(params)
    theirs = real.observation_space
    bounds = np.array([[ours.low, ours.high], [theirs.low, theirs.high]])
    bounds[np.abs(bounds) > 1e38] = 0  # CartPole's velocities, see docs/export.md.
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-6)
    keys = jax.random.split(jax.random.key(0), 200)
    starts = jax.jit(jax.vmap(lambda key: env.reset(key, params)[0]))(keys)
    others = np.stack([real.reset(seed=seed)[0] for seed in range(200)])
    for mine, other in zip(np.asarray(starts).T, others.T, strict=True):
        assert p_value(mine, other) > 1e-3


def test_a_continuous_car_keeps_its_speed_at_gymnaxs_left_wall():
    """The difference that docs/export.md tells of: if it goes, so must the text."""
    start, action = np.array([[-1.19, -0.06]], np.float32), np.zeros((1, 1), np.float32)
    name = "MountainCarContinuous-v0"
    ours = np.asarray(gymnax_steps(name, start, action).obs[0])
    ((theirs, _, _),) = gymnasium_steps(name, start, action)
    np.testing.assert_allclose(ours[0], -1.2, rtol=1e-6)
    np.testing.assert_allclose(theirs, [-1.2, 0], rtol=1e-6)
    assert ours[1] < -0.05
    ours = np.asarray(gymnax_steps("MountainCar-v0", start, np.array([1])).obs[0])
    np.testing.assert_allclose(ours, [-1.2, 0], rtol=1e-6)


STEPS = {"CartPole-v1": 200, "Pendulum-v1": 60, "MountainCarContinuous-v0": 50}


def gymnax_returns(loaded, sampled, max_steps):
    def act(obs, memory, key):
        return loaded.ppo.act(loaded.policy(0), obs, memory, key if sampled else None)

    key = jax.random.key(1)
    run = partial(ppo.evaluate, key, act, loaded.ppo.env, loaded.env_params, 200)
    return np.asarray(jax.jit(lambda: run(max_steps))().episode_return)


@pytest.mark.parametrize("name", STEPS)
def test_returns_agree_with_gymnaxs_to_within_noise(name):
    loaded = untrained(name)
    played = play(make_portable(loaded, 0), 200, sampled=True, max_steps=STEPS[name])
    ours = gymnax_returns(loaded, True, STEPS[name])
    assert len(np.unique(played.returns)) > 10
    assert p_value(ours, played.returns) > 1e-3
    if name == "CartPole-v1":  # The test can tell: greedy returns are others.
        greedy = gymnax_returns(loaded, False, STEPS[name])
        assert p_value(greedy, played.returns) < 1e-3


# --- Playing ------------------------------------------------------------------------


def by_hand(loaded, run, env_id, seed, episode, max_steps):
    """A greedy episode, one step after the other."""
    env = gymnasium.make(env_id)
    number = np.random.SeedSequence((seed, episode)).generate_state(1)[0]
    obs, _ = env.reset(seed=int(number))
    stack = loaded.study.config.frame_stack or 1
    frames, memory, total = [obs] * stack, loaded.ppo.init_memory(1), 0.0
    act = jax.jit(loaded.ppo.act)
    for t in range(max_steps):
        seen = np.concatenate(frames)[None]
        action, memory = act(loaded.policy(run), seen, memory)
        obs, reward, terminated, truncated, _ = env.step(np.asarray(action)[0])
        frames, total = [*frames[1:], obs], total + float(reward)
        if terminated or truncated:
            return total, t + 1, False
    return total, max_steps, True


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Pendulum-v1", {"network.memory": "lstm", "network.memory.size": 4}),
        ("gymnax/CartPole-v1", {"frame_stack": 3}),
    ],
)
def test_episodes_are_those_that_are_played_by_hand(name, changes, monkeypatch):
    monkeypatch.setattr(playing, "SIDE_BY_SIDE", 2)  # Of 3 episodes: 2, and 2 again.
    loaded = untrained(name, changes)
    played = play(make_portable(loaded, 1), 3, seed=4, max_steps=12)
    real = name.removeprefix("gymnax/")
    hand = [by_hand(loaded, 1, real, 4, episode, 12) for episode in range(3)]
    returns, lengths, cut = zip(*hand, strict=True)
    np.testing.assert_allclose(played.returns, returns, rtol=1e-4)
    assert played.lengths.tolist() == list(lengths)
    assert played.cut.tolist() == list(cut)
    assert played.frames == []


def test_frames_are_stacked_as_they_are_in_training():
    env, params = ppo.make("Pendulum-v1")
    stacked = FrameStack(env, 3)
    real = make_real("Pendulum-v1", 3)
    assert real.observation_space == stacked.observation_space(params)
    _, state = stacked.reset(jax.random.key(0), params)
    first, _ = real.reset(seed=0)
    np.testing.assert_array_equal(first, np.tile(first[:3], 3))
    second, *_ = real.step(np.zeros(1, np.float32))
    np.testing.assert_array_equal(second[:6], first[:6])
    frames = stacked.step(jax.random.key(0), state, jnp.zeros(1), params).obs
    np.testing.assert_array_equal(frames[:3], frames[3:6])
    assert (second[6:] != first[6:]).any()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A study on disk, and its second run exported for batches of 2 alone."""
    folder, loaded = tmp_path_factory.mktemp("cartpole"), untrained("CartPole-v1")
    leave(folder / "study", loaded)
    export_policy(loaded, 1, folder / "policy", batch=2, platforms=["cpu"])
    return folder, loaded


def test_an_exported_policy_plays_as_the_study_does(exported):
    folder, loaded = exported
    read = play(read_policy(folder / "policy"), 3, seed=2)
    study = play(make_portable(loaded, 1), 3, seed=2)
    np.testing.assert_array_equal(read.returns, study.returns)
    again = play(read_policy(folder / "policy"), 3, seed=2, sampled=True)
    assert (again.returns != read.returns).any()


def test_a_gif_shows_the_first_episode(exported, tmp_path):
    policy = make_portable(exported[1], 0)
    played = play(policy, 2, max_frames=500)
    assert len(played.frames) == played.lengths[0] + 1
    assert played.fps == 50
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=int(np.random.SeedSequence((0, 0)).generate_state(1)[0]))
    wanted = np.asarray(env.render(), int)
    path = write_gif(played.frames, tmp_path / "play.gif", played.fps)
    with Image.open(path) as gif:
        shown = np.asarray(gif.convert("RGB"), int)
        milliseconds = 0
        for frame in ImageSequence.Iterator(gif):
            milliseconds += frame.info["duration"]
        assert gif.info["loop"] == 0
    assert np.abs(shown - wanted).mean() < 1 and shown.std() > 10
    # Equal frames are one that is shown for longer.
    assert milliseconds == 20 * len(played.frames)
    assert len(play(policy, 1, max_frames=3).frames) == 3
    assert fails(write_gif, [], path, 50) == "Expected frames for a GIF, got none."
    message = fails(write_gif, played.frames, tmp_path / "none" / "play.gif", 50)
    assert message.endswith("play.gif to be writable: No such file or directory.")


# --- Bad input ----------------------------------------------------------------------


def test_an_environment_that_gymnasium_lacks():
    policy = make_portable(untrained("envs.moving:Moving"), 0)
    assert fails(play, policy) == (
        "Expected env to be one that gymnasium has too, Acrobot-v1, CartPole-v1, "
        "MountainCar-v0, MountainCarContinuous-v0, Pendulum-v1, got envs.moving:Moving."
    )


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"episodes": 0}, "Expected episodes to be in [1, 1048576], got 0."),
        ({"seed": -1}, "Expected seed to be in [0, 4294967295], got -1."),
        ({"max_steps": 0}, "Expected max_steps to be in [1, 2147483647], got 0."),
        ({"max_frames": -1}, "Expected max_frames to be in [0, 65536], got -1."),
    ],
)
def test_numbers_out_of_range(numbers, message, exported):
    assert fails(play, make_portable(exported[1], 0), **numbers) == message


def test_drawing_needs_pygame_and_playing_does_not(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    policy = make_portable(exported[1], 0)
    assert fails(play, policy, 1, max_frames=1) == (
        "Expected the package pygame to be installed, found none; "
        'pip install "purejaxppo[play]" brings it.'
    )
    assert play(policy, 1).lengths[0] > 1


# --- The command --------------------------------------------------------------------


def test_play_says_what_came_of_it(exported, tmp_path, capsys):
    folder, loaded = exported
    gif = tmp_path / "run.gif"
    command = Play(folder / "study", run=1, episodes=3, max_steps=9, output=gif)
    assert run_play(command) == 0
    printed = capsys.readouterr().out
    assert (
        f"CartPole-v1 of gymnasium {gymnasium.__version__}: 3 episodes, greedy, run 1 "
        "after 10 updates" in " ".join(printed.split())
    )
    played = play(make_portable(loaded, 1), 3, max_steps=9)
    returns = played.returns
    figures = returns.mean(), returns.std(ddof=1), returns.min(), returns.max()
    row = " │ +".join(re.escape(f"{x:.2f}") for x in figures)
    assert re.search(f"return │ +{row}", printed)
    assert (f"{played.cut.sum()} cut after 9 steps" in printed) == played.cut.any()
    assert "First episode in" in printed and gif.stat().st_size > 1000
    assert fails(run_play, command) == (
        f"Expected output {gif} not to be there; pass --overwrite to replace it."
    )


def test_a_gif_that_cannot_be_written_is_told_first(exported, tmp_path, monkeypatch):
    folder, _ = exported
    monkeypatch.delattr("purejaxppo.cli.export.play")
    command = Play(folder / "policy", output=tmp_path / "nowhere" / "x.gif")
    assert fails(run_play, command) == (
        f"Expected output {command.output} to be writable: No such file or directory."
    )
    assert list(tmp_path.iterdir()) == []


def test_play_takes_an_exported_directory(exported, capsys):
    folder, _ = exported
    assert run_play(Play(folder / "policy", episodes=1, max_frames=0)) == 0
    printed = capsys.readouterr().out
    assert "run 1 after 10 updates" in " ".join(printed.split())
    assert "CartPole-v1" in printed and ": 1 episode, greedy" in printed
    assert "n/a" in printed and "nan" not in printed
    assert "First episode" not in printed
    message = fails(run_play, Play(folder / "policy", run=1, max_frames=0))
    assert message == (
        f"Expected no run with {folder / 'policy'}, which holds one policy, got 1."
    )
    message = fails(run_play, Play(folder / "study", run=2, max_frames=0))
    assert message == "Expected run to be in [0, 2), got 2."
    message = fails(run_play, Play(folder, max_frames=0))
    assert message == f"There is neither a study nor an exported policy in {folder}."


def test_parameters_of_the_environment_that_gymnasium_lacks_are_told_of(
    tmp_path, capsys
):
    grid = {"env.gravity": [5.0], "env.max_steps_in_episode": [500]}
    study = leave(tmp_path / "study", untrained("CartPole-v1", grid=grid))
    export_study(study, 1, tmp_path / "policy", platforms=["cpu"])
    for directory in (study, tmp_path / "policy"):
        run_play(Play(directory, episodes=1, max_frames=0))
        warning = "Warning: trained with gravity=5, played with the usual values."
        assert warning in capsys.readouterr().out


def test_parameters_that_are_not_finite_are_told_of(tmp_path, capsys):
    loaded = untrained("CartPole-v1")
    jax.tree.leaves(loaded.policies.params)[0][1] = np.nan
    leave(tmp_path, loaded)
    warning = "Warning: run 1 has parameters that are not finite."
    run_play(Play(tmp_path, run=1, episodes=1, max_frames=0))
    assert warning in capsys.readouterr().out
    run_play(Play(tmp_path, run=0, episodes=1, max_frames=0))
    assert "Warning" not in capsys.readouterr().out
