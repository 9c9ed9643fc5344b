"""TRPO's step: a natural gradient, as long as the KL allows. Functions of a pytree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

Objective = Callable[[Any], jax.Array]
Product = Callable[[Any], Any]


class TrustRegionStep(NamedTuple):
    """What a step did, scalars; where none was taken all but `grad_norm` are 0."""

    kl: jax.Array
    improvement: jax.Array
    step_fraction: jax.Array
    grad_norm: jax.Array


class Residual(NamedTuple):
    """Where the conjugate gradients are: x, r = b − Ax, the next direction and rᵀr."""

    solution: Any
    residual: Any
    direction: Any
    square: jax.Array


def inner(left: Any, right: Any) -> jax.Array:
    """Σ xᵢyᵢ over all leaves, in full precision on any device."""
    products = jax.tree.map(lambda x, y: (x * y).sum(), left, right)
    return jnp.stack(jax.tree.leaves(products)).sum()


def conjugate_gradient(product: Product, b: Any, num_iters: int) -> Any:
    """Solve A x = b for a symmetric positive definite A, known by its products only.

    x ← x + αp,  r ← r − αAp,  p ← r + (rᵀr / r₀ᵀr₀) p,  α = r₀ᵀr₀ / pᵀAp

    from x = 0 and p = r₀ = b (r₀ is r before its change). x stays as it is from where
    |r| ≤ 10ϵ|b|, ϵ the dtype's precision, or where pᵀAp is not a positive number; so
    a zero or non-finite b gives 0. What is left of r then is rounding, which a singular
    A would blow up. All iterations are always computed: vmapped, a loop that depends
    on the data ends with the slowest.

    Args:
      product: v -> A v, of `b`'s structure.
      b: pytree of floats.
      num_iters: static; exact after as many as A has distinct eigenvalues.

    Returns:
      x, like `b`.

    Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear
    systems", 1952.

    >>> import jax.numpy as jnp
    >>> conjugate_gradient(lambda v: 2 * v, jnp.array([2.0, 6.0]), 1)
    Array([1., 3.], dtype=float32)
    """
    square = inner(b, b)
    # Relative: a tolerance of a fixed size would stop at once for small rewards.
    tolerance = (10 * jnp.finfo(square.dtype).eps) ** 2 * square

    def improve(_: int, at: Residual) -> Residual:
        image = product(at.direction)
        curvature = inner(at.direction, image)
        # False for NaN as well.
        moves = (at.square > tolerance) & (curvature > 0)
        alpha = at.square / jnp.where(moves, curvature, 1)
        residual = jax.tree.map(lambda r, a: r - alpha * a, at.residual, image)
        square = inner(residual, residual)
        beta = square / jnp.where(moves, at.square, 1)
        after = Residual(
            solution=jax.tree.map(
                lambda x, p: x + alpha * p, at.solution, at.direction
            ),
            residual=residual,
            direction=jax.tree.map(lambda r, p: r + beta * p, residual, at.direction),
            square=square,
        )
        return jax.tree.map(lambda new, old: jnp.where(moves, new, old), after, at)

    zeros = jax.tree.map(jnp.zeros_like, b)
    start = Residual(solution=zeros, residual=b, direction=b, square=square)
    return jax.lax.fori_loop(0, num_iters, improve, start).solution


def fisher_product(kl: Objective, params: Any, damping: ArrayLike) -> Product:
    """The function v -> (F + λI) v, F = ∇²KL at `params`: a jvp of the gradient.

    Args:
      kl: params -> E[KL(old ‖ new)], least where `params` is the old policy. There
        its Hessian is the Fisher matrix of the policy.
      params: where to take the Hessian.
      damping: λ; may be traced.

    The gradient is linearised once, so that a product costs its linear half only.

    Source: Schulman et al., "Trust region policy optimization", 2015,
    arXiv:1502.05477, appendix C.1.
    """
    _, hessian_product = jax.linearize(jax.grad(kl), params)

    def product(vector: Any) -> Any:
        image = hessian_product(vector)
        return jax.tree.map(lambda f, v: f + damping * v, image, vector)

    return product


def step_length(curvature: jax.Array, max_kl: ArrayLike) -> jax.Array:
    """√(2δ / sᵀFs), where ½ (ηs)ᵀF(ηs) = δ; 0 where that is not a positive number."""
    length = jnp.sqrt(2 * max_kl / curvature)
    return jnp.where((curvature > 0) & jnp.isfinite(length), length, 0)


def natural_gradient_step(
    params: Any,
    surrogate: Objective,
    kl: Objective,
    *,
    max_kl: ArrayLike,
    num_iters: int,
    damping: ArrayLike,
    num_backtracks: int,
    backtrack: ArrayLike,
) -> tuple[Any, TrustRegionStep]:
    """TRPO's step: minimise L(θ) subject to KL(θ) ≤ δ, by a natural gradient.

    θ′ = θ − cᵏ η s,   s = (F + λI)⁻¹ ∇L,   η = √(2δ / sᵀ(F + λI)s)

    with the smallest k < `num_backtracks` for which L(θ′) < L(θ) and KL(θ′) ≤ δ. If
    there is none, or if anything on the way is not finite, θ is returned as it was.
    A parameter on which neither L nor KL depends (the critic's) keeps its bits.

    Args:
      params: θ, the old policy's.
      surrogate: params -> L, a loss to be *minimised*: −E[ρA] over all of the batch.
      kl: params -> E[KL(old ‖ new)], over the same states; 0 at `params`.
      max_kl: δ; may be traced, as may the other floats.
      num_iters: of the conjugate gradients, static.
      damping: λ, added to the Fisher matrix, in η as well: the step is never longer
        than the KL's quadratic model allows.
      num_backtracks: candidates of the line search, static, at least 1.
      backtrack: c in (0, 1).

    Returns:
      The new parameters, and what the step did.

    Source: Schulman et al., "Trust region policy optimization", 2015,
    arXiv:1502.05477, appendix C.
    """
    loss, grads = jax.value_and_grad(surrogate)(params)
    product = fisher_product(kl, params, damping)
    direction = conjugate_gradient(product, grads, num_iters)
    length = step_length(inner(direction, product(direction)), max_kl)

    def move(fraction: jax.Array) -> Any:
        size = fraction * length
        return jax.tree.map(lambda p, s: p - size * s, params, direction)

    def judge(fraction: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved = move(fraction)
        return loss - surrogate(moved), kl(moved)

    fractions = jnp.power(backtrack, jnp.arange(num_backtracks, dtype=length.dtype))
    improvement, divergence = jax.lax.map(judge, fractions)
    finite = jnp.isfinite(improvement) & jnp.isfinite(divergence)
    good = finite & (improvement > 0) & (divergence <= max_kl) & (length > 0)
    taken, first = good.any(), good.argmax()
    new_params = jax.tree.map(
        lambda new, old: jnp.where(taken, new, old), move(fractions[first]), params
    )
    return new_params, TrustRegionStep(
        kl=jnp.where(taken, divergence[first], 0),
        improvement=jnp.where(taken, improvement[first], 0),
        step_fraction=jnp.where(taken, fractions[first], 0),
        grad_norm=optax.tree.norm(grads),
    )
