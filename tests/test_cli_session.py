"""What every command can be told (strict, a log, defaults of your own), and what a wrong option hears."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import jssr
from jssr.cli import app, log_file
from jssr.core.notes import tell
from jssr.errors import TrainingError
from jssr.registration.verdict import Verdict

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def no_log_stays():
    yield
    log_file.end()


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """`jssr segment` that finds a liver and warns, and what it was called with."""
    called: dict[str, object] = {}

    def segment(**options: object) -> SimpleNamespace:
        called.update(options)
        shape = SimpleNamespace(grid=SimpleNamespace(ndim=3))
        return SimpleNamespace(
            written=tmp_path / "o.nii.gz", labels=shape, label_names={1: "liver"}, sizes={"liver": 12.0}, phase=None,
            warnings=("a liver of 12 ml",),
        )  # fmt: skip

    monkeypatch.setattr(jssr, "segment", segment)
    return called


def run(*words: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, list(words))
    return done.exit_code, done.output


def test_strict_ends_with_4_where_there_are_warnings(segmented):
    assert run("segment", "x.nii.gz", "-o", "o.nii.gz")[0] == 0
    code, said = run("segment", "x.nii.gz", "-o", "o.nii.gz", "--strict")
    assert code == 4 and "liver of 12 ml" in said


def test_strict_says_in_its_last_line_what_it_ended_for(segmented, tmp_path):
    log = tmp_path / "jssr.log"
    _, said = run("segment", "x.nii.gz", "-o", "o.nii.gz", "--strict", "--log-file", str(log))
    last = said.strip().splitlines()[-1]
    assert "exit code 4" in last and "1 warning;" in last and "stays" in last
    assert last in log.read_text().splitlines()[-1]


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_told_of_a_file_that_is_read_counts(monkeypatch, tmp_path, strict):
    monkeypatch.setattr(jssr, "convert", lambda **options: tell("a file in micrometres"))
    log = tmp_path / "jssr.log"
    code, said = run("convert", "a.tfm", "-o", "b.tfm", "--log-file", str(log), *(["--strict"] if strict else []))
    assert code == (4 if strict else 0) and said.count("warning: a file in micrometres") == 1
    assert "WARNING a file in micrometres" in log.read_text()


@pytest.mark.parametrize(("name", "code"), [("PASS", 0), ("CHECK", 4)])
def test_strict_counts_the_verdict_check(monkeypatch, tmp_path, name, code):
    verdict = Verdict(name, ("It agrees.",), 1.0, 2.0)
    result = {"warnings": [], "dice": {}, "time_s": {"total": 1.0}, "peak_memory_mib": 1, "folds_percent": 0.0,
              "optimisation": None}  # fmt: skip
    found = SimpleNamespace(
        verdict=verdict, result=result, states={}, moving=SimpleNamespace(name="m"),
        known=SimpleNamespace(fixed_labels=None),
    )  # fmt: skip
    monkeypatch.setattr(jssr, "register", lambda **options: found)
    monkeypatch.setattr("jssr.cli.scans.read_json", lambda folder: {})
    words = ("register", "a.nii.gz", "b.nii.gz", "-o", str(tmp_path / "out"))
    assert run(*words)[0] == 0
    ended, said = run(*words, "--strict")
    assert ended == code and ("verdict is CHECK" in said.strip().splitlines()[-1]) == (name == "CHECK")


def test_the_log_has_the_command_its_warnings_and_errors(segmented, tmp_path):
    log = tmp_path / "jssr.log"
    run("segment", "x.nii.gz", "-o", "o.nii.gz", "--log-file", str(log))
    run("warp", "missing.nii.gz", "--transform", "no.tfm", "-o", "o.nii.gz", "--log-file", str(log))
    lines = log.read_text().splitlines()
    assert any("WARNING a liver of 12 ml" in line for line in lines)
    assert any("ERROR" in line and "missing.nii.gz" in line for line in lines)
    assert all(line[:4].isdigit() for line in lines)  # each with its time
    assert run("segment", "x.nii.gz", "-o", "o", "--log-file", str(tmp_path / "no" / "log"))[0] == 2


def test_the_log_is_no_other_file(segmented, tmp_path):
    scan = tmp_path / "notes.csv"
    scan.write_text("name,x,y,z\na,1,2,3\n")
    code, said = run("segment", "x.nii.gz", "-o", "o.nii.gz", "--log-file", str(scan))
    assert code == 2 and "notes.csv" in " ".join(said.split()) and scan.read_text().startswith("name,x")
    for path in ("in.nii.gz", "made.nii.gz"):  # neither is there: what the command reads and writes all the same
        code, _ = run("segment", str(tmp_path / "in.nii.gz"), "-o", str(tmp_path / "made.nii.gz"),
                      "--log-file", str(tmp_path / "." / path))  # fmt: skip
        assert code == 2 and not (tmp_path / path).exists()
    empty = tmp_path / "empty.log"
    empty.touch()
    for _ in range(2):
        assert run("segment", "x.nii.gz", "-o", "o.nii.gz", "--log-file", str(empty))[0] == 0
    assert sum(" done" in line for line in empty.read_text().splitlines()) == 2


def test_defaults_come_from_a_file_and_the_command_line_wins(segmented, tmp_path, monkeypatch):
    config = tmp_path / "mine.toml"
    config.write_text('[segment]\nthreads = 3\ndevice = "cpu"\nmoving = true\n')
    assert run("--config", str(config), "segment", "x.nii.gz", "-o", "o")[0] == 0
    assert segmented["threads"] == 3 and segmented["moving"] is True
    monkeypatch.setenv("JSSR_CONFIG", str(config))
    run("segment", "x.nii.gz", "-o", "o", "--threads", "2")
    assert segmented["threads"] == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[segment]\nthread = 3", ["[segment]", "'thread'", "'threads'"]),
        ("[segmnt]\nthreads = 3", ["'segmnt'", "'segment'"]),
        ("threads = 3", ["'threads'", "table"]),
        ("[segment", ["mine.toml", "TOML"]),
        (None, ["mine.toml", "TOML"]),
    ],
)
def test_defaults_that_are_none_are_refused(text, says, tmp_path):
    config = tmp_path / "mine.toml"
    if text is not None:
        config.write_text(text)
    code, said = run("--config", str(config), "segment", "x.nii.gz", "-o", "o")
    assert code == 1 and all(part in said for part in says)


def test_a_value_of_the_wrong_kind_in_the_defaults_is_wrong_use(segmented, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('[segment]\nthreads = "many"\n')
    assert run("--config", str(config), "segment", "x.nii.gz", "-o", "o")[0] == 2


def test_an_option_of_another_command_is_said_to_be_of_that_command():
    code, said = run("align", "study", "-o", "out", "--fixed-mask", "m.nii.gz")
    words = " ".join(said.replace("│", " ").split())
    assert code == 2 and "option of register" in words and "--fixed-labels" not in words


def test_json_stays_one_document_beside_strict(segmented):
    done = RUNNER.invoke(app, ["segment", "x.nii.gz", "-o", "o", "--json", "--strict"])
    assert done.exit_code == 4 and json.loads(done.stdout)["label_names"] == {"1": "liver"}


def test_completion_is_offered_for_a_shell():
    done = RUNNER.invoke(app, ["--help"])
    assert "--install-completion" in done.output


def test_a_phase_named_twice_is_said(tmp_path):
    code, said = run("series", str(tmp_path), "--phase", "arterial=2", "--phase", "arterial=1")
    assert code == 2 and "twice" in " ".join(said.split())


def test_repeatable_defaults_are_lists(monkeypatch, tmp_path):
    config, given = tmp_path / "mine.toml", list[object]()
    config.write_text('[series]\nphase = ["arterial=4:2", "venous=5"]\nleave = ["7"]\n')
    monkeypatch.setattr(jssr, "series", lambda *words: given.extend(words) or ())
    assert run("--config", str(config), "series", str(tmp_path))[0] == 0
    assert given[1:] == [{"arterial": "4:2", "venous": "5"}, ["7"]]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("segment", 'threads = "many"'), ("segment", "threads = true"), ("segment", 'device = ["cpu"]'),
        ("segment", "moving = 1"), ("series", 'phase = "arterial=4"'), ("warp", 'to = "middle"'),
    ],
)  # fmt: skip
def test_a_wrong_value_of_the_defaults_is_told_with_its_file_and_table(tmp_path, table, line):
    config = tmp_path / "mine.toml"
    config.write_text(f"[{table}]\n{line}\n")
    code, said = run("--config", str(config), "segment", "x.nii.gz", "-o", "o")
    said = "".join(said.split())
    assert code == 2 and "mine.toml" in said and f"[{table}]" in said and line.split(" =")[0] in said


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_of_a_training_speaks(rank, monkeypatch):
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, str(value))
    shown = []

    def train(on_note, **options):
        on_note("beginning")
        shown.append(options["recipe"])
        return SimpleNamespace(to_dict=lambda: {"weights": "w"}, weights="w")

    monkeypatch.setattr(jssr, "train", train)
    words = ("train", "jssr-compact", "--data", "c", "-o", "r")
    assert run(*words) == (0, "" if rank else "beginning\ntrained; weights in w\n")
    code, said = run(*words, "--json")
    assert code == 0 and (said == "" if rank else json.loads(said) == {"weights": "w"})
    assert shown == ["jssr-compact"] * 2


def test_what_another_process_tells_is_not_told_again(monkeypatch):
    def train(**options):
        error = TrainingError("the disc is gone")
        error.told = options["recipe"] == "told"  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(jssr, "train", train)
    assert run("train", "told", "--data", "c", "-o", "r") == (1, "")
    code, said = run("train", "first", "--data", "c", "-o", "r")
    assert code == 1 and "the disc is gone" in said
