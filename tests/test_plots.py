"""Figures: what is drawn equals the statistics, and odd data draws too."""

import subprocess
import sys

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from purejaxppo import reliability
from purejaxppo.reliability import plots

NAN = np.nan
STEPS = np.arange(1, 41) * 12_500.0


def learning_curves(runs):
    """`[runs, 40]` curves that rise towards 500, a quarter of them to 200."""
    noise = np.random.default_rng(0).normal(scale=10, size=(runs, 40))
    top = np.where(np.arange(runs) % 4 == 3, 200, 500)[:, None]
    return np.clip(top * (1 - np.exp(-STEPS / 1e5)) + noise, 9, 500)


def lines(figure):
    """Line of each label without what follows its first word."""
    (axes,) = figure.axes
    return {line.get_label().split()[0]: line for line in axes.get_lines()}


def collections(figure, kind):
    return [c for c in figure.axes[0].collections if isinstance(c, kind)]


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def coloured_share(path):
    pixels = matplotlib.image.imread(path)[..., :3]
    assert pixels.shape == (630, 960, 3)
    return np.mean(np.ptp(pixels, axis=-1) > 0.1)


def test_lines_are_the_statistics(tmp_path):
    curves = learning_curves(64)
    figure = plots.learning_curve(STEPS, curves, title="PPO on CartPole-v1")
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["IQM"].get_xdata(), STEPS)
    np.testing.assert_array_equal(drawn["IQM"].get_ydata(), reliability.iqm(curves))
    np.testing.assert_array_equal(
        drawn["CVaR"].get_ydata(), reliability.cvar(curves, 0.25)
    )
    (band,) = collections(figure, PolyCollection)
    quartiles = reliability.iqr(curves)
    vertices = np.asarray(band.get_paths()[0].vertices)
    assert vertices[:, 1].min() == quartiles.q25.min()
    assert vertices[:, 1].max() == quartiles.q75.max()
    (seeds,) = collections(figure, LineCollection)
    assert len(seeds.get_segments()) == 64
    np.testing.assert_array_equal(seeds.get_segments()[5][:, 1], curves[5])
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "PPO on CartPole-v1"
    assert axes.get_xlabel() == "environment steps"
    assert axes.get_ylabel() == "episode return"
    plots.save(figure, tmp_path / "curve.png")
    assert coloured_share(tmp_path / "curve.png") > 0.02


def test_legend_lies_inside_the_figure_and_outside_the_axes():
    curves = learning_curves(64)
    curves[0] = NAN
    figure = plots.learning_curve(STEPS, curves, alpha=0.125)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.axes[0].get_window_extent().y0
    assert legend_texts(figure) == [
        "IQM of 63 runs",
        "IQR (middle half)",
        "CVaR 12.5 % (mean of the worst 8 of 63 runs)",
        "single runs (1 of 64 without a value)",
    ]


@pytest.mark.parametrize(
    ("last", "expected"),
    [(500_000, {"100k", "500k"}), (2e6, {"500k", "1M", "1.5M"}), (1e9, {"1B"})],
)
def test_steps_are_readable(last, expected):
    steps = np.linspace(0, last, 40)
    figure = plots.learning_curve(steps, learning_curves(4))
    figure.draw_without_rendering()
    labels = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    assert expected <= labels


def test_one_run_is_drawn_as_itself(tmp_path):
    curves = learning_curves(1)
    figure = plots.learning_curve(STEPS, curves)
    assert legend_texts(figure) == ["single run"]
    np.testing.assert_array_equal(lines(figure)["single"].get_ydata(), curves[0])
    assert not collections(figure, (PolyCollection, LineCollection))
    plots.save(figure, tmp_path / "one.png")
    assert coloured_share(tmp_path / "one.png") > 0.002


def test_few_runs_have_neither_band_nor_tail():
    figure = plots.learning_curve(STEPS, learning_curves(3))
    assert legend_texts(figure) == ["IQM of 3 runs", "single runs"]
    assert not collections(figure, PolyCollection)
    # Four runs have a band; a tail of 5 % takes twenty.
    figure = plots.learning_curve(STEPS, learning_curves(4), alpha=0.05)
    assert legend_texts(figure) == [
        "IQM of 4 runs",
        "IQR (middle half)",
        "single runs",
    ]


def test_statistics_are_over_the_runs_with_a_value(tmp_path):
    curves = learning_curves(8)
    curves[:, :5] = NAN
    curves[:6, 5:10] = NAN
    curves[7] = NAN
    curves[2, 20] = NAN
    figure = plots.learning_curve(STEPS, curves)
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["IQM"].get_xdata(), STEPS[5:])
    np.testing.assert_array_equal(
        np.asarray(drawn["IQM"].get_ydata())[:5], curves[6, 5:10]
    )
    np.testing.assert_array_equal(drawn["IQM"].get_ydata(), reliability.iqm(curves)[5:])
    np.testing.assert_array_equal(drawn["CVaR"].get_xdata(), STEPS[10:])
    assert "single runs (1 of 8 without a value)" in legend_texts(figure)
    assert "IQM of 1 to 7 runs" in legend_texts(figure)
    assert "CVaR 25 % (mean of the worst 25 %)" in legend_texts(figure)
    # From 10 to 20 all seven runs have a value, before there is no tail.
    figure = plots.learning_curve(STEPS[:20], curves[:, :20])
    assert "CVaR 25 % (mean of the worst 2 of 7 runs)" in legend_texts(figure)
    plots.save(figure, tmp_path / "gaps.png")
    assert coloured_share(tmp_path / "gaps.png") > 0.01


@pytest.mark.parametrize("runs", [1, 5])
def test_nothing_observed_says_so(tmp_path, runs):
    figure = plots.learning_curve(STEPS, np.full((runs, 40), NAN))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no data"]
    plots.save(figure, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000


@pytest.mark.parametrize("curves", [[[7.0]], [[7.0]] * 6, [[5.0], [NAN]]])
def test_one_time_is_a_point(tmp_path, curves):
    figure = plots.learning_curve([1000], curves)
    (line, *_) = figure.axes[0].get_lines()
    assert line.get_marker() == "o"
    plots.save(figure, tmp_path / "point.png")
    assert coloured_share(tmp_path / "point.png") > 0.0001


def test_a_constant_curve_and_jax_arrays(tmp_path):
    figure = plots.learning_curve(jnp.asarray(STEPS), jnp.full((6, 40), 500))
    np.testing.assert_array_equal(lines(figure)["IQM"].get_ydata(), np.full(40, 500))
    plots.save(figure, tmp_path / "constant.pdf")
    assert (tmp_path / "constant.pdf").read_bytes().startswith(b"%PDF")


def test_arguments_out_of_range():
    with pytest.raises(
        ValueError, match=r"Expected env_steps to be \[time\] = \(40,\)"
    ):
        plots.learning_curve(STEPS[:-1], learning_curves(2))
    with pytest.raises(ValueError, match=r"Expected curves to be \[runs, time\]"):
        plots.learning_curve(STEPS, learning_curves(1)[0])
    with pytest.raises(ValueError, match="alpha"):
        plots.learning_curve(STEPS, learning_curves(2), alpha=5)


def test_no_pyplot():
    code = (
        "import sys, purejaxppo.reliability.plots\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
