"""Presets stand in the docs as they are, and give what the user does not name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from jssr.registration.chosen import missing_values
from jssr.registration.options import RegistrationOptions
from jssr.registration.presets import PRESETS, PresetName

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "masks-and-options.md"


def test_the_page_lists_every_preset_as_it_is():
    page = PAGE.read_text(encoding="utf-8")
    assert set(PRESETS) == set(get_args(PresetName))
    for one in PRESETS.values():
        values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in one.values.items()}
        sets = ", ".join(f"`{key} = {value}`" for key, value in values.items())
        assert f"| `{one.name}` | {one.takes} | {sets} | {one.why} |\n" in page


def test_what_the_user_names_wins():
    assert missing_values(RegistrationOptions(preset="ct-lung")) == {
        "system": "discrete", "similarity": "lncc", "sliding": True,
    }  # fmt: skip
    named = RegistrationOptions(preset="ct-lung", sliding=False, checkpoint="jssr")
    assert missing_values(named) == {"similarity": "lncc"}
    # Without an instance optimisation there is nothing for its options to do.
    assert missing_values(RegistrationOptions(preset="ct-lung", refine=0)) == {"system": "discrete"}
    assert missing_values(RegistrationOptions()) == {}
