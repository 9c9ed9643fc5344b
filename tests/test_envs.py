"""The project's environments: their contracts, and returns worked out by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import purejaxppo as ppo
from envs import gridworld, identity, masked, moving, sequence, tmaze, velocities
from purejaxppo.environments.protocol import Reset, make_reset, make_step
from purejaxppo.environments.spaces import MASK, parts

ENVS = [
    moving.Moving,
    identity.DiscreteIdentity,
    identity.MultiDiscreteIdentity,
    identity.MultiBinaryIdentity,
    identity.BoxIdentity,
    identity.HybridIdentity,
    sequence.FixedSequence,
    tmaze.TMaze,
    masked.Doors,
    masked.DarkDoors,
    masked.MaskedGrid,
    masked.Console,
    gridworld.Gridworld,
    velocities.HiddenVelocities,
]


MOVING = moving.Moving()


def play(env, policies, num_steps, num_envs=256, params=None):
    """For each policy, of first episodes: returns, lengths, and last flags."""
    params = env.default_params if params is None else params
    reset, step = make_reset(env, params), make_step(env, params)

    def act(key, obs, which):
        actions = [policy(key, obs) for policy in policies]
        return jax.tree.map(lambda *x: jnp.stack(x)[which], *actions)

    def episode(which, key):
        def advance(carry, key):
            now, total, length, alive = carry
            keys = jax.random.split(key)
            result, now = step(keys[0], now, act(keys[1], now.obs, which), now)
            end = result.terminated | result.truncated
            flags = jnp.stack([result.terminated, result.truncated]) & alive
            total = total + jnp.where(alive, result.reward, 0)
            return (now, total, length + alive, alive & ~end), flags

        start = reset(key), jnp.float32(0), jnp.int32(0), jnp.bool_(True)
        keys = jax.random.split(key, num_steps)
        (_, total, length, _), flags = jax.lax.scan(advance, start, keys)
        return total, length, flags.any(0)

    keys = jax.random.split(jax.random.key(0), num_envs)
    run = jax.jit(jax.vmap(jax.vmap(episode, (None, 0)), (0, None)))
    found = jax.tree.map(np.asarray, run(jnp.arange(len(policies)), keys))
    return list(zip(*found, strict=True))


@functools.cache
def compiled_step(env):
    return jax.jit(env.step)


def follow(env, state, actions, params=None):
    """The steps that a list of actions leads through from a state."""
    params, steps = env.default_params if params is None else params, []
    for action in actions:
        steps.append(compiled_step(env)(jax.random.key(1), state, action, params))
        state = steps[-1].state
    return jax.tree.map(lambda *x: np.stack(x), *steps)


def leaf_types(tree):
    return jax.tree.map(lambda x: (x.dtype, x.shape), tree)


@functools.cache
def two_random_steps(make):
    """Of 200 environments: the first observation and state, the actions, two steps."""
    env, keys = make(), jax.random.split(jax.random.key(0), 200)
    params = env.default_params
    space = env.action_space(params)
    space.seed(0)
    drawn = [space.sample() for _ in keys]
    actions = jax.tree.map(lambda *x: np.stack(x), *drawn)

    def two_steps(key, action, params):
        obs, state = env.reset(key, params)
        first = env.step(key, state, action, params)
        return obs, state, first, env.step(key, first.state, action, params)

    run = jax.jit(jax.vmap(two_steps, (0, 0, None)))
    obs, state, first, second = run(keys, actions, params)
    return obs, state, drawn, first, second


def rows(tree):
    """The values of a batch, one by one."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    batches = zip(*leaves, strict=True)
    return [jax.tree.unflatten(structure, map(np.asarray, row)) for row in batches]


@pytest.mark.parametrize("make", ENVS, ids=lambda make: make.__name__)
def test_contract(make):
    env = make()
    params = env.default_params
    assert isinstance(env, ppo.Environment)
    sections = "Observation", "Action", "Reward", "Termination", "Truncation", "State"
    assert all(f"{section}: " in make.__doc__ for section in sections)
    obs, state, _, first, second = two_random_steps(make)
    for step in (first, second):
        assert step.terminated.dtype == step.truncated.dtype == bool
        assert step.terminated.shape == step.truncated.shape == (200,)
        assert step.reward.dtype == jnp.float32 and step.reward.shape == (200,)
        assert np.isfinite(step.reward).all()
        assert leaf_types(step.obs) == leaf_types(obs)
        assert leaf_types(step.state) == leaf_types(state)
        assert not (step.terminated & step.truncated).any()
    for tree in (obs, first.obs, second.obs):
        for value in rows(tree):
            assert env.observation_space(params).contains(value)


# Moving


def at(position, heading=0.0, speed=0.0, target=(0.5, 0.0), time=0):
    return moving.State(
        position=jnp.array(position, jnp.float32),
        heading=jnp.float32(heading),
        speed=jnp.float32(speed),
        target=jnp.array(target, jnp.float32),
        time=jnp.int32(time),
    )


def act(kind, power=0.0, turn=0.0):
    return jnp.int32(kind), jnp.array([power, turn], jnp.float32)


def test_moving_drives_as_worked_out_by_hand():
    plan = [act(0, 1, 0.3), act(0, 2), act(1, 0.7, 1), act(1, 0, -3), act(2, 1, 1)]
    steps = follow(MOVING, at((0, 0)), plan)
    np.testing.assert_allclose(steps.state.speed, [0.5, 1, 1, 1, 0.9])
    half = np.pi / 2
    np.testing.assert_allclose(steps.state.heading, [0, 0, half, 0, 0], atol=1e-6)
    x = [0.0025, 0.0075, 0.0075, 0.0125, 0.017]
    y = [0, 0, 0.005, 0.005, 0.005]
    np.testing.assert_allclose(steps.state.position, np.stack([x, y], 1), atol=1e-7)
    distance = np.hypot(0.5 - np.array([0, *x]), np.array([0, *y]))
    reward = distance[:-1] - distance[1:] - 0.001
    np.testing.assert_allclose(steps.reward, reward, atol=1e-6)
    assert not (steps.terminated | steps.truncated).any()
    last = [0.017, 0.005, 0.9, 1, 0, 0.5, 0, distance[-1], 0, 5 / 200]
    np.testing.assert_allclose(steps.obs[-1], last, atol=1e-6)
    np.testing.assert_allclose(steps.obs[2, 3:5], [0, 1], atol=1e-6)


def test_moving_ends_where_it_must():
    env = MOVING
    goal = follow(env, at((0.45, 0), speed=0.15), [act(2)] * 2)
    np.testing.assert_array_equal(goal.terminated, [False, True])
    np.testing.assert_allclose(goal.state.speed, [0.05, 0], atol=1e-7)
    np.testing.assert_allclose(goal.reward, [0.00025 - 0.001, 1 - 0.001], atol=1e-6)
    assert goal.obs[-1, 8] == 1
    still = follow(env, at((0.45, 0)), [act(1, 0, 0.5)])
    assert still.terminated[0] and still.reward[0] > 0.99
    outside = follow(env, at((0.39, 0)), [act(2)])
    assert not outside.terminated[0] and outside.obs[0, 8] == 0
    out = follow(env, at((0.999, 0), speed=1.0), [act(1)])
    assert out.terminated[0] and out.reward[0] == -1
    late = follow(env, at((0, 0), time=199), [act(2)] * 2)
    np.testing.assert_array_equal(late.terminated, [False, True])
    np.testing.assert_allclose(late.reward, [-0.001, -1])
    assert not late.truncated.any()


def chauffeur(key, obs):
    """Turns to the target, accelerates, and brakes in time to stop on it."""
    x, y, speed, cos, sin, target_x, target_y, distance, *_ = obs
    error = jnp.arctan2(target_y - y, target_x - x) - jnp.arctan2(sin, cos)
    error = jnp.mod(error + jnp.pi, 2 * jnp.pi) - jnp.pi
    to_stop = 0.005 * speed * (speed - 0.1) / 0.2
    kind = jnp.where(jnp.abs(error) > 0.02, moving.TURN, moving.ACCELERATE)
    kind = jnp.where(to_stop >= distance - 0.05, moving.BRAKE, kind)
    return kind, jnp.stack([jnp.ones(()), error / (jnp.pi / 2)])


def test_moving_can_be_solved_but_not_by_chance():
    def random(key, obs):
        kind_key, key = jax.random.split(key)
        arguments = jax.random.uniform(key, (2,), minval=jnp.array([0.0, -1.0]))
        return jax.random.randint(kind_key, (), 0, 3), arguments

    driven, left_to_chance = play(MOVING, [chauffeur, random], 201)
    total, length, flags = driven
    assert flags[:, 0].all() and total.mean() > 1.8 and total.min() > 0.9
    keys = jax.random.split(jax.random.key(0), 256)
    obs, _ = jax.jit(jax.vmap(MOVING.reset, (0, None)))(keys, MOVING.default_params)
    # d₀ − d + 1 − 0.001 T, with 0 <= d < 0.1
    rest = obs[:, 7] + 1 - 0.001 * length - total
    assert (rest > -1e-4).all() and (rest < 0.1).all()
    total, length, flags = left_to_chance
    assert total.mean() < -1 and flags[:, 0].all() and length.max() == 201


def test_moving_says_which_arguments_count():
    env, state = MOVING, at((0, 0), speed=0.5)
    arguments = env.action_arguments(env.default_params)
    assert arguments.type == "0"
    for kind, uses in enumerate(arguments.uses["1"]):
        ends = follow(env, state, [act(kind, 0.3, 0.3)]).state
        for dimension, used in enumerate(uses):
            other = np.array([0.3, 0.3])
            other[dimension] = 0.9
            changed = follow(env, state, [act(kind, *other)]).state
            same = all(map(np.array_equal, ends, changed))
            assert same == (not used)


def test_moving_can_be_seen():
    env = moving.Moving()
    image = env.render(at((-0.5, 0.5), target=(0.5, 0.5)), env.default_params)
    assert image.dtype == np.uint8 and image.shape == (200, 200, 3)
    assert tuple(image[50, 50]) == (25, 75, 230)
    assert tuple(image[50, 54]) == (0, 0, 0)
    assert tuple(image[50, 150]) == (255, 128, 128)
    assert tuple(image[150, 150]) == (255, 255, 255)
    red = (image == np.array([255, 128, 128])).all(-1).sum()
    assert red == pytest.approx(np.pi * 10**2, rel=0.03)


# Identity

IDENTITIES = [
    (identity.DiscreteIdentity(4), 1, 1 / 4),
    (identity.MultiDiscreteIdentity((2, 3)), 1, 1 / 6),
    (identity.MultiBinaryIdentity(2), 1, 1 / 4),
    (identity.BoxIdentity((2, 1)), 0, -2 / 3),
    (identity.HybridIdentity(), 2, 1 / 3 + 1 / 4 - 2 / 3),
]


@pytest.mark.parametrize(("env", "best", "random"), IDENTITIES)
def test_identity(env, best, random):
    params = identity.Params(length=2)
    policies = [lambda key, obs: obs, lambda key, obs: env.draw(key)]
    copied, guessed = play(env, policies, 3, 4096, params)
    total, length, flags = copied
    np.testing.assert_array_equal(total, 2 * best)
    np.testing.assert_array_equal(length, 2)
    np.testing.assert_array_equal(flags, [[False, True]] * 4096)
    assert guessed[0].mean() == pytest.approx(2 * random, abs=0.08)


def test_identity_rewards_by_hand():
    box = identity.BoxIdentity((2,))
    assert box.reward(np.array([0.5, 0.5]), np.array([0.5, -0.5])) == -0.5
    pair = identity.MultiDiscreteIdentity()
    assert pair.reward(np.array([1, 1]), np.array([1, 2])) == 0
    answer = {"kind": 1, "bits": np.array([1, 0]), "where": np.array([0.0, 1.0])}
    action = {**answer, "bits": np.array([1, 1]), "where": np.array([0.0, 0.0])}
    assert identity.HybridIdentity().reward(action, answer) == 0.5


# Sequence


def test_a_sequence_must_be_recited():
    env = sequence.FixedSequence()
    start = sequence.State(time=jnp.int32(0))
    told = follow(env, start, [jnp.int32(a) for a in env.sequence])
    np.testing.assert_array_equal(told.reward, 1)
    np.testing.assert_array_equal(told.terminated, [0, 0, 0, 0, 1])
    assert not told.truncated.any() and not told.obs.any()
    wrong = follow(env, start, [jnp.int32((a + 1) % 10) for a in env.sequence])
    assert not wrong.reward.any()
    constant = [
        follow(env, start, [jnp.int32(a)] * 5).reward.sum() for a in env.sequence
    ]
    assert max(constant) == 1 < 0.7 * 5


def test_a_sequence_belongs_to_its_seed():
    draws = {sequence.FixedSequence(3, 8, seed).sequence for seed in (0, 0, 1, 2)}
    assert len(draws) == 3
    assert {a for sequence in draws for a in sequence} == {0, 1, 2}


# T-maze

NORTH, EAST, SOUTH, WEST = 0, 1, 2, 3
T_MAZE = tmaze.TMaze(length=3)


def start(side, position=0):
    return tmaze.State(
        position=jnp.int32(position), side=jnp.int32(side), time=jnp.int32(0)
    )


@pytest.mark.parametrize("side", [0, 1])
def test_the_t_maze_rewards_the_side_of_the_sign(side):
    env = T_MAZE
    turns = (NORTH, SOUTH) if side == 0 else (SOUTH, NORTH)
    for turn, reward in zip(turns, (4, -0.1), strict=True):
        walk = follow(env, start(side), [jnp.int32(a) for a in (EAST,) * 3 + (turn,)])
        np.testing.assert_allclose(walk.reward, [0, 0, 0, reward])
        np.testing.assert_array_equal(walk.terminated, [0, 0, 0, 1])
        assert not walk.truncated.any()
        corridor, junction = [1, 0, 1], [0, 1, 0]
        np.testing.assert_array_equal(walk.obs, [corridor] * 2 + [junction] * 2)


def test_the_t_maze_has_walls_and_a_limit():
    walk = [NORTH, WEST, EAST, SOUTH, WEST, EAST, EAST, EAST, EAST]
    steps = follow(T_MAZE, start(0), [jnp.int32(a) for a in walk])
    np.testing.assert_array_equal(steps.state.position, [0, 0, 1, 1, 0, 1, 2, 3, 3])
    still = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(steps.reward, -0.1 * still, rtol=1e-6)
    assert not (steps.terminated | steps.truncated).any()
    wait = follow(T_MAZE, start(0), [jnp.int32(WEST)] * 30)
    np.testing.assert_array_equal(wait.truncated, np.arange(30) == 29)
    assert not wait.terminated.any()
    at_last = start(0, position=3)._replace(time=jnp.int32(29))
    turn = follow(T_MAZE, at_last, [jnp.int32(NORTH)])
    assert turn.terminated[0] and not turn.truncated[0]


def test_the_t_maze_shows_its_sign_once(key):
    env = tmaze.TMaze()
    reset = jax.jit(jax.vmap(env.reset, (0, None)))
    obs, state = reset(jax.random.split(key, 1000), env.default_params)
    signs = np.where(state.side[:, None] == 0, [[0, 1, 1]], [[1, 1, 0]])
    np.testing.assert_array_equal(obs, signs)
    assert 430 < state.side.sum() < 570
    assert env.default_params.length == 10
    np.testing.assert_array_equal(
        follow(T_MAZE, start(1), [jnp.int32(WEST)]).obs[0], [1, 0, 1]
    )


def test_no_policy_without_memory_solves_the_t_maze():
    """All that map the four observations to actions: their mean of both sides."""
    env = T_MAZE
    params = env.default_params
    step = make_step(env, params)

    def look(obs):
        sign = jnp.where(obs[2] == 1, 0, 1)
        return jnp.where(obs[1] == 1, jnp.where(obs[0] + obs[2] == 0, 3, sign), 2)

    def episode(table, side):
        obs = jnp.where(side == 0, tmaze.SIGNS[0], tmaze.SIGNS[1])
        first = Reset(obs=obs, state=start(0)._replace(side=side))

        def advance(carry, _):
            now, total, alive = carry
            result, now = step(jax.random.key(0), now, table[look(now.obs)], now)
            total = total + jnp.where(alive, result.reward, 0)
            return (now, total, alive & ~(result.terminated | result.truncated)), None

        begin = first, jnp.float32(0), jnp.bool_(True)
        return jax.lax.scan(advance, begin, None, params.max_steps)[0][1]

    tables = jnp.array(list(itertools.product(range(4), repeat=4)))
    over_sides = jax.vmap(episode, (None, 0))
    returns = jax.jit(jax.vmap(over_sides, (0, None)))(tables, jnp.arange(2))
    assert returns.mean(1).max() == pytest.approx((4 - 0.1) / 2)
    assert returns.max() == 4


# Masks


def valid(key, mask):
    """A valid action, uniformly, where the last axis of `mask` is the choice."""
    return jnp.argmax(mask * (1 + jax.random.uniform(key, mask.shape)), axis=-1)


def doors_chain(forward, back, length=10, steps=100):
    """Expected return of fixed chances, from the chain of rooms; the rest is shut."""
    at, total, shut = np.eye(length + 1)[0], 0.0, 1 - forward - back
    for _ in range(steps):
        inside = at[:-1]
        total += (forward * inside.sum() - back * inside[1:].sum()) / length
        total -= shut * inside.sum()
        new = np.zeros(length + 1)
        new[1:] += forward * inside
        new[: length - 1] += back * inside[1:]
        new[0] += back * inside[0]
        at = new
    return total


def test_doors():
    env = masked.Doors()

    def any_valid(key, obs):
        return valid(key, obs[MASK])

    def lit(key, obs):
        return jnp.argmax(obs[MASK] * (1 + obs["observation"][:-1]))

    def anything(key, obs):
        return jax.random.randint(key, (), 0, 32)

    best, random, reckless = play(env, [lit, any_valid, anything], 100, 1024)
    total, length, flags = best
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    np.testing.assert_array_equal(length, 10)
    assert flags[:, 0].all() and not flags[:, 1].any()
    total, length, flags = random
    assert flags[:, 1].mean() > 0.99 and total.min() >= 0
    assert doors_chain(1 / 4, 3 / 4) == pytest.approx(0.05, abs=1e-3)
    assert total.mean() == pytest.approx(doors_chain(1 / 4, 3 / 4), abs=0.015)
    total, length, flags = reckless
    assert doors_chain(1 / 32, 3 / 32) == pytest.approx(-0.997, abs=1e-3)
    assert total.mean() == pytest.approx(doors_chain(1 / 32, 3 / 32), abs=0.003)
    assert length.mean() == pytest.approx(8 / 7, abs=0.05) and flags[:, 0].all()


def test_dark_doors():
    """A light is no more than a hint where the mask is not shown."""

    def lit(key, obs):
        return jnp.argmax(obs[:-1])

    total, length, flags = play(masked.DarkDoors(), [lit], 100, 1024)[0]
    assert total.mean() == pytest.approx(doors_chain(2 / 29, 0), abs=0.005)
    assert flags[:, 0].all() and length.mean() == pytest.approx(29 / 27, abs=0.03)


def test_lights_do_not_tell_the_open_doors():
    _, state, *_ = two_random_steps(masked.Doors)
    np.testing.assert_array_equal(state.open.sum(1), 4)
    np.testing.assert_array_equal((state.open & state.light).sum(1), 1)
    np.testing.assert_allclose(state.open.mean(0), 1 / 8, atol=0.09)
    shut = np.asarray(state.light)[~state.open]
    assert shut.mean() == pytest.approx(0.5, abs=0.02)


def grid_gap(obs):
    cells = obs["observation"] * 9
    gap = jnp.abs((cells[2:] - cells[:2])[:, None] - jnp.arange(-2, 3)[None])
    return gap + 100 * (1 - obs[MASK].reshape(2, 5))


def test_masked_grid():
    policies = [
        lambda key, obs: grid_gap(obs).argmin(1),
        lambda key, obs: valid(key, obs[MASK].reshape(2, 5)),
        lambda key, obs: jax.random.randint(key, (2,), 0, 5),
    ]
    greedy, random, reckless = play(masked.MaskedGrid(), policies, 50, 1024)
    total, length, flags = greedy
    assert total.mean() == pytest.approx(0.916, abs=0.01)
    assert length.mean() == pytest.approx(4.2, abs=0.3) and flags[:, 0].all()
    total, length, flags = random
    assert total.mean() == pytest.approx(-0.49, abs=0.08)
    np.testing.assert_array_equal(length[flags[:, 1]], 50)
    np.testing.assert_allclose(total, flags[:, 0] - length / 50, atol=1e-5)
    total, _, flags = reckless
    assert total.mean() == pytest.approx(-1, abs=0.03)
    assert flags[:, 0].all() and (total > -0.9).mean() < 0.02


def test_masked_grid_keeps_on_the_grid(key):
    env, params = masked.MaskedGrid(), masked.GridParams(size=3)
    reset = jax.jit(jax.vmap(env.reset, (0, None)))
    obs, state = reset(jax.random.split(key, 1000), params)
    assert (state.cell != state.target).any(1).all()
    np.testing.assert_array_equal(state.valid.sum(-1), 3)
    corner = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(state.valid, corner[np.asarray(state.cell)])
    np.testing.assert_array_equal(obs[MASK], corner[state.cell].reshape(-1, 10))
    cells = np.concatenate([state.cell, state.target], 1)
    np.testing.assert_array_equal(obs["observation"], cells / 2)
    state = jax.tree.map(lambda x: x[0], state)
    inside = state._replace(cell=jnp.array([1, 1]), target=jnp.array([0, 2]))
    inside = inside._replace(valid=jnp.array(corner[[1, 1]], bool))
    there = follow(env, inside, [jnp.array([1, 3])], params)
    assert there.terminated[0] and there.reward[0] == pytest.approx(1 - 1 / 50)
    invalid = follow(env, inside, [jnp.array([1, 4])], params)
    assert invalid.terminated[0] and invalid.reward[0] == -1
    np.testing.assert_array_equal(invalid.state.cell[0], [1, 1])


def test_console():
    env = masked.Console()

    def any_valid(key, obs):
        keys, mask = jax.random.split(key, 3), obs[MASK]
        return {
            "lever": valid(keys[0], mask["lever"]),
            "switches": valid(keys[1], mask["switches"]),
            "slider": jax.random.uniform(keys[2], (1,), minval=-1.0),
        }

    def best(key, obs):
        shown, mask = obs["observation"], obs[MASK]
        lever = jnp.argmax(mask["lever"] * (1 + shown[:8]))
        bits = shown[8:11].astype(jnp.int32)
        return {"lever": lever, "switches": bits, "slider": shown[11:]}

    def anything(key, obs):
        free = jax.tree.map(jnp.ones_like, obs[MASK])
        return any_valid(key, {**obs, MASK: free})

    obeying, random, reckless = play(env, [best, any_valid, anything], 20, 1024)
    total, length, flags = obeying
    np.testing.assert_allclose(total, 20, rtol=1e-6)
    np.testing.assert_array_equal(length, 20)
    assert flags[:, 1].all() and not flags[:, 0].any()
    total, length, flags = random
    # a third each of: one lever of two; stuck switches, half of the rest; 1 - |a-b|/2
    each = (1 / 2 + 3 / 4 + 2 / 3) / 3
    assert total.mean() == pytest.approx(20 * each, abs=0.2)
    assert (length == 20).all() and not flags[:, 0].any()
    total, length, flags = reckless
    right = 2 / 8 * (3 / 4) ** 3
    score = (1 / 2 + (1 / 2) / (3 / 4) + 2 / 3) / 3
    expected = (right * score - (1 - right)) / (1 - right)
    assert expected == pytest.approx(-0.93, abs=5e-3)
    assert total.mean() == pytest.approx(expected, abs=0.025)
    assert flags[:, 0].all() and length.mean() == pytest.approx(1.118, abs=0.04)


def allowed(mask, action):
    """Whether each part's choice is valid, by the masks as `Environment` tells them."""
    if isinstance(action, dict):
        return all(allowed(mask[name], action[name]) for name in mask)
    chosen = np.atleast_1d(action)
    table = mask.reshape(len(chosen), -1)
    return bool(table[np.arange(len(chosen)), chosen].all())


@pytest.mark.parametrize("make", [masked.Doors, masked.MaskedGrid, masked.Console])
def test_masks_tell_valid_from_invalid(make):
    obs, _, actions, step, _ = two_random_steps(make)
    expected = np.array(list(map(allowed, rows(obs[MASK]), actions)))
    assert 5 < sum(expected) < 195
    np.testing.assert_array_equal(step.reward != -1, expected)
    assert np.all(step.terminated | expected)
    env = make()
    space = env.observation_space(env.default_params)[MASK]
    assert all(isinstance(leaf, spaces.MultiBinary) for _, leaf in parts(space))


# Gridworld

RANDOM = """
 3.3  8.8  4.4  5.3  1.5
 1.5  3.0  2.3  1.9  0.5
 0.1  0.7  0.7  0.4 -0.4
-1.0 -0.4 -0.4 -0.6 -1.2
-1.9 -1.3 -1.2 -1.4 -2.0
"""
OPTIMAL = """
22.0 24.4 22.0 19.4 17.5
19.8 22.0 19.8 17.8 16.0
17.8 19.8 17.8 16.0 14.4
16.0 17.8 16.0 14.4 13.0
14.4 16.0 14.4 13.0 11.7
"""


@pytest.mark.parametrize(
    ("values", "published"),
    [(gridworld.random_values, RANDOM), (gridworld.optimal_values, OPTIMAL)],
)
def test_gridworld_has_the_published_values(values, published):
    table = np.array([line.split() for line in published.split("\n")[1:-1]], float)
    np.testing.assert_allclose(values(), table, atol=0.05 + 1e-6)
    # with γ = 0 only the next reward counts: a corner, A, an edge and the middle
    near = values(gamma=0.0)
    best = values is gridworld.optimal_values
    expected = [0, 10, 0, 0] if best else [-0.5, 10, -0.25, 0]
    np.testing.assert_allclose(near[[0, 0, 4, 2], [0, 1, 2, 2]], expected)


def test_gridworld_steps_as_its_values_assume(key):
    """The environment's own steps obey the Bellman equation of the optimal values."""
    env = gridworld.Gridworld()
    cells, actions = map(jnp.ravel, jnp.meshgrid(jnp.arange(25), jnp.arange(4)))

    def step(cell, action):
        state = gridworld.State(cell=cell, time=jnp.int32(0))
        return env.step(key, state, action, env.default_params)

    result = jax.jit(jax.vmap(step))(cells, actions)
    values = gridworld.optimal_values().ravel()
    q = result.reward + 0.9 * values[result.obs]
    np.testing.assert_allclose(q.reshape(4, 25).max(0), values, atol=1e-5)
    off = np.asarray(result.reward == -1).reshape(4, 5, 5)
    edges = np.ones((4, 5, 5), bool)
    edges[0, 1:], edges[1, :-1], edges[2, :, :-1], edges[3, :, 1:] = [False] * 4
    edges[:, 0, [1, 3]] = False
    np.testing.assert_array_equal(off, edges)


def test_gridworld_is_cut_by_its_limit_only():
    env, params = gridworld.Gridworld(), gridworld.Params(max_steps=3)
    state = gridworld.State(cell=jnp.int32(1), time=jnp.int32(0))
    steps = follow(env, state, [jnp.int32(a) for a in (0, 0, 3)], params)
    np.testing.assert_array_equal(steps.obs, [21, 16, 15])
    np.testing.assert_array_equal(steps.reward, [10, 0, 0])
    np.testing.assert_array_equal(steps.truncated, [False, False, True])
    assert not steps.terminated.any()


def test_gridworld_can_be_seen():
    env = gridworld.Gridworld()
    state = gridworld.State(cell=jnp.int32(7), time=jnp.int32(0))
    image = env.render(state, env.default_params)
    assert image.dtype == np.uint8 and image.shape == (200, 200, 3)
    agent = (image == np.array([25, 75, 230])).all(-1)
    assert agent[60, 100] and agent.sum() == 21**2
    assert (image[20, 60] == image[20, 140]).all()
    assert (image[180, 60] == image[100, 140]).all()
    assert not (image[180, 60] == image[20, 60]).all()


# Hidden velocities


def test_velocities_are_hidden(key):
    env = velocities.HiddenVelocities()
    cartpole, params = ppo.make("CartPole-v1")
    obs, state = env.reset(key, params)
    full, _ = cartpole.reset(key, params)
    np.testing.assert_array_equal(obs, full[np.array([0, 2])])
    steps = follow(env, state, [jnp.int32(1)] * 20, params)
    shown = np.stack([steps.state.x, steps.state.theta], 1)
    np.testing.assert_array_equal(steps.obs, shown)
    assert steps.terminated.any() and not steps.truncated.any()
    assert env.observation_space(params).shape == (2,)
    short = params.replace(max_steps_in_episode=2)
    assert follow(env, state, [jnp.int32(1)] * 2, short).truncated[-1]
