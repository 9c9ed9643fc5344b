"""Names that a config chooses from, and that networks are made by."""

ACTIVATIONS = ("tanh", "relu", "elu", "gelu", "leaky_relu", "silu")
"""Activations of hidden layers, as `flax.linen` calls them."""

SCHEMES = ("orthogonal", "xavier", "kaiming", "lecun", "normal")
"""Initialisation schemes; their formulas are in networks/initializers.py."""

POLICIES = ("gaussian", "tanh_gaussian", "beta")
"""Distributions over a Box of actions; see networks/distributions."""
