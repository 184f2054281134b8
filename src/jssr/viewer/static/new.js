// Two scans, sent to the program on this machine, and the progress of their alignment.
"use strict";

const $ = (id) => document.getElementById(id);
const chosen = { fixed: [], moving: [] };
const WORDS = {
  read: "reading the scans", load: "loading the system", prepare: "aligning rigidly", network: "aligning", refine: "refining",
  fullsize: "bringing it to full size", inverse: "turning the map around", measure: "measuring", writing: "writing",
};
let job = null;
let sending = null;

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function choose(scan, files) {
  // What a folder of scans often holds beside them; anything else that is no scan is told by the program.
  const some = [...files].filter((f) => !f.name.startsWith(".") && f.name !== "DICOMDIR");
  chosen[scan] = some;
  const box = document.querySelector(`[data-scan="${scan}"]`);
  const size = some.reduce((sum, f) => sum + f.size, 0) / 2 ** 20;
  box.querySelector("output").textContent = some.length
    ? `${some.length === 1 ? some[0].name : `${some.length} files`} (${size.toFixed(1)} MiB)` : "or drop it here";
  box.classList.toggle("full", some.length > 0);
  $("go").disabled = !chosen.fixed.length || !chosen.moving.length || job !== null;
}

function pick(scan, folder) {
  const input = document.createElement("input");
  input.type = "file";
  input.webkitdirectory = folder;
  input.addEventListener("change", () => choose(scan, input.files));
  input.click();
}

// The files of what was dropped, folders read through.
async function dropped(items) {
  const out = [];
  const walk = async (entry) => {
    if (entry.isFile) out.push(await new Promise((done, failed) => entry.file(done, failed)));
    else {
      const reader = entry.createReader();
      for (;;) { // a reader gives at most 100 entries at a time
        const some = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  };
  for (const entry of [...items].map((item) => item.webkitGetAsEntry()).filter(Boolean)) await walk(entry);
  return out;
}

function send(event) {
  event.preventDefault();
  complain("");
  const body = new FormData();
  body.append("system", $("system").value);
  body.append("refine", $("refine").value);
  for (const field of document.querySelectorAll("#form [name]")) {
    if (field.type !== "file") body.append(field.name, field.value);
    else if (field.files.length) body.append(field.name, field.files[0], field.files[0].name);
  }
  for (const scan of ["fixed", "moving"]) for (const file of chosen[scan]) body.append(scan, file, file.name);
  sending = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
  sending.upload.addEventListener("progress", (e) => show(`sending, ${(e.loaded / 2 ** 20).toFixed(0)} MiB`, e.loaded / e.total));
  sending.addEventListener("load", () => {
    let answer = {};
    try {
      answer = JSON.parse(sending.responseText);
    } catch {
      answer.error = `the program failed (${sending.status}); its terminal tells more`;
    }
    const fine = sending.status === 201;
    sending = null;
    if (!fine) return stop(answer.error || "the scans were refused");
    job = answer.id;
    follow();
  });
  sending.addEventListener("error", () => stop("the program does not answer; does it still run?"));
  sending.addEventListener("abort", () => stop(""));
  $("run").hidden = false;
  $("go").disabled = true;
  show("sending", 0);
  sending.open("POST", "/api/jobs");
  sending.send(body);
}

function show(text, share) {
  $("stage").textContent = text;
  $("bar").value = share;
}

function stop(text) {
  [job, sending] = [null, null];
  $("run").hidden = true;
  $("go").disabled = !chosen.fixed.length || !chosen.moving.length;
  complain(text);
}

async function follow() {
  while (job) {
    let told = null;
    try {
      told = await (await fetch(`/api/jobs/${job}`)).json();
    } catch {
      return stop("the program does not answer; does it still run?");
    }
    if (told.error) return stop(told.error);
    if (told.state === "done") return location.assign(`/view/${job}`);
    if (told.state === "failed") return stop(told.message);
    if (told.state === "cancelled") return stop("");
    show(told.state === "waiting" ? "waiting for the alignment before it" : WORDS[told.stage] || told.stage || "starting", told.done / told.of);
    await new Promise((done) => setTimeout(done, 400));
  }
}

function cancel() {
  if (sending) sending.abort();
  else if (job) fetch(`/api/jobs/${job}`, { method: "DELETE" });
}

for (const box of document.querySelectorAll("[data-scan]")) {
  const scan = box.dataset.scan;
  for (const button of box.querySelectorAll("[data-pick]")) button.addEventListener("click", () => pick(scan, button.dataset.pick === "folder"));
  box.addEventListener("dragover", (e) => { e.preventDefault(); box.classList.add("over"); });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", async (e) => {
    e.preventDefault();
    box.classList.remove("over");
    choose(scan, await dropped(e.dataTransfer.items));
  });
}
// A file dropped beside the boxes must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (e) => e.preventDefault());
$("form").addEventListener("submit", send);
$("cancel").addEventListener("click", cancel);
