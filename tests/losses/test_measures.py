import pytest
import torch

from jssr.losses.bins import Bins
from jssr.losses.measures import measure_of
from jssr.losses.mind import MacMIND, mind_distance
from jssr.losses.similarity import lncc, mutual_information


def test_the_measures_are_what_they_are_called():
    a, b = torch.rand(2, 1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mac = measure_of("macmind", {"weights": [0.3, 0.7], "bins": {"support": 3, "angles": 4}})
    describe = MacMIND(weights=(0.3, 0.7), bins=Bins(support=3, angles=4))
    torch.testing.assert_close(mac(a, b, None, 3), (describe(a) - describe(b)).square().mean())
    torch.testing.assert_close(measure_of("mind")(a, b, None, 3), mind_distance(a, b) / 12)
    torch.testing.assert_close(measure_of("mi")(a, b, None, 3), -mutual_information(a, b))
    torch.testing.assert_close(measure_of("ncc")(a, b, None, 2), lncc(a, b, size=5))
    with pytest.raises(ValueError, match="unknown similarity 'ssd'; there are macmind"):
        measure_of("ssd")
    with pytest.raises(ValueError, match="mind takes no settings .*, got patch"):
        measure_of("mind", {"patch": 3})
