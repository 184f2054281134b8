"""The entries: what each promises, and that help, errors and docs are made from them."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path

import pytest
import torch

from jssr.errors import JssrError
from jssr.losses.descriptors import DESCRIPTORS, Descriptor, descriptor_of
from jssr.losses.measures import SIMILARITIES, measure_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "descriptors.md"


def written() -> str:
    """The page of descriptors and similarities."""
    rows = [
        f"| `{one.key}` | {one.name} | {one.channels.get(2, 'not described')} | {one.channels.get(3, 'not described')} "
        f"| {one.meaning} |"
        for one in DESCRIPTORS.values()
    ]
    similar = [f"| `{one.key}` | {one.meaning} |" for one in SIMILARITIES.values()]
    return "\n".join(
        [
            "# Descriptors and similarities",
            "",
            "This page is made from the entries in `src/jssr/losses/descriptors.py` and `src/jssr/losses/measures.py`.",
            "[Add a descriptor](../how-to/add-a-descriptor.md) shows how to extend them.",
            "",
            "`--descriptor` chooses what `--refine` and `--system discrete` compare:",
            "",
            "| descriptor | name | channels in 2D | in 3D | what it says |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "A recipe chooses what its register is trained by, `network.options.similarity`:",
            "",
            "| similarity | what is minimised |",
            "| --- | --- |",
            *similar,
            "",
        ]
    )


def test_the_page_is_that_of_the_entries() -> None:
    assert PAGE.read_text(encoding="utf-8") == written()  # python tests/losses/test_descriptors.py --write


@pytest.mark.parametrize("key", DESCRIPTORS)
def test_an_entry_keeps_its_promises(key: str) -> None:
    entry = pickle.loads(pickle.dumps(DESCRIPTORS[key]))
    for n, channels in entry.channels.items():
        image = torch.rand(2, 1, *[9] * n, generator=torch.Generator().manual_seed(0))
        found = entry(image)
        assert found.shape == (2, channels, *[9] * n) and found.isfinite().all()
        entry.check(n)


def test_what_is_not_described_is_refused_with_those_that_do() -> None:
    with pytest.raises(JssrError, match="macMIND describes 3D images; for 2D images choose mind-ssc and mind"):
        DESCRIPTORS["macmind"].check(2)
    with pytest.raises(ValueError, match="unknown descriptor 'mid'; there are mind-ssc, mind, macmind"):
        descriptor_of("mid")


@pytest.mark.parametrize("key", SIMILARITIES)
def test_a_similarity_is_least_where_images_agree(key: str) -> None:
    a, b = torch.rand(2, 1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    measure = pickle.loads(pickle.dumps(measure_of(key)))
    assert measure(a, a, None, 3) < measure(a, b, None, 3)


def test_the_how_to_page_runs() -> None:
    page = (DOCS / "how-to" / "add-a-descriptor.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    try:
        for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(compile(code, "add-a-descriptor.md", "exec"), names)
    finally:
        DESCRIPTORS.pop("gradient", None)


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(written(), encoding="utf-8")


def test_a_function_of_another_number_of_channels_is_refused():
    wrong = Descriptor("wrong", "Wrong", {2: 4, 3: 3}, "One channel.", lambda image: image)
    with pytest.raises(JssrError, match="descriptor wrong: expected shape"):
        wrong(torch.zeros((1, 1, 4, 4, 4)))
