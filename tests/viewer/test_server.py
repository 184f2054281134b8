"""The viewer's server: what it shows, what it refuses, uploads and their alignment."""

from __future__ import annotations

import os
import re
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
import pytest
from dicom_series import write_volume
from starlette.testclient import TestClient
from tiny_jssr import ball, ball_labels

from jssr.core.resampling import resample
from jssr.core.transform import Affine
from jssr.errors import JssrError
from jssr.io.images import read_image, write_image
from jssr.io.transforms.itk import write_affine
from jssr.registration.presets import PRESETS
from jssr.registration.settings import SIMILARITIES
from jssr.viewer import jobs
from jssr.viewer.server import STATIC, create_app
from jssr.viewer.volumes import Scans

HOST = "http://127.0.0.1"
OURS = {"Origin": HOST}


@pytest.fixture
def client(aligned, tmp_path):
    with TestClient(create_app(aligned, tmp_path, 2 * 2**20), base_url=HOST) as one:
        yield one


def test_pages(client):
    assert client.get("/", follow_redirects=False).headers["location"] == "/view/given"
    for path in ("/view/given", "/new", "/static/view.js", "/static/compose.js", "/static/new.js", "/static/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["content-security-policy"].startswith("default-src 'none'")
        # Nothing is loaded from anywhere else.
        assert "http://" not in answer.text and "https://" not in answer.text


def test_without_a_result_two_scans_are_asked_for(tmp_path):
    with TestClient(create_app(None, tmp_path), base_url=HOST) as one:
        assert one.get("/", follow_redirects=False).headers["location"] == "/new"
        assert one.get("/api/results/given").status_code == 404


def test_a_folder_without_a_result(tmp_path):
    with pytest.raises(JssrError, match=r"no readable result\.json"):
        create_app(tmp_path, tmp_path)


def test_result(client, aligned):
    told = client.get("/api/results/given").json()
    assert (told["phases"], told["phase"], told["name"]) == (["arterial"], "arterial", "arterial")
    assert told["shape"] == [32, 30, 24] and told["fixed"] == "venous" and told["report"]
    assert told["images"]["fixed"] | {"low": 0, "high": 0} == {
        "slope": 1.0, "intercept": 0.0, "low": 0, "high": 0, "ct": True,
    }  # fmt: skip
    assert told["labels"] == {w: {"1": "liver", "2": "spleen"} for w in ("fixed", "moved")}
    assert [f["label"] for f in told["figures"]][:2] == ["Dice, liver", "Landmark error"]
    assert str(aligned.parent) not in client.get("/api/results/given").text


def volume(client, name, code=200):
    answer = client.get(f"/api/results/given/volumes/{name}", params={"phase": "arterial"})
    assert answer.status_code == code, answer.text
    return answer.content


def test_volumes_lie_on_the_fixed_grid(client, aligned, cohort):
    fixed, moving = (read_image(cohort / "c0" / f"{p}.nii.gz") for p in ("venous", "arterial"))
    for name, expected in (
        ("fixed", fixed.array),
        ("before", resample(moving, fixed.grid, fill=float(moving.data.min())).array),
        ("moved", read_image(aligned / "arterial" / "moved.nii.gz").array),
    ):
        shown = np.frombuffer(volume(client, f"{name}.raw"), "<i2").reshape(fixed.grid.shape, order="F")
        assert np.abs(shown - expected).max() <= 0.5


def test_scans_without_a_unit_use_all_16_bits(client, aligned):
    told = client.get("/api/results/given").json()["images"]["synthesised"]
    stored = np.frombuffer(volume(client, "synthesised.raw"), "<i2").astype(float)
    synthesised = read_image(aligned / "arterial" / "synthesised.nii.gz").array.ravel(order="F")
    assert np.abs(stored * told["slope"] + told["intercept"] - synthesised).max() <= 0.51 * told["slope"]


def test_overlays(client, aligned, tmp_path):
    field = read_image(aligned / "arterial" / "moved.nii.gz").grid
    for name in ("canvas", "fixed_labels", "moved_labels", "displacement"):
        (tmp_path / f"{name}.nii").write_bytes(volume(client, f"{name}.nii"))
        kind = "image" if name == "displacement" else "labels"
        assert read_image(tmp_path / f"{name}.nii", kind).grid.same_as(field)
    told = client.get("/api/results/given").json()["maps"]
    (tmp_path / "jacobian.nii").write_bytes(volume(client, "jacobian.nii"))
    assert abs(read_image(tmp_path / "jacobian.nii").array).max() < told["jacobian"][1]
    size = read_image(tmp_path / "displacement.nii").array
    assert size.max() == pytest.approx(told["displacement"][1], abs=0.06)


@pytest.mark.parametrize("name", ["other.raw", "fixed.nii", "canvas.raw", "..%2Fresult.json", "moving_labels.nii"])
def test_no_other_volumes(client, name):
    assert b"no such" in volume(client, name, 404) or b"Not Found" in volume(client, name, 404)


WAYS_OUT = (
    "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "..%252fsecret.txt", "link.txt",
    "arterial/../../secret.txt", "folder/secret.txt", "....//secret.txt", "..\\secret.txt", "%00", "", "arterial",
    "a" * 5000,
)  # fmt: skip


def test_files_of_the_result_and_no_others(client, aligned, tmp_path):
    secret = aligned.parent / "secret.txt"
    secret.write_text("secret")
    (aligned / "link.txt").symlink_to(secret)
    (aligned / "folder").symlink_to(aligned.parent)
    base = "/api/results/given/files"
    assert client.get(f"{base}/result.json").json()["reference_phase"] == "venous"
    assert "script" not in client.get(f"{base}/report.html").headers["content-security-policy"]
    for way in WAYS_OUT + (str(secret), f"/{secret}"):
        answer = client.get(f"{base}/{way}")
        assert answer.status_code == 404 and "secret" not in answer.text, way
    for way in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py"):
        assert client.get(way).status_code == 404, way
    (aligned / "link.txt").unlink()
    (aligned / "folder").unlink()


@pytest.mark.parametrize("phase", ["..", "venous", "arterial/..", "/etc"])
def test_no_other_phases(client, phase):
    assert client.get("/api/results/given", params={"phase": phase}).status_code == 404


def test_foreign_names_and_pages_are_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9"}):
        assert client.post("/api/jobs", headers=headers, content=b"x").status_code == 403
        assert client.delete("/api/jobs/x", headers=headers).status_code == 403


@pytest.fixture
def in_thread(monkeypatch):
    """Alignments in a thread: a process takes seconds to start. Those that are stopped have theirs."""

    class Process(threading.Thread):
        def start(self):
            pipe, *more = self._args
            self._args = (Connection(os.dup(pipe.fileno()), readable=False), *more)  # the caller closes its own
            super().start()

    context = type("Context", (), {"Process": Process})
    monkeypatch.setattr(jobs.mp, "get_context", lambda name: context)


def packed(scan, tmp_path, name):
    write_image(scan, tmp_path / name, "int16")
    return (name, (tmp_path / name).read_bytes())


def sent(client, fixed, moving, **form):
    files = [("fixed", f) for f in fixed] + [("moving", f) for f in moving]
    return client.post("/api/jobs", headers=OURS, files=files, data=form)


def ended(client, key, seconds=90):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = client.get(f"/api/jobs/{key}").json()
        if told["state"] not in ("waiting", "running"):
            return told
        time.sleep(0.1)
    raise AssertionError(f"not ended after {seconds} s: {told}")


def test_uploads_that_are_refused(client, tmp_path):
    good = packed(ball(), tmp_path, "a.nii.gz")
    assert "no file was sent" in sent(client, [good], []).json()["error"]
    assert "not all are DICOM" in sent(client, [good], [good, good]).json()["error"]
    assert "no such system" in sent(client, [good], [good], system="rm -rf").json()["error"]
    assert "refine is a number" in sent(client, [good], [good], refine="-1").json()["error"]
    big = sent(client, [good], [("big.nii", bytes(3 * 2**20))])
    assert big.status_code == 413 and "larger than 0.00195 GiB" in big.json()["error"]
    endless = client.post("/api/jobs", headers=OURS, content=iter([b"x"]))
    assert endless.status_code == 411
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]  # nothing of it is left


def test_two_scans_are_aligned(client, tmp_path):
    fixed = packed(ball(name="y"), tmp_path, ["..", "..", "y.nii.gz"][-1])
    (name, content) = packed(ball((6, 0, 0), name="x"), tmp_path, "x.nii.gz")
    answer = sent(client, [fixed], [(f"../../{name}", content)], system="discrete", refine="5")
    assert answer.status_code == 201
    key = answer.json()["id"]
    told = ended(client, key)
    assert (told["state"], told["done"]) == ("done", told["of"]), told
    result = client.get(f"/api/results/{key}").json()
    assert (result["fixed"], result["name"]) == ("fixed.nii.gz", "moving.nii.gz")
    shown = np.frombuffer(client.get(f"/api/results/{key}/volumes/moved.raw").content, "<i2")
    assert np.abs(shown - ball().array.ravel(order="F")).mean() < 12
    assert client.get(f"/api/results/{key}/files/report.html").status_code == 200
    assert client.get(f"/api/results/{key}/files/../fixed.nii.gz").status_code == 404


def test_masks_a_transform_and_knobs_come_with_the_scans(client, tmp_path, in_thread):
    fixed, moving = packed(ball(), tmp_path, "y.nii.gz"), packed(ball((6, 0, 0)), tmp_path, "x.nii.gz")
    write_image(ball_labels(), tmp_path / "organ.nii.gz")
    organ = ("organ.nii.gz", (tmp_path / "organ.nii.gz").read_bytes())
    matrix = np.eye(4)
    matrix[0, 3] = 6.0
    write_affine(Affine(matrix), tmp_path / "start.tfm")
    files = [("fixed", fixed), ("moving", moving), ("fixed_mask", organ), ("fixed_labels", organ)]
    files += [("transform", ("../start.TFM", (tmp_path / "start.tfm").read_bytes()))]
    knobs = {"system": "rigid", "refine": "1", "preset": "ct-lung", "smoothness": "2", "spacing": "", "sliding": "no",
             "rigid_labels": "1", "similarity": "", "initial": "geometry"}  # fmt: skip
    answer = client.post("/api/jobs", headers=OURS, files=files, data=knobs)
    assert answer.status_code == 201, answer.text
    told = ended(client, answer.json()["id"])
    assert told["state"] == "done", told
    result = client.get(f"/api/results/{answer.json()['id']}/files/result.json").json()
    assert result["preset"] == "ct-lung" and result["initial"]["start"] == "linear"
    assert result["masks"]["fixed_percent"] > 0 and result["optimisation"]["rigid_parts"] == 1
    assert result["optimisation"]["smoothness"] == 2.0 and not result["optimisation"]["sliding"]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"preset": "ct-spleen"}, "preset: expected ct-abdomen"),
        ({"similarity": "ncc"}, "similarity: expected lncc"),
        ({"initial": "/etc/passwd"}, "initial: expected geometry, centre"),
        ({"sliding": "maybe"}, "sliding: expected yes, no"),
        ({"smoothness": "0"}, "smoothness is a number above 0"),
        ({"spacing": "inf"}, "spacing is a number above 0"),
        ({"spacing": "wide"}, "spacing is a number above 0"),
    ],
)
def test_forms_that_are_refused(client, tmp_path, form, says):
    good = packed(ball(), tmp_path, "a.nii.gz")
    answer = sent(client, [good], [good], **form)
    assert answer.status_code == 400 and says in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("start.exe", b"x", "expected a file that ends in"),
        ("start.txt", b'(InitialTransformParametersFileName "/etc/passwd")', "begins with that of another file"),
    ],
)
def test_transforms_that_are_refused(client, tmp_path, name, content, says):
    good = packed(ball(), tmp_path, "a.nii.gz")
    files = [("fixed", good), ("moving", good), ("transform", (name, content))]
    answer = client.post("/api/jobs", headers=OURS, files=files)
    assert answer.status_code == 400 and says in answer.json()["error"]


def test_the_page_offers_what_the_form_takes():
    page = (STATIC / "new.html").read_text()
    offered = set(re.findall(r'name="(\w+)"', page)) - {"viewport"}
    taken = {"preset", "initial", "transform", "rigid_labels", "similarity", "smoothness", "spacing", "sliding"}
    assert offered == taken | {"fixed_mask", "moving_mask", "fixed_labels", "moving_labels"}
    for name in (*PRESETS, *SIMILARITIES):
        assert f"<option>{name}</option>" in page


def test_what_is_no_scan_is_told_in_words(client, tmp_path, in_thread):
    good = packed(ball(), tmp_path, "a.nii.gz")
    key = sent(client, [good], [("b.nii.gz", b"nonsense")]).json()["id"]
    told = ended(client, key)
    assert told["state"] == "failed" and told["message"].startswith("moving.nii.gz: ")
    assert str(tmp_path) not in told["message"]
    assert client.get(f"/api/results/{key}").status_code == 404


def test_one_runs_one_waits_and_both_can_be_cancelled(client, tmp_path):
    write_volume(tmp_path / "s", ball())
    slices = [(p.name, p.read_bytes()) for p in sorted((tmp_path / "s").iterdir())]
    first, second = (sent(client, slices, slices, system="discrete", refine="500").json() for _ in range(2))
    assert (first["state"], second["state"]) == ("running", "waiting")
    third = sent(client, slices, slices)
    assert third.status_code == 409 and "another waits" in third.json()["error"]
    assert client.delete(f"/api/jobs/{second['id']}", headers=OURS).json()["state"] == "cancelled"
    fourth = sent(client, slices, slices, system="discrete", refine="0").json()
    assert fourth["state"] == "waiting"
    client.delete(f"/api/jobs/{first['id']}", headers=OURS)
    assert ended(client, first["id"])["state"] == "cancelled"
    assert ended(client, fourth["id"])["state"] == "done"  # its turn came
    assert client.delete(f"/api/jobs/{fourth['id']}", headers=OURS).json()["state"] == "done"
    assert client.get("/api/jobs/none").status_code == 404


def test_results_of_radiographs_are_told_apart(aligned, tmp_path, monkeypatch):
    view = Scans(aligned / "arterial", "arterial").view
    object.__setattr__(view, "fixed", type("V", (), {"grid": type("G", (), {"ndim": 2})(), "name": "x"})())
    monkeypatch.setattr("jssr.viewer.volumes.view_of", lambda *given: view)
    with pytest.raises(JssrError, match="2D images"):
        Scans(aligned / "arterial", "arterial")


def test_results_run_no_scripts(client, aligned):
    for name in ("x.htm", "x.svg", "x.js", "x.xhtml"):
        (aligned / name).write_text("<script>1</script>")
        policy = client.get(f"/api/results/given/files/{name}").headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "script" not in policy
        (aligned / name).unlink()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("x.nrrd", b"NRRD0005\ntype: short\ndimension: 3\nsizes: 8 8 8\nencoding: raw\nData File: /etc/hostname\n\n"),
        ("x.nrrd", b"NRRD0005\r\ntype: short\r\ndatafile: LIST\r\n/etc/hostname\r\n"),
        ("x.mha", b"ObjectType = Image\nNDims = 3\nElementDataFile = /etc/hostname\n"),
        ("x.mha", b"ObjectType = Image\nNDims = 3\n"),
    ],
)
def test_scans_whose_voxels_lie_elsewhere_are_refused(client, tmp_path, name, head):
    good = packed(ball(), tmp_path, "a.nii.gz")
    answer = sent(client, [(name, head + bytes(2000))], [good])
    assert answer.status_code == 400 and "voxels are in another file" in answer.json()["error"]


def test_whole_nrrd_and_mha_are_taken(client, tmp_path):
    scans = [packed(ball(), tmp_path, name) for name in ("a.nrrd", "b.mha")]
    answer = sent(client, scans[:1], scans[1:], system="discrete", refine="500")
    assert answer.status_code == 201
    client.delete(f"/api/jobs/{answer.json()['id']}", headers=OURS)


def test_the_address_holds_a_secret(aligned, tmp_path):
    with TestClient(create_app(aligned, tmp_path, token="abc"), base_url=HOST) as one:
        for way in ("/", "/?token=no", "/view/given", "/api/results/given", "/static/view.js", "/view/given?token=abc"):
            assert one.get(way).status_code == 403, way
        assert one.get("/?token=abc").status_code == 200  # and on to the page, by its cookie
        assert one.get("/api/results/given").status_code == 200


def test_the_space_is_cleared_when_the_server_stops(aligned, tmp_path):
    said = []
    with TestClient(create_app(aligned, tmp_path, on_close=lambda: said.append("closed")), base_url=HOST):
        assert not said
    assert said == ["closed"]


def test_sizes_on_the_page_are_in_binary_units():
    page = (STATIC / "new.js").read_text()
    assert page.count("2 ** 20") == 2 == page.count(" MiB") and " MB" not in page
