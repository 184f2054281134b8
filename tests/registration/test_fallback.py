from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import jssr
from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.registration.fallback import or_search
from jssr.registration.model import load_model
from jssr.registration.pipeline import prepare
from jssr.systems.base import Alignment


def _scan(name: str) -> Volume:
    """Smooth noise, the same for every name: CT by its values."""
    noise = ff.smooth(torch.randn(1, 1, 32, 32, 28, generator=torch.Generator().manual_seed(3)), 1.5)[0]
    return Volume(noise / noise.abs().max() * 900, Grid.of((32, 32, 28), 4.0), "image", name)


@pytest.fixture(scope="module")
def model(weights):
    return load_model(None, weights)


@pytest.fixture(scope="module")
def pair(model):
    return prepare(model, _scan("fixed"), _scan("moving"), rigid=False)


def test_a_field_that_misleads_is_replaced_by_the_searchs(model, pair):
    nothing, made = torch.zeros(1, 3, *pair.grid.shape), torch.rand(1, 1, *pair.grid.shape)
    wrong = Alignment(nothing + 3, synthesised=made)
    asked = []

    def align(other):
        asked.append(other.recipe.network.system)
        return Alignment(nothing, synthesised=None)

    used, found, told = or_search(model, pair, wrong, align)
    assert asked == ["discrete"] and used.recipe.network.system == "discrete"
    assert found.displacement is nothing and found.synthesised is made
    assert len(told) == 1 and "less alike" in told[0] and "discrete" in told[0]


@pytest.mark.parametrize("name", ["jssr", "discrete"])
def test_a_field_is_kept_that_does_no_harm_or_is_a_searchs(model, pair, name):
    u = torch.zeros(1, 3, *pair.grid.shape) + (3 if name == "discrete" else 0)
    one = model if name == "jssr" else load_model("discrete")
    used, found, told = or_search(one, pair, Alignment(u), lambda other: pytest.fail("not asked for"))
    assert used is one and found.displacement is u and told == ()


def test_register_says_that_the_search_took_a_networks_place(model, monkeypatch):
    usual = model.system.align

    def lost(*images, **more):
        made = usual(*images, **more)
        return replace(made, displacement=torch.full_like(made.displacement, 3.0))

    monkeypatch.setattr(model.system, "align", lost)
    done = jssr.register(_scan("fixed"), _scan("moving"), checkpoint=model, rigid=False, refine=0)
    assert [w for w in done.result["warnings"] if "aligned by discrete" in w]
    assert float(np.median(np.linalg.norm(done.displacement.millimetres(), axis=-1))) < 1.0
