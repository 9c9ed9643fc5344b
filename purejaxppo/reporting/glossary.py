"""What each number is, exactly, in words: it stands beside the number."""

from collections.abc import Mapping

from purejaxppo.reliability.across_tasks import Range
from purejaxppo.reliability.aggregates import QUARTILE_RUNS
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.caveats import INTERVAL_RUNS
from purejaxppo.reliability.dispersion_and_risk import Definition
from purejaxppo.reliability.filters import ORDER
from purejaxppo.reliability.grids import POINTS
from purejaxppo.reliability.intervals import LACKING
from purejaxppo.reporting.formatting import cell_title, listed, number, percent

MEASURES = {
    "iqr": "interquartile range",
    "mad": "median absolute deviation",
    "std": "standard deviation",
}

CORRECTIONS = {
    "bh": "corrected for their number after Benjamini and Hochberg 1995",
    "by": "corrected for their number after Benjamini and Yekutieli 2001",
    "none": "not corrected for their number",
}

SOURCES = {
    "Chan et al. 2020": (
        "Measuring the reliability of reinforcement learning algorithms: the cells of "
        "dispersion and risk, ranks."
    ),
    "Agarwal et al. 2021": (
        "Deep reinforcement learning at the edge of the statistical precipice: IQM, "
        "optimality gap, performance profiles, stratified bootstrap."
    ),
}
"""Where the numbers come from."""


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
        "final return": (
            "Of a run: the mean of its observations in the last tenth of its points, "
            "which are equally spaced in environment steps; its last observation if "
            "there is none."
        ),
        "points of a curve": (
            f"As the runs were logged, where they all were at the same, equally spaced "
            f"steps, as a study's updates are. Otherwise {POINTS} bins of equal width "
            f"from step 0 to the last one, each the mean of the rows in it; for curve "
            f"range, drawdowns and pictures an empty bin has the last value before it, "
            f"unless the run has ended. Cells of a comparison are made of equally many "
            f"points for all algorithms on a task, those of the coarsest curve."
        ),
        "runs": (
            "Runs without a final return (NaN) are counted, enter no aggregate, and "
            "are worse than any other in ranks, tests and probabilities of "
            "improvement. A cell counts the runs that have it: those whose curve range "
            "is not positive have none in its units."
        ),
        "interval": (
            f"{percent(plan.confidence)} confidence: from the {tail:g} % to the "
            f"{100 - tail:g} % quantile of the number over {plan.num_resamples:,} "
            f"samples of as many runs, drawn with replacement (bootstrap, seed "
            f"{plan.seed}). Samples that lack the number are left out; where more than "
            f"{100 * LACKING:g} % of them do, the interval is missing."
        ),
        "curve range": (
            "Of a run: the 95th percentile of its observations less the first of them. "
            "The unit in which tasks compare; a run in which it is not positive has "
            "none."
        ),
    }


def score_definitions(plan: Plan, target: float | None = None) -> dict[str, str]:
    """Of the aggregates of final returns."""
    found = {
        "iqm": (
            "Mean of the middle half of n runs: sorted, without the lowest ⌊n/4⌋ and "
            "the highest ⌊n/4⌋. Higher is better."
        ),
        "mean": "Mean of the runs. Higher is better.",
        "median": "Middle value of the runs. Higher is better.",
        "iqr": (
            f"Third less first quartile of the runs (linear between ranks), from "
            f"{QUARTILE_RUNS} runs on. Lower is better."
        ),
        "cvar": (
            f"Mean of the worst {percent(plan.alpha)}: of n runs, the "
            f"⌊{plan.alpha:g} (n − 1)⌋ + 1 lowest. Higher is better."
        ),
    }
    if target is not None:
        found["optimality_gap"] = (
            f"Mean of {number(target)} − min(final return, {number(target)}). Lower is "
            f"better."
        )
    return found


def cell_definitions(of: Definition) -> dict[str, str]:
    """Of the cells; what is said of units only where they are normalised."""
    return {**_of_time(of), **_of_runs(of), **_of_rollouts(of)}


def _of_time(of: Definition) -> dict[str, str]:
    changes = "Changes per environment step from one observation to the next"
    unit = "; in units of the run's curve range" if of.normalize else ""
    tail = percent(of.alpha)
    return {
        "dispersion_across_time": (
            f"{changes}, (y₂ − y₁) / (t₂ − t₁); their {MEASURES[of.measure]} in the "
            f"window of {percent(of.window)} of the training that ends at each point, "
            f"{_every(of)}{unit}; {THIRDS}; median over runs. Lower is better."
        ),
        "short_term_risk": (
            f"{changes}; the mean of a run's worst {tail} (CVaR){unit}; median over "
            f"runs. Higher is better."
        ),
        "long_term_risk": (
            f"Drawdown: how far below its best until then a run is; the mean of a "
            f"run's largest {tail} (CVaR){unit}; median over runs. Lower is better."
        ),
    }


def _of_runs(of: Definition) -> dict[str, str]:
    filtered = (
        f"Curves on a grid of {of.grid:,} points, low-pass filtered (Butterworth of "
        f"order {ORDER} at {of.threshold:g} of the Nyquist frequency, forwards and "
        f"backwards)"
    )
    unit = "; in units of the runs' median curve range" if of.normalize else ""
    each = ", each run in units of its curve range" if of.normalize else ""
    caution = (
        " In its own range a run that hardly rises looks good: read it beside the "
        "final returns."
    )
    return {
        "dispersion_across_runs": (
            f"{filtered}; {MEASURES[of.measure]} over runs {_every(of)}{unit}; "
            f"{THIRDS}. Lower is better."
        ),
        "risk_across_runs": (
            f"{filtered}{each}; the mean of the worst {percent(of.alpha)} of runs "
            f"(CVaR) {_every(of)}; {THIRDS}. Higher is better."
            f"{caution if of.normalize else ''}"
        ),
    }


def _of_rollouts(of: Definition) -> dict[str, str]:
    episodes = "Returns of the episodes that a run's final policy plays"
    unit = "; in units of their median" if of.normalize else ""
    return {
        "dispersion_across_rollouts": (
            f"{episodes}; their {MEASURES[of.measure]}{unit}; median over runs. Lower "
            f"is better."
        ),
        "risk_across_rollouts": (
            f"{episodes}; the mean of the worst {percent(of.alpha)} (CVaR){unit}; "
            f"median over runs. Higher is better."
        ),
    }


THIRDS = "median of these points in each third of the training"


def _every(of: Definition) -> str:
    return f"every {percent(of.every)} of the training from {percent(of.every / 2)} on"


def comparison_definitions(ranges: Mapping[str, Range], plan: Plan) -> dict[str, str]:
    """Of what only a comparison has; `ranges` are those of its tasks."""
    return {
        "normalised": f"(final return − low) / (high − low): {_between(ranges)}.",
        "over tasks": (
            "IQM, IQR, CVaR and optimality gap (target 1) are of all runs on all tasks "
            "together; mean and median are those over tasks of each task's mean."
        ),
        "performance profile": (
            "Share of all runs on all tasks with a normalised final return above τ."
        ),
        "mean rank": (
            "Rank of each run's final return among all runs of all algorithms on its "
            "task, 1 for the best, ties in the middle, brought from N runs to k "
            "algorithms: ½ + (rank − ½) k / N; mean over an algorithm's runs, and of "
            "that over tasks. With as many runs of each, 1 where all its runs beat all "
            "others', k where they lose to them."
        ),
        "P(first is better)": (
            "Probability that a run of the first algorithm has a higher final return "
            "than one of the second: the share of all pairs of runs, ties half (Mann "
            "and Whitney); over all tasks, the mean."
        ),
        "p value": (
            f"How often chance alone makes a difference as large: within each task "
            f"runs are dealt to the two algorithms anew, {plan.num_permutations:,} "
            f"times (for cells across runs {plan.num_across_permutations:,} times). "
            f"Two-sided. Final returns and cells are tested apart; the tests of each "
            f"are {CORRECTIONS[plan.correction]}. A difference counts where p ≤ "
            f"{plan.level:.2g}. It is P(first is better) − P(second is better), where "
            f"a run with a final return but without the cell takes no part; of the "
            f"tail and of cells across runs it is one of the number itself, and runs "
            f"without a final return end in the tail; over tasks, the mean."
        ),
        "runs needed": (
            f"So many runs of each algorithm, drawn with replacement from those "
            f"measured, give a two-sided test of Mann and Whitney at {plan.level:.2g} "
            f"a power of .8. Takes the measured difference for the true one, and is "
            f"optimistic where runs are few: missing below {INTERVAL_RUNS} runs."
        ),
    }


def _between(ranges: Mapping[str, Range]) -> str:
    """The reference scores of each task, and where they come from."""
    measured = (
        "median of the runs' first observations, 95th percentile of all final returns"
    )
    parts = []
    for task, of in ranges.items():
        ends = f"from {number(of.low)} to {number(of.high)}"
        how = "given" if of.given else f"what was not given is measured: {measured}"
        known = of.low == of.low
        parts.append(f"{task} {ends} ({how})" if known else f"{task} without a range")
    return listed(parts) if parts else f"what is not given is measured: {measured}"


def everything(plan: Plan) -> dict[str, str]:
    """Every number that a report or a comparison shows, by what it is called."""
    named = {
        **general(plan),
        **score_definitions(plan),
        **cell_definitions(plan.definition),
        **comparison_definitions({}, plan),
    }
    known = titles(plan)
    return {known.get(name, name): meaning for name, meaning in named.items()}
