"""Studies: many runs on many devices, and the directory that they leave."""

from purejaxppo.study.running import Status, Study
from purejaxppo.study.sharding import over_devices

__all__ = ["Status", "Study", "over_devices"]
