"""The page of jobs: thirty rows, commands that the real command line takes, and the script that runs them."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOBS, FILES = script("jobs"), script("jobs_files")
COMMANDS = [line for job in JOBS.jobs() for line in job.commands]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command of a line that the command line takes and its options, without running it.

    Raises:
        ClickException: an unknown command, option or value, or a missing one.
    """
    program: Any = typer.main.get_command(importlib.import_module("jssr.cli").app)
    words = shlex.split(line)[1:]
    own = [word for word in words[:1] if word in ("--version", "--debug", "--install-completion")]
    words = words[2:] if words[0] == "--config" else words[len(own) :]
    if not words:
        assert own
        return own[0], {}
    name, _, rest = program.resolve_command(program.make_context("jssr", ["info"]), words)
    return str(name), program.commands[name].make_context(name, list(rest)).params


def files_of(line: str) -> tuple[set[str], set[str]]:
    """First parts of the paths that a command reads, and that it writes."""
    if not line.startswith("jssr"):
        *reads, written = re.findall(r"'([^']+)'", line)  # a one-liner writes what it names last
        return {Path(path).parts[0] for path in reads}, {written}
    given = parsed(line)[1]
    writes = {given.pop(name).parts[0] for name in ("out", "log_file") if isinstance(given.get(name), Path)}
    start = given.pop("initial", None)
    listed = [one for value in given.values() for one in (value if isinstance(value, (list, tuple)) else [value])]
    paths = [str(one) for one in listed if isinstance(one, Path)]
    paths += [start] if start not in (None, "geometry", "centre") else []
    return {Path(path.split(":")[-1]).parts[0] for path in paths if path != "identity"}, writes


def test_there_are_thirty_jobs_each_with_a_command_and_a_page():
    jobs = JOBS.jobs()
    assert [job.number for job in jobs] == list(range(1, 31))
    assert all(job.commands and "](" in job.more for job in jobs)
    assert len({job.name for job in jobs}) == 30


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("jssr")])
def test_the_real_command_line_takes_each_command(line):
    assert parsed(line)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("python -c")])
def test_one_liners_compile(line):
    compile(shlex.split(line)[2], "job", "exec")


def test_every_command_is_of_a_known_kind():
    assert all(line.startswith(("jssr ", "python -c ", "pip install ")) for line in COMMANDS)


@pytest.mark.parametrize("line", ["jssr registr a b -o c", "jssr register a b", "jssr register a b -o c --device"])
def test_the_check_sees_what_is_wrong(line):
    with pytest.raises(Exception) as caught:
        parsed(line)
    assert any(kind.__name__ == "ClickException" for kind in type(caught.value).__mro__)


def test_what_a_job_reads_is_made_by_an_earlier_job_or_by_the_script():
    made = set(FILES.FILES)
    for job in JOBS.jobs():
        for line in job.commands:
            if line.startswith("pip"):
                continue
            reads, writes = files_of(line)
            assert reads <= made, (job.number, reads - made)
            made |= writes


def test_a_command_that_fails_is_reported_with_its_code(tmp_path):
    took, code, last = JOBS.run_one("jssr convert nothing.tfm -o t.tfm", tmp_path)
    assert code == 1 and took > 0 and "nothing.tfm" in last
