"""What loggers left in a study's directory, deleted with the study."""

from pathlib import Path

from purejaxppo.loggers.csv_files import forget_csv
from purejaxppo.loggers.tensorboards import forget_events
from purejaxppo.loggers.wandb_runs import forget_ids


def clear(directory: Path) -> None:
    """Delete what the loggers of an earlier study wrote, and nothing else.

    Runs that Weights & Biases keeps in `wandb/` stay, as they may not be sent yet; a
    new study does not go on with them.
    """
    forget_csv(directory)
    forget_events(directory)
    forget_ids(directory)
