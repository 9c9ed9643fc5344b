"""Each rule sees the environment that breaks it, and says what is wrong and where."""

from collections import Counter
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import purejaxppo as ppo
from envs import probes
from purejaxppo.checks import check_environment, sample_action
from purejaxppo.environments.protocol import Arguments, make_reset, make_step

SMALL = {"num_envs": 3, "num_steps": 12}


class State(NamedTuple):
    position: Any
    time: Any


class Params(NamedTuple):
    length: int = 5
    speed: float = 0.5


class Walk:
    """A good environment, for others to break in one place."""

    default_params: Any = Params()
    space = spaces.Dict(
        camera=spaces.Box(0.0, 1.0, (3, 2)), at=spaces.Box(-9.0, 9.0, ())
    )
    actions: Any = spaces.Discrete(2)

    def reset(self, key, params) -> Any:
        state = State(jax.random.uniform(key), jnp.int32(0))
        return self.obs(state), state

    def obs(self, state) -> Any:
        return {"camera": jnp.full((3, 2), 0.5), "at": state.position}

    def move(self, key, state, action, params) -> Any:
        change = params.speed * (2.0 * action - 1)
        return State(state.position + change, state.time + 1)

    def step(self, key, state, action, params) -> Any:
        after = self.move(key, state, action, params)
        return self.outcome(after, params)

    def outcome(self, state, params, **changes) -> Any:
        fields = {
            "obs": self.obs(state),
            "state": state,
            "reward": state.position,
            "terminated": state.time >= params.length,
            "truncated": jnp.zeros((), bool),
            "info": {"note": "not an array"},
        }
        return ppo.Step(**fields | changes)

    def observation_space(self, params) -> Any:
        return self.space

    def action_space(self, params) -> Any:
        return self.actions


def checked(env, **options):
    checks = check_environment(env, **(SMALL | options))
    assert all("\n" not in check.detail for check in checks)
    return {check.name: check for check in checks}


def failure(env, name, **options):
    """What the only failing check says."""
    checks = checked(env, **options)
    failed = [check.name for check in checks.values() if check.passed is False]
    assert failed == [name], checks
    return checks[name].detail


def test_a_good_environment_passes_all():
    checks = checked(Walk())
    assert [check for check in checks.values() if not check.passed] == []
    assert checks["protocol"].detail == "Walk; parameters: 2"
    space = "Dict(at: Box(), camera: Box(3x2)), Discrete(2)"
    assert checks["spaces"].detail == space
    # Of 12 steps each, every fifth ends an episode.
    expected = "6 ended, one in 6 steps: 6 terminated, 0 truncated"
    assert checks["episodes"].detail == expected
    assert checks["determinism"].detail.endswith("starts differ by key")


@pytest.mark.parametrize(
    "env",
    [
        probes.ConstantValue(),
        probes.Discounting(),
        probes.Cut(),
        probes.Match(),
        probes.Identity(),
        probes.Counting(),
    ],
    ids=lambda env: type(env).__name__,
)
def test_probes_pass(env):
    checks = checked(env)
    assert [check for check in checks.values() if not check.passed] == []


@pytest.mark.parametrize(
    ("env_id", "failed"),
    [
        ("CartPole-v1", None),
        ("Catch-bsuite", None),
        # gymnax's own space: what is to be recalled is −1 or 1, and said to be 0 to 2.
        ("MemoryChain-bsuite", "observation[2]: expected within [0, 2], got -1"),
    ],
)
def test_environments_of_gymnax(env_id, failed):
    env, params = ppo.make(env_id)
    with jax.numpy_rank_promotion("allow"):
        if failed:
            assert failure(env, "bounds", env_params=params) == failed
        else:
            assert all(
                check.passed for check in checked(env, env_params=params).values()
            )


# --- What tracing tells ---------------------------------------------------------------


class NoStep:
    default_params = None
    reset = observation_space = Walk.reset


class Named(Walk):
    default_params = Params(length="five")  # pyright: ignore[reportArgumentType]


class RaisingParams(Walk):
    @property
    def default_params(self):
        raise KeyError("lost")


class TextSpace(Walk):
    space = spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]))


class NoSpace(Walk):
    space = (3,)


class EmptySpace(Walk):
    space = spaces.Tuple([])


class SizeByParams(Walk):
    def action_space(self, params):
        return spaces.Discrete(int(params.length))


class OtherWhenTraced(Walk):
    def action_space(self, params):
        return spaces.Discrete(2 + isinstance(params.length, jax.Array))


class WholeBox(Walk):
    actions = spaces.Box(0, 3, (2,), np.int32)


class BareArguments(Walk):
    def action_arguments(self, params):
        return {"type": "0"}


class Branching(Walk):
    def move(self, key, state, action, params):
        return super().move(key, state, action if state.time < 3 else 0, params)


class BranchingOnParams(Walk):
    def move(self, key, state, action, params):
        return super().move(key, state, action if params.length else 0, params)


class CallingOut(Walk):
    def move(self, key, state, action, params):
        after = super().move(key, state, action, params)
        like = jax.ShapeDtypeStruct((), jnp.float32)
        return after._replace(position=jax.pure_callback(np.sin, like, after.position))


class OldStep(Walk):
    def outcome(self, state, params, **changes):
        return self.obs(state), state, 0.0, state.time > 3, {}


class BareReset(Walk):
    def reset(self, key, params):
        return super().reset(key, params)[0]


class TextState(Walk):
    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return obs, {"inner": state, "mode": "easy"}


class GrowingState(Walk):
    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return obs, state._replace(time=jnp.zeros(1, jnp.int32))

    def move(self, key, state, action, params):
        time = jnp.concatenate([state.time, jnp.zeros(1, jnp.int32)])
        return state._replace(time=time)

    def outcome(self, state, params, **changes):
        return super().outcome(state, params, terminated=jnp.zeros((), bool))


class OtherTree(Walk):
    def outcome(self, state, params, **changes):
        step = super().outcome(state, params)
        return step._replace(state=state._asdict() | {"more": 1})


class FloatTime(Walk):
    def move(self, key, state, action, params):
        return (
            super()
            .move(key, state, action, params)
            ._replace(time=state.time + jnp.float32(1))
        )


class VectorReward(Walk):
    def outcome(self, state, params, **changes):
        return super().outcome(state, params, reward=jnp.zeros(1))


class NoReward(Walk):
    def outcome(self, state, params, **changes):
        return super().outcome(state, params, reward=None)


class WholeFlag(Walk):
    def outcome(self, state, params, **changes):
        return super().outcome(state, params, truncated=jnp.int32(0))


class FlatCamera(Walk):
    space = spaces.Dict(
        camera=spaces.Box(0.0, 1.0, (3, 2, 1)), at=spaces.Box(-9.0, 9.0, ())
    )


class Masked(Walk):
    """Two actions, of which the first is valid always."""

    space = spaces.Dict(at=spaces.Box(-9.0, 9.0, ()), action_mask=spaces.MultiBinary(2))

    def obs(self, state):
        return {"at": state.position, "action_mask": jnp.array([True, False])}


class WideMask(Masked):
    space = spaces.Dict(at=spaces.Box(-9.0, 9.0, ()), action_mask=spaces.MultiBinary(3))

    def obs(self, state):
        return {"at": state.position, "action_mask": jnp.ones(3, bool)}


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (NoStep, "protocol", "got NoStep, which lacks step, "),
        (Named, "protocol", "Expected params.length to be an array or a number"),
        (RaisingParams, "protocol", "raised KeyError: 'lost' ("),
        (TextSpace, "spaces", "Expected observation_space.a.1 to be a gymnasium space"),
        (NoSpace, "spaces", "Tuple and Dict, got tuple."),
        (EmptySpace, "spaces", "Expected observation_space to have parts"),
        (SizeByParams, "spaces", "Expected spaces not to depend on traced parameters"),
        (OtherWhenTraced, "spaces", "got Discrete(3) in place of Discrete(2)."),
        (WholeBox, "actions", "Expected action_space to be"),
        (BareArguments, "actions", "Expected action_arguments to return"),
        (Branching, "tracing", "step raised TracerBoolConversionError: Attempted"),
        (BranchingOnParams, "tracing", "step, with parameters traced, raised Tracer"),
        (CallingOut, "tracing", "step raised NotImplementedError: "),
        (
            OldStep,
            "tracing",
            "step returns a tuple of 5; it must return a purejaxppo.Step",
        ),
        (BareReset, "tracing", "reset returns a dict; it must return a pair"),
        (
            TextState,
            "tracing",
            "state.mode is a str; it must be an array or a number.",
        ),
        (
            GrowingState,
            "one trace",
            "state.time to be of one shape and type, got shape (1,) from reset",
        ),
        (OtherTree, "one trace", "Expected state to be the same tree from reset and"),
        (
            FloatTime,
            "one trace",
            "state.time to be of one shape and type, got int32 from reset",
        ),
        (VectorReward, "reward", "Expected reward to be a scalar, got shape (1,)."),
        (NoReward, "reward", "Expected reward to be a scalar, got None."),
        (WholeFlag, "flags", "Expected truncated to be bool, got int32."),
        (FlatCamera, "observation", "observation.camera to be of shape (3, 2, 1), as"),
        (WideMask, "action mask", "observation_space.action_mask to be of shape (2,)"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(kind, name, message):
    env = kind()
    checks = checked(env)
    assert message in checks[name].detail
    assert checks["random play"].passed is None
    assert checks["bounds"] == ("bounds", None, "not run, for want of: random play")
    assert [c.name for c in checks.values() if c.passed is False] == [name]


def test_an_error_is_shown_at_the_users_own_line():
    assert "(tests/test_checking.py:" in checked(Branching())["tracing"].detail


class Loose(Walk):
    """Numbers of Python where there might be arrays."""

    def reset(self, key, params):
        obs, _ = super().reset(key, params)
        return obs, {"position": 0.0, "time": 0}

    def step(self, key, state, action, params):
        after = State(jnp.int32(0), state["time"] + 1)
        obs = self.obs(State(jnp.float32(0), 0))
        step = self.outcome(after, params, obs=obs, reward=1, truncated=False)
        return step._replace(state=after._asdict())


def test_types_may_widen():
    checks = checked(Loose())
    assert all(check.passed for check in checks.values()), checks
    note = "state.position of int32 becomes float32"
    assert checks["one trace"].detail.endswith(note)


def test_what_passes_is_traced_once(key):
    env, traces = Loose(), []
    reset = make_reset(env, env.default_params)
    step = make_step(env, env.default_params)

    def counted(key, now, fresh):
        traces.append(1)
        return step(key, now, jnp.int32(0), fresh)[1]

    advance, fresh = jax.jit(counted), reset(key)
    now = advance(key, advance(key, fresh, fresh), fresh)
    assert now.state["time"] == 2 and len(traces) == 1


# --- What random play tells -----------------------------------------------------------


class FarAway(Walk):
    def obs(self, state):
        corner = jnp.zeros((3, 2)).at[1, 0].set(-jnp.float32(state.time))
        return super().obs(state) | {"camera": corner}


class BeyondItsNumbers(Walk):
    space = spaces.Tuple([spaces.MultiDiscrete([9, 5]), spaces.Discrete(6, start=1)])

    def obs(self, state):
        return jnp.full(2, state.time), state.time + 1


class NoNumber(Walk):
    def move(self, key, state, action, params):
        after = super().move(key, state, action, params)
        return after._replace(position=jnp.where(after.time == 3, jnp.nan, 0.0))

    def obs(self, state):
        return super().obs(state) | {"at": jnp.float32(0)}


class Overflow(Walk):
    def outcome(self, state, params, **changes):
        return super().outcome(state, params, reward=jnp.exp(40.0 * state.time))


class NothingValid(Masked):
    def obs(self, state):
        return {"at": state.position, "action_mask": jnp.full(2, state.time < 3)}


class Impure(Walk):
    calls = 0

    def move(self, key, state, action, params):
        self.calls += 1
        after = super().move(key, state, action, params)
        return after._replace(position=after.position + 0.001 * self.calls)


class BreaksAfterTheEnd(Walk):
    def move(self, key, state, action, params):
        after = super().move(key, state, action, params)
        left = params.length - after.time
        return after._replace(position=after.position / jnp.where(left < 0, 0, 1))

    def obs(self, state):
        return super().obs(state) | {"at": jnp.float32(0)}


class ResetsItself(Walk):
    """As gymnax's own `step`, with the time in its state or without."""

    timed = True

    def step(self, key, state, action, params):
        key, reset_key = jax.random.split(key)
        step = super().step(key, state, action, params)
        obs, fresh = self.reset(reset_key, params)
        if not self.timed:
            return self.ended_by_chance(step, obs, fresh)
        choose = lambda a, b: jnp.where(step.terminated, a, b)  # noqa: E731
        return step._replace(
            obs=jax.tree.map(choose, obs, step.obs),
            state=jax.tree.map(choose, fresh, step.state),
        )

    def ended_by_chance(self, step, obs, fresh):
        """Ends where the position has left [0, 1], and keeps no time."""
        state = step.state._replace(time=jnp.int32(0))
        over = jnp.abs(state.position - 0.5) > 0.5
        choose = lambda a, b: jnp.where(over, a, b)  # noqa: E731
        return step._replace(
            obs=jax.tree.map(choose, obs, step.obs),
            state=jax.tree.map(choose, fresh, state),
            terminated=over,
        )


class ResetsWithoutTime(ResetsItself):
    timed = False


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            FarAway,
            "bounds",
            "observation.camera[1, 0]: expected within [0, 1], got -5",
        ),
        (BeyondItsNumbers, "bounds", "observation.0[1]: expected within [0, 4], got 5"),
        (NoNumber, "finite", "state.position: not finite, first in step 3"),
        (Overflow, "finite", "reward: not finite, first in step 3"),
        (NothingValid, "valid actions", "ends, got nothing in step 3."),
        (Impure, "determinism", "Expected step to depend on its arguments only"),
        (BreaksAfterTheEnd, "after the end", "state.position: not finite, first in"),
        (ResetsItself, "no auto-reset", "state.time, which counts steps, is back"),
        (ResetsWithoutTime, "no auto-reset", "is that of reset with a key made from"),
    ],
)
def test_random_play_shows_what_is_wrong(kind, name, message):
    assert message in failure(kind(), name)


def test_one_failure_of_play_leaves_the_others_to_run():
    checks = checked(NoNumber())
    assert checks["after the end"].passed is None
    assert checks["bounds"].passed and checks["no auto-reset"].passed


def test_an_endless_environment_is_noted_and_passes():
    checks = checked(Walk(), env_params=Params(length=100))
    assert all(check.passed for check in checks.values())
    assert checks["episodes"].detail == "no episode ended in 12 steps"
    assert checks["after the end"].detail == "no episode ended, so none was stepped on"
    assert checks["no auto-reset"].detail.startswith("no episode ended")


def test_bounds_leave_room_for_rounding():
    class Rounded(Walk):
        excess = 5e-6

        def obs(self, state):
            camera = jnp.full((3, 2), 1 + self.excess)
            return {"camera": camera, "at": jnp.float32(9 * (1 + self.excess))}

    assert checked(Rounded())["bounds"].passed
    env = Rounded()
    env.excess = 3e-5
    assert failure(env, "bounds").startswith("observation.at: expected within [-9, 9]")


def test_a_clock_that_shows_the_end_is_no_reset():
    class Showing(Walk):
        def outcome(self, state, params, **changes):
            step = super().outcome(state, params)
            time = jnp.where(step.terminated, -1, state.time)
            return step._replace(state=state._replace(time=time))

    assert checked(Showing())["no auto-reset"].passed


def test_a_state_may_start_with_infinities():
    class Best(Walk):
        def reset(self, key, params):
            obs, state = super().reset(key, params)
            return obs, (state, -jnp.inf)

        def step(self, key, state, action, params):
            step = super().step(key, state[0], action, params)
            return step._replace(state=(step.state, state[1]))

    assert checked(Best())["finite"].passed


def test_nothing_need_be_valid_after_the_end():
    class Closing(Masked):
        def obs(self, state):
            mask = jnp.full(2, state.time < 5)
            return {"at": state.position, "action_mask": mask}

    assert checked(Closing())["valid actions"].passed


def test_masks_of_a_tree_keep_play_valid():
    class Tree(Masked):
        """Ends in NaN if an action is played that the mask forbids."""

        actions = spaces.Dict(
            go=spaces.Discrete(3),
            turn=spaces.MultiDiscrete([2, 3]),
            at=spaces.Box(0, 1),
        )
        space = spaces.Dict(
            at=spaces.Box(-9.0, 9.0, ()),
            action_mask=spaces.Dict(
                go=spaces.MultiBinary(3), turn=spaces.MultiBinary(5)
            ),
        )

        def obs(self, state):
            mask = {"go": [0, 1, 1], "turn": [0, 1, 1, 0, 1]}
            mask = {k: jnp.array(v, jnp.int8) for k, v in mask.items()}
            return {"at": jnp.float32(0), "action_mask": mask}

        def move(self, key, state, action, params):
            turn = action["turn"]
            wrong = (action["go"] == 0) | (turn[0] == 0) | (turn[1] == 1)
            position = jnp.where(wrong, jnp.nan, action["at"][0])
            return State(position, state.time + 1)

    checks = checked(Tree())
    assert all(check.passed for check in checks.values()), checks
    assert checks["valid actions"].detail == "in every step"


@pytest.mark.parametrize("options", [{"num_envs": 0}, {"num_steps": 0}])
def test_sizes_are_positive(options):
    with pytest.raises(ValueError, match=rf"^Expected {next(iter(options))} to be > 0"):
        check_environment(Walk(), **options)


# --- Random actions -------------------------------------------------------------------


def draws(space, mask=None, num=400):
    keys = jax.random.split(jax.random.key(0), num)
    batch = jax.jit(jax.vmap(lambda key: sample_action(key, space, mask)))(keys)
    batch = jax.device_get(batch)
    return [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(num)]


def test_actions_are_of_their_space():
    space = spaces.Dict(
        a=spaces.Discrete(3, start=-1),
        b=spaces.Tuple(
            [
                spaces.MultiDiscrete(np.array([[2, 3]]), start=np.array([[1, 5]])),
                spaces.MultiBinary((2, 2)),
            ]
        ),
        c=spaces.Box(
            np.array([-1, 0, -np.inf, -np.inf], np.float32),
            np.array([1, np.inf, 0, np.inf], np.float32),
        ),
    )
    seen = draws(space)
    as_typed = lambda x, like: np.asarray(x, like.dtype)  # noqa: E731
    for action in seen:
        typed = jax.tree.map(as_typed, action, space.sample())
        assert space.contains(typed), action
    assert Counter(int(action["a"]) for action in seen).keys() == {-1, 0, 1}
    pairs = {tuple(action["b"][0].ravel().tolist()) for action in seen}
    assert pairs == {(i, j) for i in (1, 2) for j in (5, 6, 7)}
    box = np.stack([action["c"] for action in seen])
    assert abs(box[:, 0].mean()) < 0.1 and abs(box[:, 0].std() - 3**-0.5) < 0.05
    assert abs(box[:, 1].mean() - 1) < 0.2 and abs(box[:, 2].mean() + 1) < 0.2
    assert abs(box[:, 3].mean()) < 0.2 and abs(box[:, 3].std() - 1) < 0.1


def test_a_box_of_all_floats_is_as_one_without_bounds():
    most = float(np.finfo(np.float32).max)
    action = np.stack(draws(spaces.Box(-most, most, (1,))))
    assert np.isfinite(action).all() and abs(action.std() - 1) < 0.1


@pytest.mark.parametrize(
    ("space", "mask", "expected"),
    [
        (spaces.Discrete(3), [0, 1, 1], {1: 200, 2: 200}),
        (spaces.Discrete(3, start=5), [1, 0, 0], {5: 400}),
        (spaces.Discrete(2), [0, 0], {0: 200, 1: 200}),
        (
            spaces.MultiDiscrete([2, 3]),
            [0, 1, 1, 0, 1],
            {(1, 0): 200, (1, 2): 200},
        ),
        (
            spaces.MultiDiscrete([2, 3]),
            [0, 0, 0, 1, 0],
            {(0, 1): 200, (1, 1): 200},
        ),
        (
            spaces.MultiBinary(2),
            [[1, 0], [1, 1]],
            {(0, 0): 200, (0, 1): 200},
        ),
    ],
)
def test_masked_actions_are_valid_and_uniform(space, mask, expected):
    actions = (np.asarray(action).tolist() for action in draws(space, jnp.array(mask)))
    counts = Counter(tuple(a) if isinstance(a, list) else a for a in actions)
    assert counts.keys() == expected.keys()
    assert all(abs(counts[action] - expected[action]) < 50 for action in expected)


def test_other_spaces_have_no_actions():
    with pytest.raises(ValueError, match="Expected action_space to be of Discrete"):
        sample_action(jax.random.key(0), gymnasium.spaces.Text(3))


def test_arguments_reach_the_policy():
    class Hybrid(Walk):
        actions = spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))])
        table = ((1, 0), (0, 1))

        def move(self, key, state, action, params):
            return super().move(key, state, action[0], params)

        def action_arguments(self, params):
            return Arguments(type="0", uses={"1": self.table})

    class Wrong(Hybrid):
        table = ((1, 0, 1), (0, 1, 1))

    detail = checked(Hybrid())["actions"].detail
    assert detail.endswith("; the type '0' says whether '1' count")
    wrong = checked(Wrong())["actions"]
    assert not wrong.passed and "action_arguments" in wrong.detail


def test_a_mask_by_another_name_is_told():
    class Named(Walk):
        space = spaces.Dict(
            camera=Walk.space["camera"],
            at=Walk.space["at"],
            action_masks=spaces.MultiBinary(2),
        )

        def obs(self, state):
            return {**super().obs(state), "action_masks": jnp.ones(2, jnp.int8)}

    assert checked(Named())["action mask"].detail == (
        "none: every action is valid; 'action_masks' is none, its key has to be "
        "'action_mask'"
    )


def test_a_state_in_the_environment_itself():
    class Keeping(Walk):
        def reset(self, key, params):
            self.last = key
            return super().reset(key, params)

    assert checked(Keeping())["tracing"] == (
        "tracing",
        False,
        "Expected reset and step to keep nothing in the environment, got last set in "
        "one of them; it belongs in the state.",
    )
