"""The register of `register-compact` as a dual register: `python projects/dual/begin.py OUT.safetensors`.

The weights are the same, the network's name is another: Phi there, M here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jssr.recipes.load import build_system
from jssr.recipes.shipped import weights_at
from jssr.recipes.weights import load_system, save_weights

sys.path.insert(0, str(Path(__file__).parent))
import dual_known  # noqa: E402


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    system, recipe = build_system(dual_known.recipe()), dual_known.recipe()
    other, _, _ = load_system(weights_at("register-compact"))
    system.get_submodule("M").load_state_dict(other.get_submodule("Phi").state_dict())
    save_weights(parser.parse_args().out, system, recipe, {"started from": ["register-compact"]})


if __name__ == "__main__":
    main()
