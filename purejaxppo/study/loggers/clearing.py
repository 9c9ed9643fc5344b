"""What loggers left in a study's directory, deleted with the study."""

from pathlib import Path

from purejaxppo.study.loggers.csv_logger import forget_csv
from purejaxppo.study.loggers.tensorboard_logger import forget_events
from purejaxppo.study.loggers.wandb_logger import forget_ids


def clear(directory: Path) -> None:
    """Delete what the loggers of an earlier study wrote, and nothing else.

    Runs that Weights & Biases keeps in `wandb/` stay, as they may not be sent yet; a
    new study does not go on with them.
    """
    forget_csv(directory)
    forget_events(directory)
    forget_ids(directory)
