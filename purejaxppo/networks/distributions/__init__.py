"""From an action space to a distribution over it, and how to sample that cheaply."""

from purejaxppo.networks.distributions.action_heads import make_action_head
from purejaxppo.networks.distributions.autoregressive import Autoregressive, Layers
from purejaxppo.networks.distributions.betas import (
    MARGIN,
    Beta,
    beta,
    draw_proposals,
    gamma_sample,
)
from purejaxppo.networks.distributions.categoricals import (
    Categorical,
    categorical,
    multi_binary,
    multi_discrete,
)
from purejaxppo.networks.distributions.entropies import most_entropy
from purejaxppo.networks.distributions.gaussians import (
    SOFTPLUS_FLOOR,
    diagonal_gaussian,
)
from purejaxppo.networks.distributions.heads import (
    INDEPENDENT,
    SIGMAS,
    ActionHead,
    Conditional,
    Sampler,
    Sigma,
)
from purejaxppo.networks.distributions.joint import Joint
from purejaxppo.networks.distributions.masks import MASKED, check_mask, fully_masked
from purejaxppo.networks.distributions.queries import (
    entropy_at,
    log_prob_parts,
    pre_squash_mean,
)
from purejaxppo.networks.distributions.squashed_gaussians import (
    TanhGaussian,
    log_tanh_slope,
    tanh_gaussian,
)
from purejaxppo.networks.distributions.temperature import temper

__all__ = [
    "INDEPENDENT",
    "MARGIN",
    "MASKED",
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
    "log_prob_parts",
    "log_tanh_slope",
    "make_action_head",
    "most_entropy",
    "multi_binary",
    "multi_discrete",
    "pre_squash_mean",
    "tanh_gaussian",
    "temper",
]
