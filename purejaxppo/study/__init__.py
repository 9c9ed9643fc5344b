"""Studies: many runs on many devices, and the directory that they leave."""

from purejaxppo.study.evaluating import MODES, Played, evaluate_study, play_policies
from purejaxppo.study.loading import Loaded, Policy, load
from purejaxppo.study.running import Status, Study
from purejaxppo.study.sharding import over_devices

__all__ = [
    "MODES",
    "Loaded",
    "Played",
    "Policy",
    "Status",
    "Study",
    "evaluate_study",
    "load",
    "over_devices",
    "play_policies",
]
