"""Files of `projects/` as modules: several bear one name, so that they cannot be imported by it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PROJECTS = Path(__file__).parents[2] / "projects"


def project(name: str, path: str) -> ModuleType:
    """The file of a path below `projects/`, as module `name`."""
    spec = importlib.util.spec_from_file_location(name, PROJECTS / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
