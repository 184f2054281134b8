"""A task on many patients: nothing lost, nothing done twice, one that fails fails alone."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter

import pytest

from jssr.cohorts.batch import Handling, WouldReplaceError, run
from jssr.cohorts.cluster import Workers, connected, in_cluster
from jssr.cohorts.manifest import Results, locked
from jssr.errors import Interrupted, OptionError, OutputError, WorkerError
from tests.support.batch_jobs import act, patients_of

pytest.importorskip("distributed")

SETTINGS = {"task": "align", "version": "1", "options": {"refine": 3}}


def results(out, **options):
    return Results(out, {**SETTINGS, "options": {**SETTINGS["options"], **options}})


def begun(out):
    """How often each patient was begun."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return Counter(line["patient"] for line in lines if line["event"] == "begun")


def files(out):
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


def test_what_is_done_is_kept_and_what_fails_fails_alone(tmp_path):
    """One run with every kind of failure, then the same again: two clusters' starts are enough."""
    made, out = tmp_path / "in", tmp_path / "out"
    made.mkdir()
    patients = patients_of(made, 5, p1="damaged", p2="kill", p3="bug")
    first = run(patients, act, results(out), Workers(2))
    assert sorted(first.done) == ["p0", "p4"] and not first.kept
    assert first.failed["p1"] == "p1: is damaged" and "KeyError" in first.failed["p3"]
    assert "killed" in first.failed["p2"]
    assert (out / "p0" / "deep" / "second.txt").read_text() == "scan 0, twice"
    once = begun(out)
    assert (once["p0"], once["p2"], once["p4"]) == (1, 3, 1)  # what is finished is not done again, who kills is tried
    assert not [name for name in files(out) if ".tmp" in name or name.startswith(("p1", "p2", "p3"))]

    patients = patients_of(made, 5, p1="damaged", p3="bug")  # what killed p2 is gone
    again = run(patients, act, results(out), Workers(2))
    assert sorted(again.kept) == ["p0", "p4"] and again.done == ["p2"] and sorted(again.failed) == ["p1", "p3"]
    twice = begun(out) - once
    assert twice == {"p2": 1, "p3": 1}  # p1's own file is to blame: not tried again

    patients = patients_of(made, 5)
    last = run(patients, act, results(out), Workers(1), Handling(retry_failed=True))
    assert sorted(last.done) == ["p1", "p3"] and not last.failed and not list((out / "failures").iterdir())


def test_results_of_something_else_are_replaced_only_when_told(tmp_path):
    made, out = tmp_path / "in", tmp_path / "out"
    made.mkdir()
    patients = patients_of(made, 2)
    run(patients, act, results(out), Workers(1))
    (made / "p1.txt").write_text("another scan", encoding="utf-8")
    with pytest.raises(WouldReplaceError, match=r"a patient that differs in inputs \(p1\)"):
        run(patients, act, results(out), Workers(1))
    with pytest.raises(WouldReplaceError, match=r"2 patients that differ in refine"):
        run(patients, act, results(out, refine=4), Workers(1))
    assert (out / "p1" / "first.txt").read_text() == "scan 1, once"
    done = run(patients, act, results(out), Workers(1), Handling(replace=True))
    assert (done.done, done.kept) == (["p1"], ["p0"])
    assert (out / "p1" / "first.txt").read_text() == "another scan, once"
    (out / "p0" / "first.txt").unlink()  # a result that is not whole is none
    assert run(patients, act, results(out), Workers(1)).done == ["p0"]


def test_a_worker_that_needs_more_memory_ends_its_patient(tmp_path):
    patients = patients_of(tmp_path, 3, p0="memory")
    found = run(patients, act, results(tmp_path / "out"), Workers(1, memory="1GiB"))
    assert sorted(found.done) == ["p1", "p2"]
    assert "memory" in found.failed["p0"] and "--memory" in found.failed["p0"]


def test_a_full_disk_ends_its_patient(tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        found = run(patients_of(tmp_path, 3, p1="large"), act, results(out / "out"), Workers(1))
        assert sorted(found.done) == ["p0", "p2"] and "no space left" in found.failed["p1"].lower()
        subprocess.run(["mount", "-o", "remount,ro", out], check=True)
        with pytest.raises(OutputError, match="not writable"):
            run(patients_of(tmp_path, 4), act, results(out / "out"), Workers(1))
    finally:
        subprocess.run(["umount", out], check=True)


def test_two_runs_do_not_share_a_folder(tmp_path):
    with locked(tmp_path), pytest.raises(OutputError, match="another run"):
        run(patients_of(tmp_path, 1), act, results(tmp_path), Workers(1))
    assert run(patients_of(tmp_path, 0), act, results(tmp_path), Workers(1)).done == []


def test_a_clock_that_jumps_loses_no_worker(tmp_path, monkeypatch):
    """An hour forward while patients are worked on: a scheduler that judged by it would take the workers for dead."""
    import distributed.scheduler as scheduler

    real, jump = scheduler.time, threading.Event()
    monkeypatch.setattr(scheduler, "time", lambda: real() + (7200 if jump.is_set() else 0))
    found = run(patients_of(tmp_path, 4, p1="slow1"), act, results(tmp_path / "out"), Workers(1),
                on_patient=lambda *_: jump.set())  # fmt: skip
    assert len(found.done) == 4 and not found.failed


def test_an_interrupt_says_what_is_done(tmp_path):
    def stop(done, total, last):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="1 of 3 patients are done"):
        run(patients_of(tmp_path, 3, p1="slow30"), act, results(out), Workers(1), on_patient=stop)
    assert not list(out.glob(".tmp*")) and (out / "p0" / "manifest.json").is_file()


def test_workers_are_checked(tmp_path):
    with pytest.raises(OptionError, match="256 MiB"):
        Workers(memory="1 MB")
    with pytest.raises(OptionError, match="2 GiB, got 'lots'"):
        Workers(memory="lots")
    with pytest.raises(OptionError, match="workers"):
        Workers(0)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("jssr.cohorts.cluster.CONNECT_S", 0.5)
    with pytest.raises(WorkerError, match="127.0.0.1:9"), connected(Workers(scheduler="tcp://127.0.0.1:9")):
        pass


def test_a_worker_that_does_not_come_back_is_started_anew(monkeypatch):
    """Dask gives up a process that ends while it starts: without another the run would wait for ever."""
    monkeypatch.setattr("jssr.cohorts.cluster.LOST_S", 0.5)
    with connected(Workers(1)) as client:
        client.cluster.sync(client.cluster.workers[0].close)
        assert list(in_cluster(client, str.upper, ["p0"])) == [("p0", "P0")]
