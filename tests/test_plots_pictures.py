"""What is drawn is what was given: dots, whiskers, lines and labels, read back."""

import itertools

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from purejaxppo import reliability
from purejaxppo.reliability import Interval, across_time, plots
from purejaxppo.reliability.dispersion_and_risk import HIGHER_IS_BETTER
from purejaxppo.reliability.plots import style
from purejaxppo.reliability.plots.drawdown_panel import marked
from purejaxppo.reliability.plots.risk_panels import PLACES
from purejaxppo.reliability.plots.strip_plot import jitter

NAN = np.nan
STEPS = np.arange(1, 41) * 12_500.0


def runs(count, seed=0):
    """`[count, 40]` curves that rise and fall."""
    noise = np.random.default_rng(seed).normal(size=(count, 40))
    return np.cumsum(noise, axis=1) + np.arange(40) / (1 + seed)


def interval(estimate, low, high):
    return Interval(*(np.asarray(x, float) for x in (estimate, low, high)))


def lines(axes):
    return {str(line.get_label()): line for line in axes.get_lines()}


def xy(line):
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def texts(artist):
    """All words of a figure or of axes."""
    return [text.get_text() for text in artist.findobj(Text) if text.get_text()]


def title_of(axes):
    return axes.get_title(loc="left")


def row_labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


# Learning curves


def test_learning_curves_are_the_statistics_of_each_algorithm():
    given = {"PPO": (STEPS, runs(8)), "A2C": (STEPS[:20], runs(16, 1)[:, :20])}
    figure = plots.learning_curves(given, alpha=0.25, title="Task", ylabel="score")
    (axes,) = figure.axes
    drawn = lines(axes)
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    for i, (name, (steps, curves)) in enumerate(given.items()):
        iqm, cvar = reliability.iqm(curves), reliability.cvar(curves, 0.25)
        assert xy(drawn[f"IQM of {name}"]) == (steps.tolist(), iqm.tolist())
        assert xy(drawn[f"CVaR of {name}"]) == (steps.tolist(), cvar.tolist())
        assert drawn[f"CVaR of {name}"].is_dashed()
        colors = {drawn[f"{s} of {name}"].get_color() for s in ("IQM", "CVaR")}
        assert colors == {style.PALETTE[i]}
        vertices = np.asarray(bands[i].get_paths()[0].vertices)
        quartiles = reliability.iqr(curves)
        assert vertices[:, 1].min() == quartiles.q25.min()
        assert vertices[:, 1].max() == quartiles.q75.max()
    assert {"Task", "score", "PPO\n8 runs", "A2C\n16 runs"} <= set(texts(figure))
    assert "CVaR 25 %: mean of the worst 25 % of the runs" in texts(figure)


def test_names_stand_at_the_ends_of_their_lines_in_order():
    given = {name: (STEPS, np.full((4, 40), level)) for name, level in LEVELS.items()}
    figure = plots.learning_curves(given, alpha=0.25)
    figure.draw_without_rendering()
    notes = {t.get_text(): t for t in figure.axes[0].texts if isinstance(t, Annotation)}
    heights = [notes[f"{n}\n4 runs"].get_window_extent() for n in ("b", "c", "a")]
    for upper, lower in itertools.pairwise(heights):
        assert lower.y1 <= upper.y0
    assert [notes[f"{n}\n4 runs"].xy for n in LEVELS] == [
        (STEPS[-1], level) for level in LEVELS.values()
    ]


# Of two that end together the one given first is the lower.
LEVELS = {"a": 1.0, "b": 1.02, "c": 1.01}


def test_many_algorithms_have_a_panel_each_with_the_others_behind():
    given = {f"PPO-{i}": (STEPS, runs(4, i)) for i in range(5)}
    figure = plots.learning_curves(given, alpha=0.25)
    assert [title_of(axes) for axes in figure.axes] == list(given)
    for axes, (name, (_, curves)) in zip(figure.axes, given.items(), strict=True):
        drawn = lines(axes)
        assert xy(drawn[f"IQM of {name}"])[1] == reliability.iqm(curves).tolist()
        behind = [line for line in axes.get_lines() if line.get_label() == "_other"]
        others = [c for n, (_, c) in given.items() if n != name]
        for line, other in zip(behind, others, strict=True):
            assert xy(line)[1] == reliability.iqm(other).tolist()
            assert line.get_color() == style.RUNS
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert "4 runs" in texts(axes)


def test_runs_without_a_value_are_counted_and_small_tails_told():
    few = runs(3)
    few[1], few[2, 5] = NAN, np.inf
    figure = plots.learning_curves({"PPO": (STEPS, few)}, alpha=0.25)
    assert "PPO\n2 of 3 runs" in texts(figure)
    assert set(lines(figure.axes[0])) == {"IQM of PPO"}
    np.testing.assert_array_equal(
        xy(lines(figure.axes[0])["IQM of PPO"])[1][5], few[0, 5]
    )
    assert "CVaR 25 %: mean of the worst, from 4 runs on" in texts(figure)


# The table


def found_cells(seed, rollouts=True):
    generator = np.random.default_rng(seed)
    found = {}
    for cell, place in PLACES.items():
        framed = cell == "dispersion_across_time" or place.over == 2
        low = generator.normal(size=3 if framed else ())
        found[cell] = Interval(low + 1, low, low + 3)
    return found if rollouts else dict(list(found.items())[:5])


def is_dot(line):
    return not line.get_label().startswith("_")


@pytest.mark.parametrize("width", [plots.SINGLE, plots.DOUBLE])
def test_cells_are_dots_and_whiskers(width):
    found = {"PPO": found_cells(0), "A2C": found_cells(1, rollouts=False)}
    figure = plots.cells(found, title="Task", width=width)
    panels = {title_of(axes).replace("\n", " "): axes for axes in figure.axes}
    for cell, place in PLACES.items():
        axes = panels[place.title.replace("\n", " ")]
        drawn = lines(axes)
        better = "higher is better →" if HIGHER_IS_BETTER[cell] else "← lower is better"
        assert better in texts(axes)
        for row, (name, given) in enumerate(found.items()):
            if cell not in given:
                assert "not evaluated" in texts(axes)
                assert not any(name in label for label in drawn)
                continue
            values = np.atleast_2d(np.stack(given[cell], axis=-1))
            frames = ["beginning", "middle", "end"] if len(values) == 3 else [""]
            heights = row + (np.arange(len(values)) - len(values) // 2) * 0.27
            for frame, value, y in zip(frames, values, heights, strict=True):
                label = f"{name}, {frame}" if frame else name
                assert xy(drawn[label]) == ([value[0]], [pytest.approx(y)])
                ends, at = xy(drawn[f"_{label}"])
                assert ends == list(value[1:]) and at == pytest.approx([y, y])
                assert drawn[label].get_color() == style.PALETTE[row]
    assert "Task" in texts(figure)
    assert row_labels(panels["Dispersion across time"]) == ["PPO", "A2C"]


def test_the_table_of_real_cells_draws():
    generator = np.random.default_rng(0)
    rollouts, of = generator.normal(5, 1, (6, 9)), reliability.Definition(alpha=0.25)
    given = reliability.Runs(
        "PPO", "task", STEPS, runs(6), np.arange(6), rollouts=rollouts
    )
    found = reliability.cell_intervals(0, given, of, num_resamples=50)
    figure = plots.cells({"PPO": found})
    # All cells, with three time frames in three of them.
    dots = [line for axes in figure.axes for line in axes.get_lines() if is_dot(line)]
    assert len(dots) == 7 + 3 * 2
    assert not {"not evaluated", "no value", "no interval"} & set(texts(figure))


def test_what_has_no_value_says_so():
    found = {"PPO": {"long_term_risk": interval(NAN, NAN, NAN)}}
    assert "no value" in texts(plots.cells(found))
    found = {"PPO": {"long_term_risk": interval(1, NAN, NAN)}}
    figure = plots.cells(found)
    assert "no interval" in texts(figure)
    (axes,) = [a for a in figure.axes if title_of(a).startswith("Long")]
    assert list(lines(axes)) == ["PPO"]


def test_unknown_cells_and_shapes_are_refused():
    with pytest.raises(ValueError, match=r"cells of PPO to be among .*, got spread\."):
        plots.cells({"PPO": {"spread": interval(1, 0, 2)}})
    found = {"PPO": {"short_term_risk": interval([1, 2], [0, 1], [2, 3])}}
    expected = r"short_term_risk of PPO to be of shape \(\) or \(3,\), got \(2,\)"
    with pytest.raises(ValueError, match=expected):
        plots.cells(found)


# Aggregates, ranks


def test_intervals_have_a_panel_an_aggregate_and_a_row_an_algorithm():
    found = {
        "IQM": {"PPO": interval(3, 2, 5), "A2C": interval(1234, -2, 2000)},
        "optimality gap": {"A2C": interval(0.25, 0.125, 0.5)},
    }
    figure = plots.intervals(found, title="Final return")
    iqm, gap = figure.axes
    assert row_labels(iqm) == ["PPO", "A2C"] and gap.get_ylim() == iqm.get_ylim()
    drawn = lines(iqm)
    assert xy(drawn["PPO"]) == ([3], [0]) and xy(drawn["_PPO"]) == ([2, 5], [0, 0])
    assert xy(drawn["A2C"]) == ([1234], [1])
    assert {"IQM", "higher is better →", "3", "1.23k"} <= set(texts(iqm))
    assert {"← lower is better", "not evaluated", "0.25"} <= set(texts(gap))
    assert xy(lines(gap)["_A2C"]) == ([0.125, 0.5], [1, 1])
    (cost,) = plots.intervals(
        {"cost": {"PPO": interval(1, 0, 2)}}, lower_is_better=["Cost"]
    ).axes
    assert "← lower is better" in texts(cost)


def test_intervals_are_of_scalars():
    with pytest.raises(ValueError, match=r"IQM of PPO to be of shape \(\), got \(1,\)"):
        plots.intervals({"IQM": {"PPO": interval([1], [0], [2])}})


def test_the_best_rank_is_on_top():
    found = {
        "last": interval(NAN, NAN, NAN),
        "second": interval(2.25, 2, 3),
        "first": interval(1.5, 1, 1.75),
    }
    (axes,) = plots.ranking(found).axes
    assert row_labels(axes) == ["first", "second", "last"]
    bottom, top = axes.get_ylim()
    assert bottom > top
    drawn = lines(axes)
    assert xy(drawn["first"]) == ([1.5], [0])
    assert xy(drawn["_second"]) == ([2, 3], [1, 1])
    # A colour stays with an algorithm, whatever its rank.
    assert drawn["first"].get_color() == style.PALETTE[2]
    words = texts(axes)
    assert {"1.50", "1.00 to 1.75", "2.25", "no value"} <= set(words)
    assert axes.get_xlabel() == "mean rank (1 is best)"


# Profiles


def test_profiles_are_drawn_as_given_the_larger_on_top():
    thresholds = np.linspace(0, 1, 11)
    low = interval(1 - thresholds, 0.9 - thresholds, 1.1 - thresholds)
    high = interval(1 - thresholds**2, 0.9 - thresholds**2, 1.1 - thresholds**2)
    figure = plots.performance_profiles(
        {"low": (thresholds, low), "high": (thresholds, high)}, xlabel="score"
    )
    (axes,) = figure.axes
    drawn = lines(axes)
    assert xy(drawn["high"]) == (thresholds.tolist(), high.estimate.tolist())
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    vertices = np.asarray(bands[0].get_paths()[0].vertices)
    for threshold, below, above in zip(thresholds, low.low, low.high, strict=True):
        heights = vertices[vertices[:, 0] == threshold, 1]
        assert (heights.min(), heights.max()) == (below, above)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["high", "low"]
    assert axes.get_xlabel() == "score"


def test_profiles_of_many_algorithms_have_a_panel_each():
    thresholds = np.linspace(0, 1, 5)
    share = interval(*[1 - thresholds] * 3)
    given = {f"PPO-{i}": (thresholds * i, share) for i in range(6)}
    figure = plots.performance_profiles(given)
    assert [title_of(axes) for axes in figure.axes] == list(given)
    assert xy(lines(figure.axes[3])["PPO-3"])[0] == (thresholds * 3).tolist()


def test_profiles_of_other_shapes_are_refused():
    share = interval(*[np.ones(3)] * 3)
    with pytest.raises(ValueError, match=r"PPO to be \[thresholds\] = \(2,\), got \(3"):
        plots.performance_profiles({"PPO": (np.arange(2), share)})


# Drawdown


def test_drawdowns_mark_the_median_and_the_worst_run():
    # Each falls once, by so much, after a rise.
    falls = np.asarray([10.0, 50.0, 30.0, 20.0, 40.0])
    curves = np.tile(np.arange(40.0), (5, 1))
    curves[:, 20:] -= falls[:, None]
    figure = plots.drawdowns(STEPS, curves, alpha=0.25, title="PPO")
    (axes,) = figure.axes
    drawn, depth = lines(axes), across_time.drawdown(curves)
    assert xy(drawn["worst run"])[1] == depth[1].tolist()
    assert xy(drawn["median run"])[1] == depth[2].tolist()
    # Of five runs the deepest quarter by rank is two.
    tail = np.sort(depth, axis=0)[-2:].mean(axis=0)
    np.testing.assert_allclose(xy(drawn["CVaR"])[1], tail)
    (faint,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert len(faint.get_segments()) == 5
    np.testing.assert_array_equal(faint.get_segments()[3][:, 1], depth[3])
    bottom, top = axes.get_ylim()
    assert bottom > depth.max() > 0 > top
    risk = reliability.long_term_risk(curves, 0.25)
    said = {t.split("\n")[0]: t.split("\n")[-1] for t in texts(axes)}
    assert said["worst run (1)"] == f"its CVaR 25 %: {risk[1]:.3g}"
    assert said["median run (2)"] == f"its CVaR 25 %: {risk[2]:.3g}"


def test_runs_without_a_value_are_neither_median_nor_worst():
    curves = runs(4)
    curves[0] = NAN
    depth = across_time.long_term_risk(curves, 0.25)
    names = {name: run for name, run, _ in marked(curves, 0.25)}
    assert names["worst run"] == np.nanargmax(depth)
    assert names["median run"] == np.argsort(depth)[1]
    # With three points there is no tail of a tenth: the maximum orders.
    short = np.asarray([[1.0, 0.0, 0.5], [1.0, 0.9, 0.9], [2.0, 0.5, 1.0]])
    assert [run for _, run, _ in marked(short, 0.1)] == [0, 2]
    assert marked(curves[:1], 0.25) == []
    figure = plots.drawdowns(STEPS, curves, alpha=0.25)
    assert "each run (3 of 4 runs)" in texts(figure)


# Strip


def test_every_run_is_a_dot_and_the_worst_are_coloured():
    scores = np.asarray([5.0, 1.0, NAN, 3.0, 2.0, 4.0, 8.0, 7.0, 6.0, np.inf])
    figure = plots.strip({"PPO": scores, "A2C": np.full(2, NAN)}, alpha=0.25)
    (axes,) = figure.axes
    assert row_labels(axes) == [
        "PPO\n10 runs,\n1 without a score,\n1 infinite",
        "A2C\n2 runs,\n2 without a score",
    ]
    dots = {
        c.get_label(): np.asarray(c.get_offsets())
        for c in axes.collections
        if isinstance(c, PathCollection)
    }
    assert sorted(dots["tail"][:, 0]) == [1, 2]
    assert sorted(dots["runs"][:, 0]) == [3, 4, 5, 6, 7, 8]
    heights = np.concatenate([dots["tail"], dots["runs"]])[:, 1]
    assert np.abs(heights).max() < 0.5 and len(set(heights)) == 8
    drawn = lines(axes)
    assert set(xy(drawn["IQM"])[0]) == {4.5} and set(xy(drawn["CVaR"])[0]) == {1.5}
    boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
    assert (2.75, 6.25) in [(b.get_x(), b.get_x() + b.get_width()) for b in boxes]
    assert {"4.5", "1.5", "no score"} <= set(texts(axes))


def test_jitter_is_the_same_each_time_and_even():
    np.testing.assert_array_equal(jitter(100), jitter(100))
    for part in (jitter(100)[10:18], jitter(100)):
        assert np.abs(part).max() <= 1
        # No gap of more than three times the mean one.
        gaps = np.diff(np.sort(part))
        assert gaps.max() < 3 * 2 / len(part)


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"scores of PPO to be \[runs\], got shape"):
        plots.strip({"PPO": np.ones((2, 2))}, alpha=0.25)


# Improvement


def test_improvement_has_numbers_and_symmetric_colours():
    chance = np.asarray([[0.5, 0.9, NAN], [0.1, 0.5, 0.55], [0.3, 0.45, 0.5]])
    figure = plots.improvement(list("abc"), chance, chance - 0.1, chance + 0.1)
    (axes,) = figure.axes
    words = {t.get_text(): t for t in axes.texts}
    assert words["0.90"].get_position()[0] == 1.5
    assert words["0.90"].get_fontweight() == words["0.10"].get_fontweight() == "bold"
    assert words["0.55"].get_fontweight() == "normal"
    assert {"0.80–1.00", "n/a", "0.35–0.55"} <= set(words)
    assert "0.50" not in words
    (mesh,) = axes.collections
    shown = np.ma.asarray(mesh.get_array()).reshape(3, 3)
    assert shown.mask.sum() == 4
    assert shown[0, 1] == 0.9 and axes.yaxis_inverted()
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 1)


def test_improvement_of_other_shapes_is_refused():
    square = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match=r"Expected low to be \[n, n\] with n = 2"):
        plots.improvement(["a", "b"], square, square[0], square)


# All


@pytest.mark.parametrize("alpha", [0, 0.6, NAN])
def test_the_share_of_a_tail_is_checked(alpha):
    for draw in (
        lambda: plots.learning_curves({"PPO": (STEPS, runs(2))}, alpha=alpha),
        lambda: plots.drawdowns(STEPS, runs(2), alpha=alpha),
        lambda: plots.strip({"PPO": runs(2)[0]}, alpha=alpha),
    ):
        with pytest.raises(ValueError, match="alpha to be in"):
            draw()


def test_curves_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"env_steps of A2C to be \[time\] = \(40,\)"):
        plots.learning_curves({"A2C": (STEPS[1:], runs(2))}, alpha=0.25)
    with pytest.raises(ValueError, match=r"curves of A2C to be \[runs, time\]"):
        plots.learning_curves({"A2C": (STEPS, runs(2)[0])}, alpha=0.25)


def test_figures_have_the_width_of_a_column():
    for width in (plots.SINGLE, plots.DOUBLE):
        figure = plots.ranking({"PPO": interval(1, 1, 1)}, width=width)
        assert isinstance(figure, Figure) and figure.get_figwidth() == width
