"""What the instance optimisation does with a pair is chosen from its kind, and what the user names wins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.prepare import prepare_pair
from jssr.registration.choice import choose
from jssr.registration.settings import OptimisationSettings

NONE = OptimisationSettings()


def pair_of(modalities, side_mm, ndim=3):
    image = torch.rand(1, *[16] * ndim, generator=torch.Generator().manual_seed(0)) * 400
    scan = Volume(image, Grid.of([16] * ndim, side_mm / 16))
    found = prepare_pair(scan, scan, side_mm / 16, None, rigid=False)
    return replace(found, modalities=modalities)


@pytest.mark.parametrize(
    ("modalities", "side_mm", "related", "expected"),
    [  # similarity, smoothness, sliding, mm between control points of 2 mm voxels, how often again, doubtful
        (("ct", "ct"), 320, True, ("mixture", 0.5, False, 10.0, 0, False)),
        (("mr", "mr"), 320, True, ("mixture", 0.5, True, 10.0, 2, False)),
        (("mr", "mr"), 160, True, ("mixture", 0.05, False, 6.0, 0, False)),
        (("mr", "mr"), 160, False, ("mind", 2.0, False, 10.0, 0, True)),
        (("ct", "mr"), 320, False, ("mind", 2.0, False, 10.0, 0, True)),
        (("us", "mr"), 96, False, ("mind", 2.0, False, 10.0, 0, True)),
    ],
)
def test_it_follows_from_modalities_extent_and_contrast(modalities, side_mm, related, expected):
    found = choose(pair_of(modalities, side_mm), related, "discrete", 2.0, NONE)
    assert (found.similarity, found.smoothness, found.sliding, found.spacing, found.again, found.doubtful) == (
        expected[0], pytest.approx(expected[1]), *expected[2:],
    )  # fmt: skip


def test_a_network_is_not_doubted_and_films_have_their_own():
    assert not choose(pair_of(("ct", "mr"), 320), False, "jssr", 2.0, NONE).doubtful
    film = choose(pair_of(("radiograph", "radiograph"), 320, ndim=2), False, "discrete", 1.0, NONE)
    assert (film.similarity, film.smoothness, film.window, len(film.levels)) == ("lncc", pytest.approx(0.2), 17, 4)


def test_what_the_user_names_wins():
    asked = OptimisationSettings("mi", smoothness=3.0, spacing=7.0, sliding=False)
    found = choose(pair_of(("mr", "mr"), 320), True, "discrete", 2.0, asked)
    assert (found.similarity, found.smoothness, found.spacing, found.sliding) == ("mi", 15.0, 7.0, False)
    assert choose(pair_of(("ct", "ct"), 320), True, "discrete", 2.0, OptimisationSettings(sliding=True)).again == 2
