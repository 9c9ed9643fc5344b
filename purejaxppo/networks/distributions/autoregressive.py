"""Distributions over actions of several parts, drawn one after another."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.networks.distributions.heads import ActionHead, Conditional, Sampler
from purejaxppo.networks.distributions.joint import (
    drawn_ahead,
    joint_head,
    split_scales,
)
from purejaxppo.networks.distributions.layouts import (
    Layout,
    Part,
    join_action,
    num_codes,
    split_action,
    split_mask,
    sum_used,
    used,
)
from purejaxppo.networks.distributions.messages import listed
from purejaxppo.networks.distributions.temperature import temper
from purejaxppo.networks.layers import Dense


class Layers(NamedTuple):
    """The network of one part: output(activation(hidden + choices' codes @ choice)).

    Attributes:
      hidden: `[B, H]`, of the observation.
      choice: `[num_codes, H]`, `None` where the part sees no choice.
      kernel: of the output, `[H, num_outputs]`, short side first as in `layers.Dense`.
      bias: of the output, `[num_outputs]`.
    """

    hidden: jax.Array
    choice: jax.Array | None
    kernel: jax.Array
    bias: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What is static of an autoregressive policy; one is equal to itself only.

    Attributes:
      parts: one after another, as in the action.
      layout: how they make up the action.
      sees: for each part the parts whose choices it sees.
      order: the order in which they are drawn.
      activation: of the hidden layers, a name in `jax.nn`.
    """

    parts: tuple[Part, ...]
    layout: Layout
    sees: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    activation: str


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["layers", "log_std", "masks", "temperature"],
    meta_fields=["model"],
)
@dataclasses.dataclass(frozen=True)
class Autoregressive:
    """Parts of an action that are drawn one after another, and see what was drawn.

    p(a) = Π p(a_i | the earlier choices that part i sees). Neither the entropy nor a
    KL has a closed form; see `entropy_at`. What the type of an action does not use
    counts for nothing, and later parts do not see it.

    Attributes:
      layers: the network of each part.
      log_std: of all Boxes, `[num_scales]`, or `None`.
      masks: of each part, `None` where it is free.
      model: what is static.
      temperature: of every part, `None` for 1.
    """

    layers: tuple[Layers, ...]
    log_std: Any
    masks: tuple[Any, ...]
    model: Model
    temperature: Any = None

    def sample(self, seed: jax.Array) -> Any:
        """Samples of every part, used or not."""
        keys = jax.random.split(seed, len(self.layers))
        return self.draw(lambda i, conditional: conditional.sample(seed=keys[i]))

    def mode(self) -> Any:
        """The mode of each part at those of the earlier ones: not always the action's.

        A greedy choice may rule out what would be likely after another.
        """
        return self.draw(lambda i, conditional: conditional.mode())

    def draw(self, choose: Callable[[int, Any], Any]) -> Any:
        """An action by `choose(i, distribution of part i)`, one part after another."""
        chosen: dict[int, Any] = {}
        for i in self.model.order:
            chosen[i] = choose(i, self.conditional(i, chosen))
        parts = [chosen[i] for i in range(len(self.layers))]
        return join_action(self.model.layout, parts)

    def log_prob(self, value: Any) -> jax.Array:
        """Log-probability of the action: Σ of `log_prob_parts`."""
        return self.log_prob_parts(value).sum(-1)

    def __getattr__(self, name: str) -> Any:
        """Say what to use in place of what has no closed form."""
        hints = {"entropy": "entropy_at(action)", "kl_divergence": "log_prob(action)"}
        hint = f"; {hints[name]} serves to estimate it" if name in hints else ""
        raise AttributeError(f"An autoregressive policy has no {name}{hint}.")

    def log_prob_parts(self, value: Any) -> jax.Array:
        """Each part's given the earlier ones `[B, P]`, 0 where it is not used."""
        return self._figures(value, lambda conditional, x: conditional.log_prob(x))

    def entropy_at(self, value: Any) -> jax.Array:
        """Σ of the parts' entropies, each given the earlier choices of this action.

        Its mean over actions of this policy is the entropy: by the chain rule H(a) is Σ
        E[H(a_i | earlier)]. So of such actions it is an estimate without bias, and with
        less noise than −ln p(a). Its gradient leaves out how the policy's own choice of
        earlier parts changes the later ones' entropies.
        """
        each = self._figures(value, lambda conditional, x: conditional.entropy())
        return each.sum(-1)

    def tempered(self, temperature: float | jax.Array) -> "Autoregressive":
        """Each part at a temperature, given earlier choices; see `temper`."""
        before = 1.0 if self.temperature is None else self.temperature
        return dataclasses.replace(self, temperature=before * temperature)

    def _figures(
        self, value: Any, figure: Callable[[Any, jax.Array], jax.Array]
    ) -> jax.Array:
        """Σ of a figure over what is used of each part `[B, P]`."""
        layout = self.model.layout
        chosen = dict(enumerate(split_action(layout, value)))
        figures = []
        for i, x in chosen.items():
            each = figure(self.conditional(i, chosen), x)
            figures.append(sum_used(each, layout, i, used(layout, i, chosen)))
        return jnp.stack(figures, -1)

    def conditional(self, i: int, chosen: Mapping[int, Any]) -> Any:
        """The distribution of part i given choices of earlier parts, by their index."""
        model, layers = self.model, self.layers[i]
        x = layers.hidden
        if layers.choice is not None:
            codes = [self._codes(j, chosen) for j in model.sees[i]]
            x = x + jnp.concatenate(codes, -1) @ layers.choice
        x = getattr(jax.nn, model.activation)(x)
        distribution = model.parts[i].head.distribution(
            dense(x, layers.kernel, layers.bias),
            split_scales(model.parts, self.log_std)[i],
            self.masks[i],
        )
        if self.temperature is None:
            return distribution
        return temper(distribution, self.temperature)

    def _codes(self, i: int, chosen: Mapping[int, Any]) -> jax.Array:
        """What others see of the choice of part i: `[B, num_codes]`, 0 if not used."""
        part, layout, x = self.model.parts[i], self.model.layout, chosen[i]
        batch = x.shape[: x.ndim - len(part.shape)]
        n = part.num_choices
        codes = jax.nn.one_hot(x, n, dtype=jnp.float32) if n else x[..., None]
        which = used(layout, i, chosen)
        if which is not None:
            codes = jnp.where(which[..., None], codes, 0)
        return codes.reshape(*batch, num_codes(part))


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """A `layers.Dense` of features `[B, H]`."""
    layer = Dense(bias.shape[-1], parent=None)
    outputs = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    assert isinstance(outputs, jax.Array)
    return outputs


def autoregressive_head(
    parts: Sequence[Part],
    layout: Layout,
    pairs: Sequence[str],
    activation: str = "tanh",
) -> ActionHead:
    """Parts that are drawn one after another; see `Autoregressive` and `sights`.

    The `distribution` takes a tuple of `Layers` for outputs, as `policy_head.Policy`
    makes them by the head's `conditionals`.

    Raises:
      ValueError: `pairs` are not such.
    """
    order = drawing_order(len(parts), layout)
    sees = sights([part.name for part in parts], order, pairs)
    model = Model(tuple(parts), layout, sees, order, activation)

    def distribution(
        outputs: tuple[Layers, ...], log_std: Any, mask: Any = None
    ) -> Autoregressive:
        return Autoregressive(outputs, log_std, tuple(split_mask(parts, mask)), model)

    def sample(distribution: Autoregressive, noise: Sequence[Any]) -> Any:
        return distribution.draw(
            lambda i, conditional: parts[i].head.sampler.sample(conditional, noise[i])
        )

    conditionals = tuple(
        Conditional(part.head.num_outputs, sum(num_codes(parts[j]) for j in seen))
        for part, seen in zip(parts, sees, strict=True)
    )
    return joint_head(parts, layout)._replace(
        distribution=distribution,
        sampler=Sampler(drawn_ahead(parts), sample),
        bounds=None,
        conditionals=conditionals,
    )


def drawing_order(size: int, layout: Layout) -> tuple[int, ...]:
    """The parts as they are in the action, but its type first.

    So that it is known by then which choices nobody may see.
    """
    first = [] if layout.type is None else [layout.type]
    return (*first, *(i for i in range(size) if i not in first))


FIELD = "network.autoregressive"


def sights(
    names: Sequence[str], order: Sequence[int], pairs: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """For each part the parts whose choices it sees.

    Args:
      names: the parts' paths.
      order: the order in which they are drawn.
      pairs: ("all",) for each to see all earlier ones, or "later:earlier" by path.

    Raises:
      ValueError: not such pairs, no such part, or one that is not earlier.

    >>> sights(["a", "b", "c"], [0, 1, 2], ["c:a"])
    ((), (), (0,))
    """
    ordered = [names[i] for i in order]
    if tuple(pairs) == ("all",):
        seen = {name: ordered[:i] for i, name in enumerate(ordered)}
    else:
        split = [_later_and_earlier(ordered, pair) for pair in pairs]
        seen = {name: [one for last, one in split if last == name] for name in ordered}
    return tuple(
        tuple(j for j, other in enumerate(names) if other in seen[name])
        for name in names
    )


def _later_and_earlier(ordered: Sequence[str], pair: str) -> tuple[str, str]:
    """Both names of a pair "later:earlier"; see `sights`."""
    later, colon, earlier = pair.partition(":")
    if not colon:
        raise ValueError(
            f"Expected {FIELD} to be all, or pairs later:earlier of {listed(ordered)}, "
            f"got {pair!r}."
        )
    for name in (later, earlier):
        if name not in ordered:
            raise ValueError(
                f"Expected {FIELD} to name {listed(ordered)}, got {name!r} in {pair!r}."
            )
    if ordered.index(earlier) >= ordered.index(later):
        raise ValueError(
            f"Expected {FIELD} to let parts see earlier ones only, in the order "
            f"{listed(ordered)}, got {pair!r}."
        )
    return later, earlier
