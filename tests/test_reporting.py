"""What stands beside a study's table."""

import numpy as np
import pytest

from purejaxppo.reporting import cautions, write_brief
from purejaxppo.study import store


def dataset(entropy, action_dims):
    entropy = np.asarray(entropy, np.float32)
    columns = {
        "episode_return": np.ones_like(entropy),
        "finite": np.ones(entropy.shape, bool),
        "entropy": entropy,
    }
    attributes = {"env": "Probe", "action_dims": action_dims}
    return store.make_dataset(columns, np.arange(len(entropy)), 8, attributes)


FALLS = [[1.0, 0.05] + [0.05] * 6, [1.0] * 8]


@pytest.mark.parametrize("action_dims, warned", [(0, True), (1, False)])
def test_an_early_collapse_of_the_entropy_is_told(tmp_path, action_dims, warned):
    results = dataset(FALLS, action_dims)
    lines = cautions(results)
    assert len(lines) == warned
    write_brief(tmp_path, results, 0.25)
    report = (tmp_path / "report.md").read_text()
    assert ("collapsed" in report) == warned
    if warned:
        assert "1 of 2 runs" in lines[0] and "ent_coef" in lines[0]


def test_a_late_one_is_not():
    assert cautions(dataset([[1.0] * 7 + [0.01]] * 2, 0)) == []
