"""TRPO's step by linear algebra, by brute force, and by what it must never do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.algorithm.learning.natural_gradient import (
    conjugate_gradient,
    fisher_product,
    natural_gradient_step,
    step_length,
)

OPTIMIZED = True  # wrong answers of a batched solver were seen in optimised programs

SEEDS = 16
SHAPES = {"bias": (3,), "kernel": (3, 2), "log_std": ()}
SIZE = 10
USUAL = {
    "max_kl": 0.01,
    "num_iters": 10,
    "damping": 0.1,
    "num_backtracks": 10,
    "backtrack": 0.8,
}


@pytest.fixture(autouse=True)
def strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield


def close(value, expected, rtol=1e-5, atol=0.0):
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol)


def same_bits(left, right):
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def split(vector):
    """`[10]` as a pytree of three leaves, in the order of `join`."""
    return {
        "bias": vector[:3],
        "kernel": vector[3:9].reshape(3, 2),
        "log_std": vector[9],
    }


def join(tree):
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


def system(seed):
    """A random symmetric positive definite A `[10, 10]` and b `[10]`."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, SIZE))
    return (
        np.float32(root @ root.T / SIZE + 0.5 * np.eye(SIZE)),
        np.float32(rng.normal(size=SIZE)),
    )


def solve(matrix, b, num_iters=2 * SIZE):
    def product(tree):
        image = jnp.matmul(matrix, join(tree), precision="highest")
        return split(image)

    return join(conjugate_gradient(product, split(b), num_iters))


def systems():
    return (np.stack(x) for x in zip(*map(system, range(SEEDS)), strict=True))


# Conjugate gradients


@pytest.mark.parametrize("seed", range(4))
def test_conjugate_gradient_against_a_direct_solver(seed):
    matrix, b = system(seed)
    close(jax.jit(solve)(matrix, b), np.linalg.solve(matrix, b), 1e-4, 1e-5)


def test_conjugate_gradient_vmapped_is_single():
    matrices, b = systems()
    single = np.stack([jax.jit(solve)(m, x) for m, x in zip(matrices, b, strict=True)])
    batched = jax.jit(jax.vmap(solve))(matrices, b)
    close(batched, np.linalg.solve(matrices, b[..., None])[..., 0], 1e-4, 1e-5)
    close(batched, single, 1e-4, 1e-5)


def test_conjugate_gradient_vmapped_inside_a_training_loop():
    matrices, b = systems()

    def iterate(x, _):
        x = jax.vmap(solve)(matrices, x)
        return x / jnp.abs(x).max(1, keepdims=True), x

    _, solved = jax.jit(lambda b: jax.lax.scan(iterate, b, None, length=4))(b)
    x = np.asarray(b, np.float64)
    for solution in np.asarray(solved):
        expected = np.linalg.solve(np.asarray(matrices, np.float64), x[..., None])[
            ..., 0
        ]
        close(solution, expected, 1e-3, 1e-4)
        x = np.asarray(solution / np.abs(solution).max(1, keepdims=True), np.float64)


def test_conjugate_gradient_after_k_steps_is_the_best_of_its_krylov_space():
    matrix, b = (np.float64(x) for x in system(0))
    jitted = jax.jit(solve, static_argnums=2)
    for k in range(1, 5):
        space = np.stack([np.linalg.matrix_power(matrix, i) @ b for i in range(k)], 1)
        best = space @ np.linalg.solve(space.T @ matrix @ space, space.T @ b)
        close(jitted(np.float32(matrix), np.float32(b), k), best, 1e-4, 1e-5)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_conjugate_gradient_has_no_scale(scale):
    # baselines stop where rᵀr < 1e-10: at once, here
    matrix, b = system(0)
    close(solve(matrix, b * np.float32(scale)) / scale, solve(matrix, b), 1e-4, 1e-6)


def test_conjugate_gradient_stays_once_it_has_converged():
    matrix, b = system(0)
    known = solve(matrix, b, 2 * SIZE)
    same_bits(solve(matrix, b, 1000), known)
    same_bits(solve(np.eye(SIZE, dtype=np.float32), b, 50), b)


@pytest.mark.parametrize("seed", range(4))
def test_conjugate_gradient_of_a_singular_system_has_no_noise_of_its_null_space(seed):
    # the biases of a softmax have such a direction; going on errs by a factor of 10
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    matrix = (axes * np.append(rng.uniform(0.3, 2, 7), np.zeros(3))) @ axes.T
    b = matrix @ rng.normal(size=SIZE)
    x = solve(np.float32(matrix), np.float32(b), 200)
    close(x, np.linalg.pinv(matrix) @ b, 1e-4, 1e-5)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_conjugate_gradient_of_a_zero_or_non_finite_b_is_0(bad):
    matrix, b = system(0)
    b = jnp.zeros(SIZE) if bad == 0 else jnp.asarray(b).at[0].set(bad)
    same_bits(jax.jit(solve)(matrix, b), np.zeros(SIZE, np.float32))


@pytest.mark.parametrize("matrix", [0.0, -1.0, np.nan, np.inf])
def test_conjugate_gradient_of_no_positive_definite_matrix_stays_finite(matrix):
    b = jnp.ones(3)
    x = conjugate_gradient(lambda v: jnp.float32(matrix) * v, b, 5)
    same_bits(x, jnp.zeros(3))


# The Fisher matrix


def categorical(params, obs):
    return jax.nn.log_softmax(obs @ params["kernel"] + params["bias"][None])


def categorical_kl(old, obs, params):
    log_prob, old = categorical(params, obs), categorical(old, obs)
    return (jnp.exp(old) * (old - log_prob)).sum(-1).mean()


def policy(seed, scale=1.0):
    """A linear softmax policy of 4 features and 3 actions, and 32 observations."""
    rng = np.random.default_rng(seed)
    params = {
        "bias": scale * np.float32(rng.normal(size=3)),
        "kernel": scale * np.float32(rng.normal(size=(4, 3))),
    }
    return jax.tree.map(jnp.float32, params), jnp.float32(rng.normal(size=(32, 4)))


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_fisher_product_is_the_softmax_policy_s_fisher_matrix(damping):
    params, obs = policy(0)
    v, _ = policy(1)
    kl = functools.partial(categorical_kl, params, obs)
    product = jax.jit(lambda v: fisher_product(kl, params, damping)(v))(v)
    # F = E[x xᵀ ⊗ (diag π − π πᵀ)], with x = 1 for the bias
    x = np.concatenate([np.ones((32, 1)), obs], 1)
    p = np.exp(np.float64(categorical(params, obs)))
    inner = np.einsum("bi,ij->bij", p, np.eye(3)) - np.einsum("bi,bj->bij", p, p)
    fisher = np.einsum("bk,bl,bij->kilj", x, x, inner) / 32
    vector = np.concatenate([v["bias"][None], v["kernel"]])
    expected = np.einsum("kilj,lj->ki", fisher, vector) + damping * vector
    close(product["bias"], expected[0], 1e-4, 1e-6)
    close(product["kernel"], expected[1:], 1e-4, 1e-6)


def test_fisher_product_of_a_gaussian_by_hand():
    # mean m and log σ: F = diag(1/σ², 2)
    old = {"mean": jnp.float32(0.3), "log_std": jnp.log(jnp.float32(0.5))}

    def kl(new):
        variance = jnp.exp(2 * new["log_std"])
        square = jnp.exp(2 * old["log_std"]) + (old["mean"] - new["mean"]) ** 2
        return new["log_std"] - old["log_std"] + square / (2 * variance) - 0.5

    product = fisher_product(kl, old, 0.0)
    ones = jax.tree.map(jnp.ones_like, old)
    image = product(ones)
    close(image["mean"], 4.0)
    close(image["log_std"], 2.0)


# The step


def quadratic(seed, damping):
    """min gᵀx subject to ½ xᵀFx ≤ δ about x₀, and its solution in numpy."""
    matrix, grad = system(seed)
    start = np.float32(np.random.default_rng(100 + seed).normal(size=SIZE))

    def kl(params):
        moved = join(params) - start
        return 0.5 * (moved * (matrix @ moved)).sum()

    def surrogate(params):
        return (grad * join(params)).sum()

    damped = np.float64(matrix) + damping * np.eye(SIZE)
    direction = np.linalg.solve(damped, np.float64(grad))
    length = np.sqrt(2 * 0.01 / (direction @ damped @ direction))
    return split(jnp.asarray(start)), surrogate, kl, start - length * direction


@pytest.mark.parametrize("seed", range(4))
def test_a_quadratic_problem_is_solved_exactly(seed):
    params, surrogate, kl, expected = quadratic(seed, 1e-3)
    options = {"num_iters": 2 * SIZE, "damping": 1e-3}
    new, step = stepped(params, surrogate, kl, **options)
    close(join(new) - join(params), expected - join(params), 1e-3, 1e-5)
    # 1e-3 of damping against eigenvalues from 0.5: the KL is all but used up
    assert 0.997 * 0.01 < step.kl < 0.01
    assert step.step_fraction == 1
    close(step.improvement, surrogate(params) - surrogate(new), 1e-3)
    close(step.grad_norm, np.linalg.norm(system(seed)[1]))


def test_it_improves_more_than_the_plain_gradient_at_the_same_kl():
    params, surrogate, kl, _ = quadratic(0, 1e-3)
    _, step = stepped(params, surrogate, kl, num_iters=2 * SIZE, damping=1e-3)
    # one iteration gives a multiple of the gradient
    _, plain = stepped(params, surrogate, kl, num_iters=1, damping=1e-3)
    assert plain.kl > 0.99 * 0.01 and step.improvement > 1.05 * plain.improvement


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_step_does_not_depend_on_the_scale_of_the_loss(scale):
    params, surrogate, kl, _ = quadratic(0, 1e-3)
    new, step = stepped(params, surrogate, kl)
    scaled, big = stepped(params, lambda p: scale * surrogate(p), kl)
    close(join(scaled), join(new), 1e-4, 1e-6)
    close(big.improvement, scale * step.improvement, 1e-3)


def stepped(params, surrogate, kl, **options):
    options = {**USUAL, **options}
    return jax.jit(lambda x: natural_gradient_step(x, surrogate, kl, **options))(params)


def inside(x):
    """A KL a little below its quadratic model, so that a full step is allowed."""
    return 0.5 * x**2 - 0.01 * x**4


def scalar_problem(surrogate, kl, **options):
    """A step from 0 of one parameter with F = 1 and ∇L = −1: x′ = cᵏ √(2δ)."""
    options = {"damping": 0.0, "backtrack": 0.5, **options}
    return stepped(jnp.float32(0), surrogate, kl, **options)


def by_hand(surrogate, kl, max_kl, num_backtracks=10):
    """The line search as a loop: its fraction, or 0."""
    for k in range(num_backtracks):
        x = 0.5**k * np.sqrt(2 * max_kl)
        if surrogate(x) < surrogate(0) and kl(x) <= max_kl:
            return 0.5**k
    return 0


@pytest.mark.parametrize(
    "name, surrogate, kl, fraction",
    [
        # √(2δ) = 1.2: KL .72 + 20·2.0736 > δ, at .3 .045 + .162
        ("KL", lambda x: -x, lambda x: 0.5 * x**2 + 20 * x**4, 0.25),
        # L(1.2) = −1.2 + 1.44·3 > 0, L(.6) = −.6 + 1.08 > 0, L(.3) = −.03
        ("loss", lambda x: -x + 3 * x**2, inside, 0.25),
        # KL allows .6, the loss .15 only
        ("both", lambda x: -x + 5 * x**2, lambda x: 0.5 * x**2 + x**4, 0.125),
        ("none", lambda x: -x, inside, 1),
    ],
)
def test_a_step_that_is_too_long_is_shortened(name, surrogate, kl, fraction):
    assert by_hand(surrogate, kl, 0.72) == fraction
    x, step = scalar_problem(surrogate, kl, max_kl=0.72)
    close(step.step_fraction, fraction)
    close(x, fraction * 1.2, 1e-4)
    close(step.kl, kl(fraction * 1.2), 1e-3)
    close(step.improvement, -surrogate(fraction * 1.2), 1e-3, 1e-5)


def test_the_first_acceptable_step_is_taken_not_the_best():
    def surrogate(x):
        return -x + 0.8 * x**2  # best at .625; L(1.2) = −.048 < 0 suffices

    _, step = scalar_problem(surrogate, inside, max_kl=0.72)
    assert step.step_fraction == 1


def test_the_candidates_are_num_backtracks():
    def kl(x):
        return 0.5 * x**2 + 20 * x**4  # the third candidate is the first allowed

    x, step = scalar_problem(lambda x: -x, kl, max_kl=0.72, num_backtracks=2)
    assert x == 0 and step.step_fraction == 0
    x, step = scalar_problem(lambda x: -x, kl, max_kl=0.72, num_backtracks=3)
    assert x > 0 and step.step_fraction == 0.25


def nothing_but_the_norm(step):
    assert step.kl == step.improvement == step.step_fraction == 0


@pytest.mark.parametrize(
    "surrogate",
    [
        lambda x: jnp.where(x == 0, -x, 1.0),  # a gradient that lies
        lambda x: 0 * x,  # no gradient
        lambda x: jnp.where(x == 0, -x, 0.0),  # no gain
    ],
)
def test_unchanged_when_no_step_improves(surrogate):
    x, step = scalar_problem(surrogate, inside)
    same_bits(x, jnp.float32(0))
    nothing_but_the_norm(step)


def test_a_step_of_no_length_is_none_however_the_loss_is_rounded():
    @jax.custom_jvp
    def surrogate(x):
        return -x

    @surrogate.defjvp
    def _(primals, tangents):  # larger by a rounding when it is differentiated
        return 1e-7 - primals[0], -tangents[0]

    _, step = scalar_problem(surrogate, inside, max_kl=0.0)
    nothing_but_the_norm(step)


def test_unchanged_when_no_step_is_allowed():
    x, step = scalar_problem(
        lambda x: -x, lambda x: 0.5 * x**2 + jnp.where(x == 0, 0.0, 1.0)
    )
    same_bits(x, jnp.float32(0))
    nothing_but_the_norm(step)
    assert step.grad_norm == 1


def poison(x):
    return jnp.where(x == 0, 1.0, jnp.nan)


BAD = {
    "gradient NaN": (lambda x: -x * jnp.nan, inside, {}),
    "gradient inf": (lambda x: -x * jnp.inf, inside, {}),
    "loss NaN elsewhere": (lambda x: -x * poison(x), inside, {}),
    "loss −inf": (lambda x: jnp.where(x == 0, -x, -jnp.inf), inside, {}),
    "KL NaN": (lambda x: -x, lambda x: jnp.nan * x**2, {}),
    "KL inf": (lambda x: -x, lambda x: jnp.inf * x**2, {}),
    "KL NaN elsewhere": (lambda x: -x, lambda x: inside(x) * poison(x), {}),
    "KL −inf elsewhere": (
        lambda x: -x,
        lambda x: inside(x) + jnp.where(x == 0, 0.0, -jnp.inf),
        {},
    ),
    "KL flat": (lambda x: -x, lambda x: 0 * x, {}),
    "KL concave": (lambda x: -x, lambda x: -inside(x), {}),
    "max_kl NaN": (lambda x: -x, inside, {"max_kl": np.nan}),
    "max_kl inf": (
        lambda x: -jnp.tanh(x),
        lambda x: 0.5 * jnp.tanh(x) ** 2,
        {"max_kl": np.inf},
    ),
    "max_kl 0": (lambda x: -x, inside, {"max_kl": 0.0}),
    "max_kl < 0": (lambda x: -x, inside, {"max_kl": -0.01}),
    "damping NaN": (lambda x: -x, inside, {"damping": np.nan}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_finite_or_not_positive_changes_nothing(name):
    surrogate, kl, options = BAD[name]
    x, step = scalar_problem(surrogate, kl, **options)
    same_bits(x, jnp.float32(0))
    nothing_but_the_norm(step)


def test_nan_in_one_of_a_batch_leaves_the_others_alone():
    def step(slope):
        return scalar_problem(lambda x: -slope * x, inside)[0]

    x = jax.jit(jax.vmap(step))(jnp.array([1.0, jnp.nan, 2.0, 0.0]))
    close(x, [np.sqrt(0.02), 0, np.sqrt(0.02), 0], 1e-4)


# Policies


def policy_problem(seed, scale=1.0):
    """A softmax policy with a critic among its parameters, and random advantages."""
    params, obs = policy(seed, scale)
    rng = np.random.default_rng(1000 + seed)
    action, advantage = rng.integers(3, size=32), np.float32(rng.normal(size=32))
    critic = jnp.array([1.5, -0.0, 3e38, -2e-38], jnp.float32)
    params = {**params, "critic": critic}
    return params, obs, jnp.asarray(action), jnp.asarray(advantage)


def policy_step(params, obs, action, advantage, **options):
    def log_prob(params):
        return categorical(params, obs)[jnp.arange(32), action]

    old = log_prob(params)
    return natural_gradient_step(
        params,
        lambda new: -(jnp.exp(log_prob(new) - old) * advantage).mean(),
        lambda new: categorical_kl(params, obs, new),
        **{**USUAL, **options},
    )


def problems(number, scale=1.0):
    each = [policy_problem(seed, scale) for seed in range(number)]
    return jax.tree.map(lambda *x: jnp.stack(x), *each)


def softmax64(params, obs):
    logits = np.asarray(obs, np.float64) @ np.asarray(params["kernel"], np.float64)
    logits += np.asarray(params["bias"], np.float64)[:, None]
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_no_step_breaks_the_constraint():
    batch = problems(256, 2.0)
    limits = jnp.geomspace(1e-3, 2.0, 256)
    new, step = jax.jit(
        jax.vmap(lambda limit, *x: policy_step(*x, max_kl=limit, damping=1e-3))
    )(limits, *batch)
    old, obs = softmax64(batch[0], batch[1]), batch[1]
    kl = (np.exp(old) * (old - softmax64(new, obs))).sum(-1).mean(-1)
    assert (step.kl <= limits).all()
    close(step.kl, kl, 1e-3, 1e-6)
    moved = np.asarray(step.step_fraction) > 0
    # The problems are hard enough to tell: full steps, shorter ones, and the rest.
    assert 30 < (np.asarray(step.step_fraction) == 1).sum() < 240
    assert (moved & (step.step_fraction < 1)).sum() > 10
    assert (np.asarray(step.improvement) > 0).tolist() == moved.tolist()
    stayed = jax.tree.map(lambda x: x[~moved], (new, batch[0]))
    same_bits(*stayed)


def test_what_neither_the_loss_nor_the_kl_knows_keeps_its_bits():
    problem = policy_problem(0)
    new, step = jax.jit(policy_step)(*problem)
    assert step.step_fraction > 0
    same_bits(new["critic"], problem[0]["critic"])
    assert (new["kernel"] != problem[0]["kernel"]).all()


def test_a_batch_of_steps_is_the_single_steps():
    batch = problems(SEEDS)
    batched = jax.jit(jax.vmap(policy_step))(*batch)
    alone = jax.jit(policy_step)
    for seed in range(SEEDS):
        new, step = alone(*policy_problem(seed))
        others, others_step = jax.tree.map(lambda x, i=seed: x[i], batched)
        assert step.step_fraction == others_step.step_fraction > 0
        for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(others), strict=True):
            close(x, y, 1e-4, 1e-5)
        close(step.kl, others_step.kl, 1e-3, 1e-7)
        close(step.improvement, others_step.improvement, 1e-3, 1e-7)


def test_the_floats_are_traced():
    problem, traces = policy_problem(0), []

    @jax.jit
    def step(max_kl, damping, backtrack):
        traces.append(None)
        options = {"max_kl": max_kl, "damping": damping, "backtrack": backtrack}
        return policy_step(*problem, **options)

    for numbers in [(0.01, 0.1, 0.8), (0.05, 0.1, 0.8), (0.01, 10.0, 0.5)]:
        names = ("max_kl", "damping", "backtrack")
        fixed = functools.partial(policy_step, **dict(zip(names, numbers, strict=True)))
        expected, expected_step = jax.jit(fixed)(*problem)
        new, traced = step(*numbers)
        close(new["kernel"], expected["kernel"], 1e-4, 1e-5)
        close(traced.kl, expected_step.kl, 1e-3, 1e-7)
    assert len(traces) == 1


def test_the_step_length_by_hand():
    close(step_length(jnp.float32(8.0), 0.01), 0.05)
    assert step_length(jnp.float32(0.0), 0.01) == 0
    assert step_length(jnp.float32(-8.0), -0.01) == 0
    assert step_length(jnp.float32(jnp.nan), 0.01) == 0


def bandit_step(params, key):
    """64 pulls of a bandit whose best arm is the one of the observed context."""
    context = jax.random.normal(key, (64, 4))
    key = jax.random.fold_in(key, 1)
    log_prob = categorical(params, context)
    action = jax.random.categorical(key, log_prob)
    reward = (action == context[:, :3].argmax(-1)).astype(jnp.float32)
    advantage = reward - reward.mean()

    def taken(params):
        return categorical(params, context)[jnp.arange(64), action]

    old = taken(params)
    new, step = natural_gradient_step(
        params,
        lambda new: -(jnp.exp(taken(new) - old) * advantage).mean(),
        lambda new: categorical_kl(params, context, new),
        **USUAL,
    )
    return new, (step, reward.mean(), categorical_kl(params, context, new))


def test_a_softmax_bandit_is_learnt_within_the_trust_region(key):
    params = {"bias": jnp.zeros(3), "kernel": jnp.zeros((4, 3))}

    def learn(key):
        return jax.lax.scan(bandit_step, params, jax.random.split(key, 150))[1]

    step, reward, kl = jax.jit(jax.vmap(learn))(jax.random.split(key, 4))
    assert (step.kl <= 0.01).all() and (kl <= 0.01 * (1 + 1e-3)).all()
    assert (step.step_fraction > 0).mean() > 0.95
    assert (reward[:, :5].mean(1) < 0.5).all()  # chance is a third
    assert (reward[:, -10:].mean(1) > 0.85).all()
