"""Distributions at a temperature."""

import dataclasses
from typing import Any

import distrax
import jax

from purejaxppo.networks.distributions.betas import Beta
from purejaxppo.networks.distributions.categoricals import Categorical
from purejaxppo.networks.distributions.squashed_gaussians import TanhGaussian


def temper(distribution: Any, temperature: float | jax.Array) -> Any:
    """`distribution` at temperature τ > 0: 1 leaves it alone, 0 would be its mode.

    Logits / τ; τ σ of a Gaussian, before any tanh (its density to the power of 1 / τ
    would be √τ σ); 1 + (α − 1) / τ and likewise β of a Beta (its density to the power
    of 1 / τ). Actions sampled at a temperature need its log-probabilities, too.

    Raises:
      ValueError: it is none of `make_action_head`'s.
    """
    if hasattr(distribution, "tempered"):
        return distribution.tempered(temperature)
    if isinstance(distribution, Categorical):
        return Categorical(logits=distribution.logits / temperature)
    if isinstance(distribution, TanhGaussian):
        return distribution._replace(base=temper(distribution.base, temperature))
    if isinstance(distribution, Beta):
        alpha, beta = (
            1 + (x - 1) / temperature for x in (distribution.alpha, distribution.beta)
        )
        return dataclasses.replace(distribution, alpha=alpha, beta=beta)
    if isinstance(distribution, distrax.Independent):
        base = _tempered_base(distribution.distribution, temperature)
        if base is not None:
            ndims = distribution.reinterpreted_batch_ndims
            return distrax.Independent(base, ndims)
    name = type(distribution).__name__
    raise ValueError(f"Expected a distribution of make_action_head's, got {name}.")


def _tempered_base(base: Any, temperature: float | jax.Array) -> Any:
    """What independent dimensions are at a temperature; `None` of an unknown kind."""
    if isinstance(base, Categorical):
        return temper(base, temperature)
    if isinstance(base, distrax.Normal):
        return distrax.Normal(base.loc, base.scale * temperature)
    return None
