"""The cohorts that the register is judged on."""

import sys

from project_files import project

from jssr.io.cohort import Case, Cohort

PHASES = ("non-contrast", "arterial", "venous", "delay", "t1")


def test_each_patient_has_one_ct_phase_in_turn_and_its_t1_scan(tmp_path, monkeypatch):
    source = tmp_path / "source"
    cases = []
    for name in ("a", "b", "c", "d"):
        files = {phase: f"{name}/{phase}.nii.gz" for phase in PHASES}
        (source / name).mkdir(parents=True)
        for file in files.values():
            (source / file).write_bytes(file.encode())
        truth = {phase: file for phase, file in files.items() if phase != "venous"}
        cases.append(Case(id=name, split="train", images=files, labels=files, truth=truth))
    Cohort(name="phantom", reference_phase="venous", cases=cases, label_names={1: "liver"}).save(source)
    monkeypatch.setattr(sys, "argv", ["cohorts.py", str(source), str(tmp_path / "out")])
    project("register_cohorts", "register/cohorts.py").main()
    ct, t1 = (Cohort.load(tmp_path / "out" / name) for name in ("ct", "t1"))
    moving = [[phase for phase in case.images if phase != "venous"] for case in ct.cases]
    assert moving == [["non-contrast"], ["arterial"], ["delay"], ["non-contrast"]]
    assert all(list(case.truth) == ["t1"] and set(case.labels) == {"venous", "t1"} for case in t1.cases)
    assert {case.split for case in (*ct.cases, *t1.cases)} == {"test"} and ct.label_names == {1: "liver"}
    assert ct.image(ct.cases[1], "arterial").read_bytes() == b"b/arterial.nii.gz"  # a link to the scan itself
