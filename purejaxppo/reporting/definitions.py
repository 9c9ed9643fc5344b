"""What each number is, exactly, in words: it stands beside the number."""

from purejaxppo.reliability.aggregates import QUARTILE_RUNS
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.cells import Definition
from purejaxppo.reliability.comparing import Comparison
from purejaxppo.reliability.filters import ORDER
from purejaxppo.reporting.words import cell_title, listed, number, percent

MEASURES = {
    "iqr": "interquartile range",
    "mad": "median absolute deviation",
    "std": "standard deviation",
}

CORRECTIONS = {
    "bh": "corrected after Benjamini and Hochberg 1995 for the share of false findings",
    "by": "corrected after Benjamini and Yekutieli 2001 for the share of false findings",
    "none": "not corrected for the number of tests",
}

SOURCES = {
    "Chan et al. 2020": "Measuring the reliability of reinforcement learning algorithms",
    "Agarwal et al. 2021": "Deep reinforcement learning at the edge of the statistical "
    "precipice",
}
"""Where the cells, and where the aggregates and comparisons come from."""


def titles(plan: Plan) -> dict[str, str]:
    """What numbers are called, by the names they have in the records."""
    return {
        "iqm": "IQM",
        "mean": "mean",
        "median": "median",
        "iqr": "IQR",
        "cvar": f"CVaR {percent(plan.alpha)}",
        "optimality_gap": "optimality gap",
        "score": "final return",
        "tail": f"worst {percent(plan.alpha)}",
        **{name: cell_title(name) for name in cell_definitions(plan.definition)},
    }


def general(plan: Plan) -> dict[str, str]:
    """What other definitions speak of."""
    tail = 100 * (1 - plan.confidence) / 2
    return {
        "final return": "Of a run: the mean of its observations in the last tenth of "
        "its evaluation points; its last observation if there is none.",
        "runs": "Runs without a final return (NaN) are counted, enter no aggregate, and "
        "are worse than any other in ranks, tests and probabilities of improvement.",
        "interval": f"{percent(plan.confidence)} confidence: from the {tail:g} % to the "
        f"{100 - tail:g} % quantile of the number over {plan.num_resamples:,} samples "
        f"of as many runs, drawn with replacement (bootstrap, seed {plan.seed}). It is "
        "missing where one of these samples lacks the number.",
        "curve range": "Of a run: the 95th percentile of its observations less the "
        "first of them. The unit in which tasks compare; runs in which it is not "
        "positive have none.",
    }


def score_definitions(plan: Plan, target: float | None = None) -> dict[str, str]:
    """Of the aggregates of final returns."""
    found = {
        "iqm": "Mean of the middle half of n runs: sorted, without the lowest ⌊n/4⌋ and "
        "the highest ⌊n/4⌋. Higher is better.",
        "mean": "Mean of the runs. Higher is better.",
        "median": "Middle value of the runs. Higher is better.",
        "iqr": f"Third less first quartile of the runs (linear between ranks), from "
        f"{QUARTILE_RUNS} runs on. Lower is better.",
        "cvar": f"Mean of the worst {percent(plan.alpha)}: of n runs, the "
        f"⌊{plan.alpha:g} (n − 1)⌋ + 1 lowest. Higher is better.",
    }
    if target is not None:
        found["optimality_gap"] = (
            f"Mean of {number(target)} − min(final return, {number(target)}). Lower is "
            f"better."
        )
    return found


def cell_definitions(of: Definition) -> dict[str, str]:
    """Of the cells; what is said of units only where they are normalised."""
    measure, tail = MEASURES[of.measure], percent(of.alpha)
    range_ = "; in units of the run's curve range" if of.normalize else ""
    ranges = "; in units of the runs' median curve range" if of.normalize else ""
    median = "; in units of their median" if of.normalize else ""
    filtered = (
        f"Curves on a grid of {of.grid:,} points, low-pass filtered (Butterworth, order "
        f"{ORDER}, {of.threshold:g} of the Nyquist frequency, forwards and backwards)"
    )
    every = (
        f"every {percent(of.every)} of the training, from {percent(of.every / 2)} on"
    )
    third = "median of these points in each third of the training"
    over = "median over runs"
    return {
        "dispersion_across_time": f"Changes per environment step from one observation to "
        f"the next, (y₂ − y₁) / (t₂ − t₁); their {measure} in the window of "
        f"{percent(of.window)} of the training that ends at each point, {every}{range_}; "
        f"{third}; {over}. Lower is better.",
        "short_term_risk": f"Changes per environment step from one observation to the "
        f"next; the mean of a run's worst {tail} (CVaR){range_}; {over}. Higher is "
        f"better.",
        "long_term_risk": f"Drawdown: how far below its best until then a run is; the "
        f"mean of a run's largest {tail} (CVaR){range_}; {over}. Lower is better.",
        "dispersion_across_runs": f"{filtered}; {measure} over runs {every}{ranges}; "
        f"{third}. Lower is better.",
        "risk_across_runs": f"{filtered}{'; each run' + range_[1:] if range_ else ''}; "
        f"the mean of the worst {tail} of runs (CVaR) {every}; {third}. Higher is "
        f"better.",
        "dispersion_across_rollouts": f"Returns of the episodes that a run's final "
        f"policy plays; their {measure}{median}; {over}. Lower is better.",
        "risk_across_rollouts": f"Returns of the episodes that a run's final policy "
        f"plays; the mean of the worst {tail} (CVaR){median}; {over}. Higher is better.",
    }


def comparison_definitions(comparison: Comparison, plan: Plan) -> dict[str, str]:
    """Of what only a comparison has."""
    return {
        "normalised": f"(final return − low) / (high − low): {_ranges(comparison)}.",
        "over tasks": "IQM, IQR, CVaR and optimality gap (target 1) are of all runs on "
        "all tasks together; mean and median are those over tasks of each task's mean.",
        "performance profile": "Share of all runs on all tasks with a normalised final "
        "return above τ.",
        "mean rank": "Rank of each run's final return among all runs of all algorithms "
        "on its task, 1 for the best, ties in the middle; mean over an algorithm's runs, "
        "and of that over tasks.",
        "P(better)": "Probability that a run of the first algorithm has a higher final "
        "return than one of the second: the share of all pairs of runs, ties half "
        "(Mann and Whitney); over all tasks, the mean.",
        "p value": f"How often chance alone makes a difference as large: runs are dealt "
        f"to the two algorithms anew within each task, "
        f"{plan.num_permutations:,} times (cells across runs: "
        f"{plan.num_across_permutations:,} times); two-sided; {_corrected(plan)}, final "
        f"returns apart from cells. A difference counts where p ≤ {plan.level:.2g}. The "
        f"difference is that of mean ranks; of the tail, and of cells across runs, that "
        f"of the number itself.",
        "runs needed": "So many runs of each algorithm, drawn with replacement from "
        "those measured, give a two-sided test of Mann and Whitney at level "
        f"{plan.level:.2g} a power of .8. It takes the measured difference for the true "
        "one, and is optimistic where runs are few.",
    }


def _corrected(plan: Plan) -> str:
    return CORRECTIONS[plan.correction]


def _ranges(comparison: Comparison) -> str:
    """The reference scores of each task, and where they come from."""
    measured = (
        "median of the runs' first observations, 95th percentile of all final returns"
    )
    parts = []
    for task, of in comparison.ranges.items():
        how = "given" if of.given else measured
        parts.append(
            f"{task} from {number(of.low)} to {number(of.high)} ({how})"
            if of.low == of.low
            else f"{task} without a range"
        )
    return listed(parts)
