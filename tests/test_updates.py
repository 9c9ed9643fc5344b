"""The loss on a batch, an update against a loop in NumPy, and a user's own loss."""

import dataclasses
import operator
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.algorithm.components import make_optimizer
from purejaxppo.algorithm.learning.epochs import (
    Learner,
    Lesson,
    learning_rates,
    minibatch_rows,
    phases,
    update,
)
from purejaxppo.algorithm.learning.objective import out_of_bounds
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(
    total_timesteps=4 * 32,
    num_envs=4,
    num_steps=8,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=1e-2,
    network=ppo.NetworkConfig(widths=(8,)),
)


def largest_log_ratio(config, network, params, batch):
    """PPO's loss, with the largest |log ratio| in the place of the KL."""
    loss, diagnostics = ppo.ppo_loss(config, network, params, batch)
    distribution, _ = network.actor(params, batch.obs, ())
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    return loss, diagnostics._replace(approx_kl=jnp.abs(log_ratio).max())


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize(
    "env, params",
    [
        (probes.Counting(), probes.CountingParams(3)),
        (probes.Cut(), probes.CountingParams(5)),
        (probes.Identity(), probes.NoParams()),
    ],
    ids=["terminating", "truncating", "box"],
)
def test_the_first_ratio_of_every_update_is_1(env, params, normalize):
    config = replace(CONFIG, {"normalize_observation": normalize})
    train = ppo.make_train(config, env, params, loss=largest_log_ratio)
    metrics = jax.jit(train)(jax.random.key(0)).metrics
    assert metrics.episode_return.shape == (4,)
    assert (metrics.num_episodes > 0).all()
    np.testing.assert_allclose(metrics.approx_kl, 0, atol=1e-5)
    np.testing.assert_array_equal(metrics.clip_fraction, 0)


class Fixed:
    """A distribution of given log-probabilities and entropy."""

    def __init__(self, log_probs, entropies):
        self.log_probs, self.entropies = log_probs, entropies

    def log_prob(self, action):
        return self.log_probs

    def entropy(self):
        return self.entropies


def test_loss_by_hand():
    # Ratios 1.5 and .5 with advantages 1 and −1: min(1.5, 1.2) and min(−.5, −.8), so
    # the policy loss is −(1.2 − .8) / 2 = −.2. Values 1, 3 against 2, 3: ½ · ½ = .25.
    # Total −.2 + .5 · .25 − .1 · .7 = −.145. KL: mean of ρ − 1 − ln ρ.
    log_ratio = jnp.log(jnp.array([1.5, 0.5]))
    network = ppo.ActorCritic(
        init=lambda key, obs: (),
        actor=lambda params, obs, memory: (
            Fixed(log_ratio - 1, jnp.array([0.6, 0.8])),
            memory,
        ),
        critic=lambda params, obs, memory: (jnp.array([1.0, 3.0]), memory),
    )
    batch = ppo.Minibatch(
        obs=jnp.zeros((2, 1)),
        action=jnp.zeros(2),
        log_prob=-jnp.ones(2),
        value=jnp.array([0.0, 3.0]),
        advantage=jnp.array([1.0, -1.0]),
        target=jnp.array([2.0, 3.0]),
    )
    config = replace(CONFIG, {"ent_coef": 0.1, "vf_coef": 0.5})
    loss, diagnostics = ppo.ppo_loss(config, network, (), batch)
    np.testing.assert_allclose(loss, -0.145, rtol=1e-5)
    kl = (0.5 - np.log(1.5) + -0.5 - np.log(0.5)) / 2
    expected = [-0.2, 0.25, 0.7, kl, 1.0]
    np.testing.assert_allclose(diagnostics[:5], expected, rtol=1e-5)
    logs = np.log([1.5, 0.5])
    later = [-logs.mean(), (logs**2).mean() / 2, 1.0, 0.5, 0.5, 1.5]
    np.testing.assert_allclose(diagnostics[5:11], later, rtol=1e-5)
    assert diagnostics.policy_kl == ()
    # With the value clip at .2: V = .2 for the first, ½ · (1.8² + 0) / 2 = .81.
    clipped = replace(config, {"vf_clip_eps": 0.2})
    _, diagnostics = ppo.ppo_loss(clipped, network, (), batch)
    np.testing.assert_allclose(diagnostics.value_loss, 0.81, rtol=1e-5)
    for changes, expected in (
        ({"vf_clip_eps": 0.2, "vf_clip_mode": "clipped"}, 0.81),
        # The errors are 1 and 0: cut at .6, or Huber's 2 · ½ · 1 − ½² = .75 at ½.
        ({"vf_clip_eps": 0.6, "vf_clip_mode": "error"}, 0.15),
        ({"vf_huber": 0.5}, 0.1875),
        ({"vf_half": False}, 0.5),
    ):
        loss, found = ppo.ppo_loss(replace(config, changes), network, (), batch)
        np.testing.assert_allclose(found.value_loss, expected, rtol=1e-5)
        np.testing.assert_allclose(loss, -0.27 + 0.5 * expected, rtol=1e-5)


def one_obs_network(log_probs, mean=None):
    """A categorical or Gaussian policy that sees nothing, of given numbers."""

    def actor(params, obs, memory):
        if mean is not None:
            space = probes.Identity().action_space(None)
            head = ppo.make_action_head(space)
            return head.distribution(jnp.array(mean), jnp.zeros(2)), memory
        head = ppo.make_action_head(probes.Match().action_space(None))
        return head.distribution(jnp.array(log_probs), None), memory

    return ppo.ActorCritic(
        init=lambda key, obs: (),
        actor=actor,
        critic=lambda params, obs, memory: (jnp.zeros(len(obs)), memory),
    )


def two_samples(**changes):
    batch = ppo.Minibatch(
        obs=jnp.zeros((2, 1)),
        action=jnp.array([0, 1]),
        log_prob=jnp.log(jnp.array([0.5, 0.5])),
        value=jnp.zeros(2),
        advantage=jnp.array([0.0, 0.0]),
        target=jnp.zeros(2),
    )
    return batch._replace(**changes)


def test_the_penalty_is_the_exact_kl():
    # KL((½, ½) ‖ (.8, .2)) = ½ ln .625 + ½ ln 2.5 = .2231; the estimates k1 to k3 need
    # samples of each action to come near. With (½, ½) on both sides it is 0.
    network = one_obs_network(np.log([[0.8, 0.2], [0.5, 0.5]]))
    old = one_obs_network(np.log([[0.5, 0.5], [0.5, 0.5]])).actor((), (), ())[0]
    exact = 0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2)
    changes = {"kl_penalty.coef": 3.0, "clip_eps": None, "ent_coef": 0.0}
    config = replace(CONFIG, changes)
    loss, found = ppo.ppo_loss(config, network, (), two_samples(policy=old))
    np.testing.assert_allclose(found.policy_kl, exact / 2, rtol=1e-5)
    np.testing.assert_allclose(loss, 3 * exact / 2, rtol=1e-5)
    weight = jnp.array([1.0, 0])
    batch = two_samples(policy=old, weight=weight)
    loss, found = ppo.ppo_loss(config, network, (), batch)
    np.testing.assert_allclose([found.policy_kl, loss], [exact, 3 * exact], rtol=1e-5)
    # Not KL(new ‖ old) = .8 ln 1.6 + .2 ln .4 = .1927.
    assert abs(found.policy_kl - 0.1927) > 0.02


@pytest.mark.parametrize("ratio, gain", [(0.5, -0.8), (2, -2.0), (5, -3.0)])
def test_the_dual_clip_bounds_the_loss_of_bad_actions_only(ratio, gain):
    # Golden numbers of the lecture, at ε = .2 and c = 3: A = −1 and A = 1.
    network = one_obs_network(np.log([[0.5, 0.5], [0.5, 0.5]]))
    log_prob = jnp.log(jnp.array([0.5, 0.5])) - jnp.log(float(ratio))
    config = replace(CONFIG, {"dual_clip": 3.0, "ent_coef": 0.0})
    for advantage, expected in ((-1.0, gain), (1.0, min(ratio, 1.2))):
        batch = two_samples(log_prob=log_prob, advantage=jnp.full(2, advantage))
        loss, found = ppo.ppo_loss(config, network, (), batch)
        np.testing.assert_allclose([loss, found.policy_loss], -expected, rtol=1e-5)


def test_the_loss_of_means_out_of_bounds():
    # Beyond 1.1: .9² + .4² of the first, nothing of the second; Σ μ²: 6.25 and .25.
    network = one_obs_network(None, mean=[[2.0, -1.5], [0.5, 0.0]])
    batch = two_samples(action=jnp.zeros((2, 2)), log_prob=jnp.zeros(2))
    base, _ = ppo.ppo_loss(CONFIG, network, (), batch)
    for form, weight, expected in (
        ("soft", None, (0.81 + 0.16) / 2),
        ("soft", jnp.array([1.0, 0]), 0.97),
        ("regularization", None, (6.25 + 0.25) / 2),
    ):
        rule = t.BoundsLoss(coef=2.0, form=form)
        config = replace(CONFIG, {"bounds_loss": rule})
        mean = jnp.array([[2.0, -1.5], [0.5, 0.0]])
        np.testing.assert_allclose(
            out_of_bounds(config, mean, weight), expected, rtol=1e-5
        )
        if weight is None:
            loss, _ = ppo.ppo_loss(config, network, (), batch)
            np.testing.assert_allclose(loss - base, 2 * expected, rtol=1e-5)


# --- Rows and phases ----------------------------------------------------------------


ROWS = ppo.Config(num_envs=6, num_steps=4, num_minibatches=3)


@pytest.mark.parametrize("shuffle", ["transitions", "trajectories", "none"])
def test_every_epoch_uses_every_sample_once(shuffle):
    config = replace(ROWS, {"shuffle": shuffle})
    rows = np.asarray(minibatch_rows(jax.random.key(0), config, 5))
    assert rows.shape == (5, 3, 8)
    flat = rows.reshape(5, -1)
    np.testing.assert_array_equal(np.sort(flat), np.tile(np.arange(24), (5, 1)))
    if shuffle == "none":
        np.testing.assert_array_equal(flat, np.sort(flat))
        return
    assert len(np.unique(flat, axis=0)) == 5
    other = np.asarray(minibatch_rows(jax.random.key(1), config, 5))
    assert (other != rows).any()
    whole = np.asarray(rows).reshape(5, 3, -1, 4)
    in_order = (np.diff(whole) == 6).all()
    assert in_order == (shuffle == "trajectories")


def test_trajectories_are_whole_environments_in_order():
    config = replace(ROWS, {"shuffle": "trajectories"})
    rows = np.asarray(minibatch_rows(jax.random.key(0), config, 6000))
    time, env = np.divmod(rows.reshape(6000, 3, 2, 4), 6)
    np.testing.assert_array_equal(time, np.tile(np.arange(4), (6000, 3, 2, 1)))
    assert (env == env[..., :1]).all()
    # All 720 orders of the environments come, and any two as often in one minibatch.
    orders = env[..., 0].reshape(6000, 6)
    assert len(np.unique(orders, axis=0)) == 720
    pairs = np.unique(orders.reshape(-1, 2), axis=0, return_counts=True)[1]
    assert len(pairs) == 30 and abs(pairs / 600 - 1).max() < 0.25


@pytest.mark.parametrize(
    "changes, plan",
    [
        ({}, [("both", 4)]),
        ({"critic_epochs": 4}, [("both", 4)]),
        ({"critic_epochs": 6}, [("both", 4), ("critic", 2)]),
        ({"critic_epochs": 1}, [("both", 1), ("actor", 3)]),
        ({"trpo": True, "clip_eps": None}, [("critic", 4)]),
        ({"trpo": True, "clip_eps": None, "critic_epochs": 7}, [("critic", 7)]),
    ],
)
def test_phases(changes, plan):
    assert phases(replace(ROWS, changes)) == plan


# --- An update against a loop -------------------------------------------------------

LOOP = ppo.Config(
    num_envs=6,
    num_steps=4,
    num_minibatches=3,
    num_epochs=3,
    learning_rate=0.05,
    anneal_lr=False,
    max_grad_norm=None,
    total_timesteps=240,
)
KEY = jax.random.key(5)


def linear_actor(params, obs, memory):
    head = ppo.make_action_head(probes.Match().action_space(None))
    return head.distribution(obs @ params["actor"]["w"], None), memory


LINEAR = ppo.ActorCritic(
    init=lambda key, obs: PARAMS,
    actor=linear_actor,
    critic=lambda params, obs, memory: (obs @ params["critic"]["w"], memory),
    groups=lambda params: {"actor": "actor", "critic": "critic"},
)
PARAMS = {
    "actor": {"w": jnp.array([[0.3, -0.2], [0.1, 0.4]])},
    "critic": {"w": jnp.array([0.5, -0.5])},
}


def make_batch():
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(24, 2)), rng.integers(0, 2, 24)
    policy, _ = linear_actor(PARAMS, jnp.float32(obs), ())
    fields = {name: rng.normal(size=24) for name in ("value", "advantage", "target")}
    return ppo.Minibatch(
        obs=jnp.float32(obs),
        action=jnp.int32(action),
        log_prob=policy.log_prob(jnp.int32(action)),
        **jax.tree.map(jnp.float32, fields),
    )


BATCH = make_batch()


def make_lesson(config, **parts):
    groups = LINEAR.groups if config.has_groups else None
    optimizer = make_optimizer(config, groups)
    return Lesson(config, LINEAR, ppo.ppo_loss, optimizer, groups)._replace(**parts)


def make_learner(lesson, **changes):
    config = lesson.config
    learner = Learner(
        params=PARAMS,
        opt_state=lesson.optimizer.init(PARAMS),
        learning_rate=jnp.float32(0.05) if config.kl_learning_rate else (),
        stopped=() if config.kl_stop is None else jnp.bool_(False),
    )
    return learner._replace(**changes)


def learned(loss=ppo.ppo_loss, **changes):
    """Learner and report of one update by the library."""
    lesson = make_lesson(replace(LOOP, changes), loss=loss)
    return jax.jit(
        lambda: update(KEY, make_learner(lesson), BATCH, lesson),
        # Two programs of the same update round alike with these.
        compiler_options={"xla_cpu_use_fusion_emitters": True},
    )()


class Adam:
    """m̂ / (√v̂ + 1e-5), in NumPy."""

    def __init__(self):
        self.m, self.v, self.count = 0.0, 0.0, 0

    def __call__(self, grad):
        self.count += 1
        self.m = 0.9 * self.m + 0.1 * grad
        self.v = 0.999 * self.v + 0.001 * grad**2
        m, v = self.m / (1 - 0.9**self.count), self.v / (1 - 0.999**self.count)
        return m / (np.sqrt(v) + 1e-5)


@jax.jit
def gradients(params, batch):
    """Those of actor and critic, written out once more, and the estimates of the KL."""
    advantage = (batch.advantage - batch.advantage.mean()) / batch.advantage.std()

    def loss(params):
        logits = jax.nn.log_softmax(batch.obs @ params["actor"])
        log_ratio = logits[jnp.arange(8), batch.action] - batch.log_prob
        ratio = jnp.exp(log_ratio)
        gain = jnp.minimum(ratio * advantage, ratio.clip(0.8, 1.2) * advantage)
        entropy = -(jnp.exp(logits) * logits).sum(1)
        error = jnp.square(batch.obs @ params["critic"] - batch.target)
        kls = -log_ratio, log_ratio**2 / 2, ratio - 1 - log_ratio
        total = -gain.mean() - 0.01 * entropy.mean() + 0.25 * error.mean()
        return total, [kl.mean() for kl in kls]

    return jax.grad(loss, has_aux=True)(params)


class Loop:
    """The update as PPO's sources have it: one step after the other."""

    def __init__(self, stop=None, rate=None, warming_up=False, params=PARAMS):
        self.stop, self.rate, self.warming_up = stop, rate, warming_up
        self.params = {k: np.asarray(x["w"], float) for k, x in params.items()}
        self.adams = {"actor": Adam(), "critic": Adam()}
        self.learning_rate, self.stopped, self.kls, self.rates = 0.05, False, [], []

    def run(self, plan=("both",) * 3, batch=BATCH):
        """Epochs of "both", "actor" or "critic"."""
        rows = np.asarray(minibatch_rows(KEY, LOOP, len(plan)))
        for phase, epoch in zip(plan, rows, strict=True):
            before, still = len(self.kls), self.stopped or self.warming_up
            for row in epoch:
                self.step(phase, jax.tree.map(operator.itemgetter(row), batch))
            if phase != "critic":
                self.look("epoch", np.mean(self.kls[before:], axis=0), still)
        return self

    def step(self, phase, batch):
        params = jax.tree.map(jnp.float32, self.params)
        grads, kl = gradients(params, batch)
        still = self.stopped or self.warming_up
        rate = self.learning_rate
        if phase != "critic":
            self.kls.append(np.array(kl))
            self.look("minibatch", kl, still)
        for name in self.trained(phase):
            step = self.adams[name](np.asarray(grads[name], float))
            self.params[name] = self.params[name] - rate * step

    def trained(self, phase):
        names = ["actor", "critic"] if phase == "both" else [phase]
        if self.stopped and self.stop is not None and self.stop.scope == "all":
            return []
        if self.stopped or self.warming_up:
            names = [name for name in names if name != "actor"]
        return names

    def look(self, at, kl, still):
        """What a high KL does; the rate's own step is taken before it changes."""
        self.rates.append(self.learning_rate)
        if self.rate is not None and self.rate.at == at and not still:
            of = {"k1": kl[0], "k2": kl[1], "k3": kl[2]}[self.rate.estimator]
            factor = 1 / 1.5 if of > 2 * self.rate.target else 1
            factor = 1.5 if of < self.rate.target / 2 else factor
            self.learning_rate = min(max(self.learning_rate * factor, 0.01), 0.1)
        if self.stop is not None and self.stop.at == at:
            of = {"k1": kl[0], "k2": kl[1], "k3": kl[2]}[self.stop.estimator]
            self.stopped = bool(self.stopped or of > 1.5 * self.stop.target)


def check(learner, loop, rtol=1e-3):
    for name in ("actor", "critic"):
        np.testing.assert_allclose(
            learner.params[name]["w"], loop.params[name], rtol=rtol, atol=1e-5
        )


@pytest.fixture(scope="module")
def plain():
    return learned()


@pytest.fixture(scope="module")
def loop():
    return Loop().run()


def test_an_update_is_that_loop(plain, loop):
    learner, report = plain
    check(learner, loop)
    means = np.mean(loop.kls, axis=0)
    found = report.diagnostics
    seen = [found.kl_k1, found.kl_k2, found.approx_kl]
    np.testing.assert_allclose(seen, means, rtol=1e-3, atol=1e-6)
    assert found.ratio_min < 0.9 and found.ratio_max > 1.1
    assert report.stopped == () and learner.learning_rate == ()


def test_the_ratio_moves_after_the_first_minibatch(loop):
    kls = np.array(loop.kls)[:, 2]
    assert abs(kls[0]) < 1e-6 and (kls[1:] > 1e-5).all()


def spread(config, network, params, batch):
    """The loss, with mean and deviation of its advantages."""
    loss, found = ppo.ppo_loss(config, network, params, batch)
    mean, std = batch.advantage.mean(), batch.advantage.std()
    return loss, found._replace(policy_loss=jnp.abs(mean), entropy=std)


@pytest.mark.parametrize("over", [None, "minibatch", "batch"])
def test_advantages_are_standardised_over_what_the_config_says(over):
    _, report = learned(loss=spread, normalize_advantage=over)
    mean, std = report.diagnostics.policy_loss, report.diagnostics.entropy
    if over == "minibatch":
        np.testing.assert_allclose(mean, 0, atol=1e-5)
        np.testing.assert_allclose(std, 1, rtol=1e-3)
        return
    rows = np.asarray(minibatch_rows(KEY, LOOP, 3))
    whole = np.asarray(BATCH.advantage, float)
    if over == "batch":
        whole = (whole - whole.mean()) / whole.std()
    parts = whole[rows]
    np.testing.assert_allclose(mean, np.abs(parts.mean(-1)).mean(), rtol=1e-4)
    np.testing.assert_allclose(std, parts.std(-1).mean(), rtol=1e-4)
    assert mean > 0.1


def test_gradients_are_clipped_by_the_global_norm():
    # Adam forgets scale, but not with an epsilon far above the gradients: then a step
    # is lr · clipped gradient / eps, of norm lr · max_grad_norm / eps.
    changes = {"adam_eps": 1e6, "max_grad_norm": 1e-2, "learning_rate": 1e6}
    learner, report = learned(**changes, num_epochs=1, num_minibatches=1)
    assert report.grad_norm > 0.1
    moved = jax.tree.map(lambda a, b: a - b, learner.params, PARAMS)
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(moved)))
    np.testing.assert_allclose(norm, 1e-2, rtol=1e-2)


def test_groups_and_equal_epochs_change_nothing_where_nothing_is_shared(plain, loop):
    # Adam is elementwise: one for all, or one each for actor and critic, is the same.
    for changes in (
        {"actor_optimizer.adam_eps": 1e-5},
        {"critic_epochs": 3, "actor_optimizer": True},
        {"critic_optimizer.learning_rate": 0.05},
    ):
        learner, _ = learned(**changes)
        check(learner, loop)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
            learner.params,
            plain[0].params,
        )


def of_actor(learner, name="actor"):
    """The count of a group's Adam."""
    counts = jax.tree.leaves(learner.opt_state.inner_states[name])
    return next(int(x) for x in counts if jnp.issubdtype(x.dtype, jnp.integer))


@pytest.mark.parametrize("at", ["minibatch", "epoch"])
@pytest.mark.parametrize("scope, estimator", [("all", "k3"), ("policy", "k1")])
def test_a_high_kl_stops_what_it_should(loop, scope, at, estimator):
    rule = t.KLStop(scope=scope, at=at, estimator=estimator)
    # Thresholds never reached, reached in the middle, and by the first step.
    kls = [kl[0] if estimator == "k1" else kl[2] for kl in loop.kls]
    targets = np.array([1e3, sorted(kls)[4] / 1.5, 1e-6])

    def run(target):
        rule_here = dataclasses.replace(rule, target=target)
        lesson = make_lesson(replace(LOOP, {"kl_stop": rule_here}))
        return update(KEY, make_learner(lesson), BATCH, lesson)

    found = jax.jit(jax.vmap(run))(jnp.float32(targets))
    stops = []
    for i, target in enumerate(targets):
        learner, report = jax.tree.map(operator.itemgetter(i), found)
        expected = Loop(dataclasses.replace(rule, target=float(target))).run()
        check(learner, expected)
        stops.append(float(report.stopped))
        assert bool(learner.stopped) == expected.stopped
        if scope == "policy":
            counts = [expected.adams[name].count for name in ("actor", "critic")]
            assert counts == [of_actor(learner, n) for n in ("actor", "critic")]
            assert counts[1] == 9
    assert stops[0] == 0 and 0 < stops[1] < stops[2]
    # The first step is at a KL of 0: it, or the first epoch, is always taken.
    np.testing.assert_allclose(stops[2], 8 / 9 if at == "minibatch" else 6 / 9)


def test_a_stop_that_is_never_reached_is_none(plain):
    learner, report = learned(kl_stop=t.KLStop(target=1e3))
    jax.tree.map(np.testing.assert_array_equal, learner.params, plain[0].params)
    jax.tree.map(np.testing.assert_array_equal, learner.opt_state, plain[0].opt_state)
    assert report.stopped == 0


def test_the_critic_warms_up_alone():
    lesson = make_lesson(replace(LOOP, {"critic_warmup": 2, "num_epochs": 3}))

    @jax.jit
    def go(learner, warming_up):
        here = lesson._replace(warming_up=warming_up)
        return update(KEY, learner, BATCH, here)[0]

    learner, expected = make_learner(lesson), Loop(warming_up=True)
    for _ in range(2):
        learner = go(learner, jnp.bool_(True))
        expected.run()
        check(learner, expected)
        np.testing.assert_array_equal(
            learner.params["actor"]["w"], PARAMS["actor"]["w"]
        )
        assert of_actor(learner) == 0 and expected.adams["actor"].count == 0
    # Then the actor moves as a fresh Adam would have it: 0.05 a step at first.
    learner, expected.warming_up = go(learner, jnp.bool_(False)), False
    check(learner, expected.run())
    assert of_actor(learner) == 9 and of_actor(learner, "critic") == 27


def test_a_paused_actor_takes_no_share_of_the_clipped_norm():
    # Of a gradient clipped to a norm of 1e-2 all is the critic's; see the clip's test.
    changes = {"adam_eps": 1e6, "max_grad_norm": 1e-2, "learning_rate": 1e6}
    changes |= {"num_epochs": 1, "num_minibatches": 1, "critic_warmup": 1}
    lesson = make_lesson(replace(LOOP, changes))

    def run(warming_up):
        here = lesson._replace(warming_up=warming_up)
        return update(KEY, make_learner(lesson), BATCH, here)[0].params

    params = jax.jit(jax.vmap(run))(jnp.array([True, False]))
    moved = params["critic"]["w"] - PARAMS["critic"]["w"][None]
    norms = np.sqrt(np.square(moved).sum(1))
    np.testing.assert_allclose(norms[0], 1e-2, rtol=1e-3)
    assert norms[1] < 0.99e-2


@pytest.mark.parametrize(
    "num_epochs, critic_epochs, plan",
    [
        (3, 1, ("both", "actor", "actor")),
        (1, 3, ("both", "critic", "critic")),
    ],
)
def test_actor_and_critic_have_epochs_of_their_own(num_epochs, critic_epochs, plan):
    learner, report = learned(num_epochs=num_epochs, critic_epochs=critic_epochs)
    expected = Loop().run(plan)
    check(learner, expected)
    counts = [of_actor(learner, name) for name in ("actor", "critic")]
    assert counts == [3 * num_epochs, 3 * critic_epochs]
    # What is reported of the policy is that of its own epochs.
    kl = np.mean(expected.kls, axis=0)[2]
    np.testing.assert_allclose(report.diagnostics.approx_kl, kl, rtol=1e-3, atol=1e-6)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(report))


@pytest.mark.parametrize("at", ["minibatch", "epoch"])
def test_the_learning_rate_follows_the_kl(loop, at):
    # Targets far above, about, and far below what is seen: up, to and fro, down.
    targets = np.array([1e3, np.median([kl[1] for kl in loop.kls]), 1e-9])
    rule = t.KLLearningRate(min=0.01, max=0.1, at=at, estimator="k2")

    def run(target, learning_rate):
        rule_here = dataclasses.replace(rule, target=target)
        lesson = make_lesson(replace(LOOP, {"kl_learning_rate": rule_here}))
        learner = make_learner(lesson, learning_rate=learning_rate)
        learner, _ = update(KEY, learner, BATCH, lesson)
        return learner

    go = jax.jit(jax.vmap(run))
    found = go(jnp.float32(targets), jnp.full(3, 0.05))
    ends = []
    for i, target in enumerate(targets):
        expected = Loop(rate=dataclasses.replace(rule, target=float(target))).run()
        check(jax.tree.map(operator.itemgetter(i), found), expected)
        ends.append(expected.learning_rate)
    np.testing.assert_allclose(found.learning_rate, ends, rtol=1e-5)
    # The first minibatch's KL is 0, so that there the rate rises whatever the target.
    low = 0.01 if at == "minibatch" else 0.05 / 1.5**3
    np.testing.assert_allclose(ends[::2], [0.1, low])
    assert len(set(ends)) == 3
    # What one update left is where the next one begins.
    again = go(jnp.float32(targets), found.learning_rate)
    assert (again.params["critic"]["w"] != found.params["critic"]["w"])[1:].all()


@pytest.mark.parametrize("at", ["minibatch", "epoch"])
def test_the_learning_rate_stands_where_the_policy_does(loop, at):
    # Once stopped, the KL stays as high as it is, and would drive the rate to a bound;
    # while the critic warms up it is 0.
    stop = t.KLStop(target=sorted(kl[2] for kl in loop.kls)[4] / 1.5)
    rule = t.KLLearningRate(min=0.01, max=0.1, at=at)
    changes = {
        "kl_stop": dataclasses.replace(stop, scope="policy", at=at),
        "kl_learning_rate": rule,
        "critic_warmup": 1,
    }
    lesson = make_lesson(replace(LOOP, changes))

    def run(warming_up):
        here = lesson._replace(warming_up=warming_up)
        return update(KEY, make_learner(lesson), BATCH, here)[0]

    found = jax.jit(jax.vmap(run))(jnp.array([False, True]))
    for i, warming_up in enumerate([False, True]):
        rules = {"stop": lesson.config.kl_stop, "rate": rule}
        expected = Loop(**rules, warming_up=warming_up).run()
        learner = jax.tree.map(operator.itemgetter(i), found)
        check(learner, expected)
        rate = expected.learning_rate
        np.testing.assert_allclose(learner.learning_rate, rate, rtol=1e-5)
        assert expected.stopped != warming_up and (rate == 0.05) == warming_up


def test_rates_of_groups():
    lesson = make_lesson(replace(LOOP, {"critic_optimizer.learning_rate": 0.5}))
    rates = learning_rates(lesson, make_learner(lesson))
    assert rates == {"actor": 0.05, "critic": 0.5, "shared": 0.05}
    rule = {"critic_optimizer.learning_rate": 0.5, "kl_learning_rate": True}
    lesson = make_lesson(replace(LOOP, rule))
    rates = learning_rates(lesson, make_learner(lesson, learning_rate=0.3))
    assert rates == {"actor": 0.3, "critic": 0.5, "shared": 0.3}
    assert learning_rates(make_lesson(LOOP), make_learner(make_lesson(LOOP))) == 0.05


@pytest.mark.parametrize("over", ["minibatch", "batch"])
def test_dropped_samples_teach_nothing(over):
    weight = jnp.float32(np.random.default_rng(1).random(24) < 0.7)
    dropped = weight == 0

    def with_garbage(size):
        garbage = {
            name: getattr(BATCH, name) + jnp.where(dropped, size, 0)
            for name in ("advantage", "target", "value", "log_prob")
        }
        return BATCH._replace(weight=weight, **garbage)

    changes = {"normalize_advantage": over, "vf_clip_eps": 0.2}
    lesson = make_lesson(replace(LOOP, changes))
    go = jax.jit(lambda batch: update(KEY, make_learner(lesson), batch, lesson))
    (learner, report), (other, again) = go(with_garbage(0.0)), go(with_garbage(50.0))
    jax.tree.map(np.testing.assert_array_equal, learner, other)
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"):
        seen = [getattr(x.diagnostics, name) for x in (report, again)]
        assert seen[0] == seen[1]
    assert (learner.params["actor"]["w"] != PARAMS["actor"]["w"]).all()


# --- A user's own parts -------------------------------------------------------------


def five_figures(config, network, params, batch):
    """PPO's loss, with no more to say than a loss has to."""
    loss, found = ppo.ppo_loss(config, network, params, batch)
    return loss, ppo.Diagnostics(*found[:5])


def test_an_own_loss_needs_five_figures_only(plain, loop):
    learner, report = learned(loss=five_figures)
    jax.tree.map(np.testing.assert_array_equal, learner.params, plain[0].params)
    assert report.diagnostics[5:] == ((),) * 7
    rule = t.KLStop(target=float(sorted(kl[2] for kl in loop.kls)[4] / 1.5))
    learner, report = learned(loss=five_figures, kl_stop=rule)
    check(learner, Loop(rule).run())
    assert 0 < report.stopped < 1


def test_an_estimate_that_an_own_loss_leaves_out_is_asked_for():
    expected = r"^Expected the loss's diagnostics to have kl_k1, .* k1 of the KL"
    for changes in ({"kl_stop.estimator": "k1"}, {"kl_learning_rate.estimator": "k1"}):
        with pytest.raises(ValueError, match=expected):
            learned(loss=five_figures, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_stop.scope": "policy"},
        {"critic_epochs": 2},
        {"critic_warmup": 1},
        {"trpo": True, "clip_eps": None},
    ],
)
def test_an_own_loss_cannot_be_paused_by_halves(changes):
    expected = r"^Expected no loss of one's own with [^\n]*, got one\.$"
    with pytest.raises(ValueError, match=expected):
        ppo.make_ppo(replace(CONFIG, changes), probes.Match(), loss=five_figures)


class TwoNumbers(probes.Match):
    """An environment that `LINEAR` fits."""

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return jnp.concatenate([obs, obs]), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=jnp.concatenate([step.obs, step.obs]))

    def observation_space(self, params):
        return gymnasium.spaces.Box(-1.0, 1.0, (2,))


class Bare(NamedTuple):
    """The seam and nothing beyond it."""

    init: Any
    actor: Any
    critic: Any


@pytest.mark.parametrize(
    "changes, missing",
    [
        ({"kl_stop.scope": "policy"}, "groups"),
        ({"critic_epochs": 2}, "groups"),
        ({"critic_warmup": 1}, "groups"),
        ({"trpo": True, "clip_eps": None}, "groups"),
        ({"actor_optimizer": True}, "groups"),
        ({"grad_scope": "group"}, "groups"),
        ({"normalize_value": "pop_art"}, "rescale"),
    ],
)
def test_an_own_network_must_have_what_a_technique_needs(changes, missing):
    expected = rf"^Expected network to have '{missing}', which [^\n]*, got None\.$"
    bare = Bare(LINEAR.init, LINEAR.actor, LINEAR.critic)
    for network in (bare, ppo.ActorCritic(*bare)):
        with pytest.raises(ValueError, match=expected):
            config = replace(CONFIG, changes)
            ppo.make_ppo(config, probes.Match(), network=network)
    ppo.make_ppo(CONFIG, TwoNumbers(), network=bare)
