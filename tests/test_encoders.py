"""Observations of trees of spaces, as features and images."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from purejaxppo.networks.encoders import Encoded, make_encoder, normalized_parts

IMAGE = spaces.Box(0, 255, (4, 5, 3), np.uint8)
BOX = spaces.Box(-1, 1, (2, 2), np.float32)
TREE = spaces.Dict(
    b=spaces.Tuple(
        [spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3], start=[1, -1])]
    ),
    a=BOX,
    c=spaces.Dict(bits=spaces.MultiBinary((2, 2)), cam=IMAGE),
    d=spaces.Box(-5, 5, (2,), np.int32),
)


def observations():
    """Two of them, with what each leaf's features are."""
    obs = {
        "a": jnp.arange(8.0).reshape(2, 2, 2),
        "b": (jnp.array([1, 3]), jnp.array([[2, -1], [1, 1]])),
        "c": {
            "bits": jnp.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]]], jnp.int8),
            "cam": jnp.broadcast_to(
                jnp.array([51, 255], jnp.uint8)[:, None, None, None], (2, 4, 5, 3)
            ),
        },
        "d": jnp.array([[-5, 5], [0, 3]]),
    }
    features = {
        "a": [[0, 1, 2, 3], [4, 5, 6, 7]],
        "b.0": [[1, 0, 0], [0, 0, 1]],
        "b.1": [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]],
        "c.bits": [[0, 1, 1, 1], [1, 0, 0, 0]],
        "c.cam": np.repeat([[0.2], [1.0]], 60, axis=1),
        "d": [[-5, 5], [0, 3]],
    }
    return obs, {name: np.array(x, np.float32) for name, x in features.items()}


def close(got, expected):
    # XLA may multiply by 1 / 255.
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_features_stand_in_the_order_of_the_leaves():
    obs, features = observations()
    encoded = make_encoder(TREE)(obs)
    assert encoded.images == ()
    assert encoded.flat.dtype == jnp.float32
    close(encoded.flat, np.concatenate(list(features.values()), axis=1))


def test_images_are_kept_apart_if_asked_for():
    obs, features = observations()
    encoded = make_encoder(TREE, images=True)(obs)
    (image,) = encoded.images
    close(image, features.pop("c.cam").reshape(2, 4, 5, 3))
    assert image.dtype == jnp.float32
    close(encoded.flat, np.concatenate(list(features.values()), axis=1))


def test_every_image_is_one_and_other_boxes_are_not():
    floats = spaces.Box(0, 1, (2, 3, 4), np.float32)
    space = spaces.Tuple([floats, BOX, IMAGE])
    obs = (
        jnp.full((6, 2, 3, 4), 0.5),
        jnp.zeros((6, 2, 2)),
        jnp.zeros((6, 4, 5, 3), np.uint8),
    )
    encoded = make_encoder(space, images=True)(obs)
    assert [x.shape for x in encoded.images] == [(6, 2, 3, 4), (6, 4, 5, 3)]
    assert (encoded.images[0] == 0.5).all()
    assert encoded.flat.shape == (6, 4)


def test_an_image_alone_leaves_no_features():
    encoded = make_encoder(IMAGE, images=True)(jnp.zeros((7, 4, 5, 3), jnp.uint8))
    assert encoded.flat.shape == (7, 0) and len(encoded.images) == 1


@pytest.mark.parametrize(
    "low, high, dtype, expected",
    [
        (0, 255, np.uint8, 0.2),
        (0, 254, np.uint8, 51.0),
        (1, 255, np.uint8, 51.0),
        (0, 255, np.int32, 51.0),
        (0, 255, np.float32, 51.0),
    ],
)
def test_only_bytes_are_scaled(low, high, dtype, expected):
    space = spaces.Box(low, high, (2,), dtype)
    flat = make_encoder(space)(jnp.full((3, 2), 51, dtype)).flat
    close(flat, np.full((3, 2), expected, np.float32))


def test_discrete_observations_are_one_hot():
    encode = make_encoder(spaces.Discrete(3, start=1))
    flat = encode(jnp.array([1, 3])).flat
    np.testing.assert_array_equal(flat, [[1, 0, 0], [0, 0, 1]])


def test_one_hots_are_those_of_each_number():
    # Every cell of a table of numbers, of as many values as it has.
    nvec = np.array([[2, 5, 1], [3, 4, 2]])
    start = np.array([[0, -3, 7], [1, 100, 2]])
    space = spaces.MultiDiscrete(nvec, start=start)
    obs = np.array([space.sample() for _ in range(50)])
    flat = make_encoder(space)(jnp.asarray(obs)).flat
    assert flat.shape == (50, nvec.sum())
    expected = [
        np.concatenate(
            [
                np.eye(int(nvec[i]))[row[i] - start[i]]
                for i in np.ndindex(nvec.shape)  # row by row
            ]
        )
        for row in obs
    ]
    np.testing.assert_array_equal(flat, expected)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
def test_one_hots_of_any_whole_numbers(dtype):
    space = spaces.MultiDiscrete([2, 2])
    flat = make_encoder(space)(jnp.array([[0, 1]], dtype)).flat
    np.testing.assert_array_equal(flat, [[1, 0, 0, 1]])


def test_scalars_and_bools_become_floats():
    scalar = spaces.Box(0, 1, (), np.float32)
    assert make_encoder(scalar)(jnp.zeros(4)).flat.shape == (4, 1)
    bits = make_encoder(spaces.MultiBinary(2))(jnp.array([[True, False]])).flat
    np.testing.assert_array_equal(bits, [[1, 0]])
    assert bits.dtype == jnp.float32


@pytest.mark.parametrize(
    "space, obs, plain",
    [
        (BOX, jnp.ones((3, 2, 2)), lambda x: x.reshape(3, 4).astype(jnp.float32)),
        (
            spaces.Discrete(4, start=2),
            jnp.ones(3, int),
            lambda x: jax.nn.one_hot(x - 2, 4),
        ),
    ],
)
def test_plain_spaces_cost_nothing_more(space, obs, plain):
    encode = make_encoder(space)
    programs = [jax.make_jaxpr(f)(obs) for f in (lambda x: encode(x).flat, plain)]
    assert str(programs[0]) == str(programs[1])


def test_under_vmap_as_alone():
    obs, _ = observations()
    encode = make_encoder(TREE, images=True)
    alone = encode(obs)
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), obs)
    many = jax.jit(jax.vmap(encode))(twice)
    assert isinstance(many, Encoded)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(b, np.stack([a, a])), alone, many
    )


def broken(leaf, path):
    obs, _ = observations()
    parent = obs
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = leaf
    return obs


@pytest.mark.parametrize(
    "obs, message",
    [
        (
            broken(jnp.zeros((2, 3)), ["a"]),
            "Expected observation.a to be of shape (2, 2), as its space says, got "
            "(3,).",
        ),
        (
            broken(jnp.zeros((2, 5, 4, 3)), ["c", "cam"]),
            "Expected observation.c.cam to be of shape (4, 5, 3), as its space says, "
            "got (5, 4, 3).",
        ),
        (
            broken((jnp.zeros(2), jnp.zeros((2, 2), int)), ["b"]),
            "Expected observation.b.0 to be of whole numbers",
        ),
        (
            broken([jnp.zeros(2, int)], ["b"]),
            "Expected observation.b to be a tuple of 2, got list.",
        ),
    ],
)
def test_other_observations_are_refused(obs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_encoder(TREE)(obs)


def test_other_observations_of_a_plain_space_are_refused():
    message = (
        "Expected observations of shape (2, 2), as the observation space says, got "
        "(3,)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_encoder(BOX)(jnp.zeros((5, 3)))
    message = "Expected observation to be an array, got dict."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_encoder(BOX)({"a": jnp.zeros((5, 2, 2))})
    with pytest.raises(ValueError, match=r"^Expected observation to be of shape"):
        make_encoder(spaces.Discrete(2))(jnp.zeros((5, 1), int))


TEXT = spaces.Text(3)


@pytest.mark.parametrize(
    "space, path",
    [
        (TEXT, ""),
        (spaces.Dict(a=spaces.Tuple([BOX, TEXT])), ".a.1"),
        (spaces.Dict(a=BOX, b=spaces.Dict(c=TEXT)), ".b.c"),
    ],
)
def test_other_spaces_are_refused_with_their_path(space, path):
    message = (
        f"Expected observation_space{path} to be Box, Discrete, MultiDiscrete or "
        f"MultiBinary, got {TEXT}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_encoder(space)


def test_nothing_to_see_is_refused():
    with pytest.raises(ValueError, match=r"^Expected observation_space to have a part"):
        make_encoder(spaces.Dict(a=spaces.Tuple([])))


@pytest.mark.parametrize("space", [BOX, spaces.Dict(a=BOX, b=spaces.Discrete(2))])
def test_convolutions_without_an_image_are_refused(space):
    message = (
        "Expected network.conv only with an image (a Box [height, width, channels]) "
        f"in observation_space, got {space}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_encoder(space, images=True)


def test_boxes_are_normalized_but_for_bytes():
    assert normalized_parts(TREE) == {
        "a": True,
        "b": (False, False),
        "c": {"bits": False, "cam": False},
        "d": True,
    }
    assert normalized_parts(BOX) is True
    assert normalized_parts(spaces.Discrete(3)) is False
    # Bytes that are no image, and an image of floats.
    assert normalized_parts(spaces.Box(0, 255, (128,), np.uint8)) is False
    assert normalized_parts(spaces.Box(0, 1, (4, 4, 3), np.float32)) is True


def test_the_action_mask_is_never_normalized():
    mask = spaces.Box(0, 1, (3,), np.float32)
    space = spaces.Dict(at=BOX, action_mask=mask)
    assert normalized_parts(space) == {"at": True, "action_mask": False}
    nested = spaces.Dict(at=BOX, action_mask=spaces.Tuple([mask, mask]))
    assert normalized_parts(nested)["action_mask"] == (False, False)


def test_images_of_floats_up_to_255_are_divided_too():
    space = spaces.Box(0.0, 255.0, (4, 4, 1), np.float32)
    seen = make_encoder(space, images=True)(jnp.full((2, 4, 4, 1), 51.0))
    np.testing.assert_allclose(seen.images[0], 0.2, rtol=1e-6)
    assert not any(jax.tree.leaves(normalized_parts(space)))
    vector = spaces.Box(0.0, 255.0, (4,), np.float32)
    np.testing.assert_array_equal(make_encoder(vector)(jnp.ones((2, 4))).flat, 1)


def test_channels_come_last():
    first = spaces.Dict(eye=spaces.Box(0, 255, (4, 84, 84), np.uint8))
    message = (
        r"^Expected observation_space\.eye to be an image \[height, width, channels\], "
        r"got \(4, 84, 84\): the channels come last\.$"
    )
    with pytest.raises(ValueError, match=message):
        make_encoder(first, images=True)
    make_encoder(spaces.Box(0, 1, (4, 20, 16)), images=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
def test_a_choice_of_many_in_a_small_type_is_one_feature(dtype):
    # 300 choices, of which the type may hold fewer; -3 wraps around in none.
    for start in (0, -3) if dtype != "uint8" else (0,):
        spaces_ = (
            spaces.Discrete(300, start=start),
            spaces.MultiDiscrete([300, 2], start=[start, 0]),
        )
        x = np.arange(start, min(300 + start, np.iinfo(dtype).max + 1))
        numbers = jnp.asarray(x).astype(dtype)
        ones = make_encoder(spaces_[0])(numbers).flat
        np.testing.assert_array_equal(ones, np.eye(300)[x - start])
        pair = jnp.stack([numbers, jnp.zeros_like(numbers)], -1)
        ones = make_encoder(spaces_[1])(pair).flat
        np.testing.assert_array_equal(ones[:, :300], np.eye(300)[x - start])
        np.testing.assert_array_equal(ones[:, 300:], np.eye(2)[np.zeros(x.size, int)])
