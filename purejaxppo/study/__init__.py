"""Studies: many runs on many devices, and the directory that they leave."""

from purejaxppo.study.devices.sharding import over_devices
from purejaxppo.study.evaluation import MODES, Played, evaluate_study, play_policies
from purejaxppo.study.execution.plans import Plan
from purejaxppo.study.execution.resources import Means
from purejaxppo.study.grids.grids import (
    LogUniform,
    Uniform,
    crossed,
    linear_range,
    log_range,
    product,
    sampled,
    zipped,
)
from purejaxppo.study.loading import Loaded, Policy, load, load_run
from purejaxppo.study.runner import Status
from purejaxppo.study.study import Study

__all__ = [
    "MODES",
    "Loaded",
    "LogUniform",
    "Means",
    "Plan",
    "Played",
    "Policy",
    "Status",
    "Study",
    "Uniform",
    "crossed",
    "evaluate_study",
    "linear_range",
    "load",
    "load_run",
    "log_range",
    "over_devices",
    "play_policies",
    "product",
    "sampled",
    "zipped",
]
