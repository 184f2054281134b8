"""Options and what is known travel as objects; a wrong word is answered by the nearest right one."""

from __future__ import annotations

import inspect

import pytest

import jssr
from jssr.registration.options import RegistrationOptions, RegistrationOptionsDict, parse_options


def test_keywords_become_two_objects():
    chosen, known = parse_options({"refine": 3, "fixed_modality": "mr", "structures": {"liver": (1,)}})
    assert chosen == RegistrationOptions(refine=3, fixed_modality="mr") and known == {"structures": {"liver": (1,)}}


def test_every_field_is_a_keyword():
    known = {"fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks", "structures"}
    known |= {"fixed_mask", "moving_mask", "label_names"}
    assert set(RegistrationOptionsDict.__annotations__) == set(RegistrationOptions.__dataclass_fields__) | known
    assert len(inspect.signature(jssr.register).parameters) <= 10


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match=r"unexpected option 'refin'; did you mean 'refine'\?"):
        jssr.register("a", "b", refin=3)
    with pytest.raises(TypeError, match=r"unexpected option 'devise'; did you mean 'device'\?"):
        jssr.align("a", devise="cpu")
    with pytest.raises(TypeError, match="unexpected option 'fixed_labels'"):
        jssr.align("a", fixed_labels="x.nii.gz")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"refine": -1}, "refine must be a number of steps"),
        ({"refine": 1.5}, "refine must be a number of steps"),
        ({"refine": "x"}, "refine must be a number of steps"),
        ({"rigid": "no"}, "rigid must be True or False"),
        ({"deterministic": 1}, "deterministic must be True or False"),
        ({"initial": "middle"}, "initial must be"),
        ({"initial": None}, "initial must be"),
        ({"preset": "ct-abdome"}, "unknown preset 'ct-abdome'; did you mean 'ct-abdomen'"),
        ({"similarity": "ncc"}, "similarity must be one of lncc, mind, mi, mixture"),
        ({"smoothness": 0.0}, "smoothness must be a number above 0"),
        ({"smoothness": -1}, "smoothness must be a number above 0"),
        ({"sliding": "maybe"}, "sliding must be True, False or None"),
        ({"spacing": 0}, "spacing must be mm between control points"),
        ({"sliding": True, "refine": 0}, "sliding: acts in the instance optimisation, and refine is 0"),
        ({"moving_modality": "pet"}, "moving_modality must be one of ct, mr, us, radiograph"),
    ],
)
def test_values_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        jssr.register("a", "b", **wrong)
