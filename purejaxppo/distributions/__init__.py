"""From an action space to a distribution over it, and how to sample that cheaply."""

from purejaxppo.distributions.autoregression import Autoregressive, Layers
from purejaxppo.distributions.betas import (
    MARGIN,
    Beta,
    beta,
    draw_proposals,
    gamma_sample,
)
from purejaxppo.distributions.categoricals import (
    Categorical,
    categorical,
    multi_binary,
    multi_discrete,
)
from purejaxppo.distributions.entropies import most_entropy
from purejaxppo.distributions.figures import (
    entropy_at,
    log_prob_parts,
    pre_squash_mean,
)
from purejaxppo.distributions.gaussians import SOFTPLUS_FLOOR, diagonal_gaussian
from purejaxppo.distributions.heads import (
    INDEPENDENT,
    POLICIES,
    SIGMAS,
    ActionHead,
    Conditional,
    Sampler,
    Sigma,
    keyed_sampler,
    own_sampler,
)
from purejaxppo.distributions.joints import Joint
from purejaxppo.distributions.making import make_action_head
from purejaxppo.distributions.masks import MASKED, check_mask, fully_masked
from purejaxppo.distributions.squashing import (
    TanhGaussian,
    log_tanh_slope,
    tanh_gaussian,
)
from purejaxppo.distributions.tempering import temper

__all__ = [
    "INDEPENDENT",
    "MARGIN",
    "MASKED",
    "POLICIES",
    "SIGMAS",
    "SOFTPLUS_FLOOR",
    "ActionHead",
    "Autoregressive",
    "Beta",
    "Categorical",
    "Conditional",
    "Joint",
    "Layers",
    "Sampler",
    "Sigma",
    "TanhGaussian",
    "beta",
    "categorical",
    "check_mask",
    "diagonal_gaussian",
    "draw_proposals",
    "entropy_at",
    "fully_masked",
    "gamma_sample",
    "keyed_sampler",
    "log_prob_parts",
    "log_tanh_slope",
    "make_action_head",
    "most_entropy",
    "multi_binary",
    "multi_discrete",
    "own_sampler",
    "pre_squash_mean",
    "tanh_gaussian",
    "temper",
]
