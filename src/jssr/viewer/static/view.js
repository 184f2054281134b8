// The page of one result: fixed scan on the left; the moving scan, or both put together, on the right.
"use strict";

const $ = (id) => document.getElementById(id);
const KEY = location.pathname.split("/").pop();
// Level and width in HU; MR has no scale, so it is windowed by its own percentiles, tight or wide.
const CT = [["Abdomen", 40, 400], ["Liver", 90, 150], ["Lung", -600, 1500], ["Bone", 400, 1800]];
const MR = [["Usual", 1], ["Bright", 0.6], ["Dark", 1.6]];
const COLOURS = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]];

const now = { phase: "", state: "after", mode: "moving", window: 0, labels: 0.35, map: "" };
let told = null; // what the server says of the result
let raw = {}; // int16 voxels by name
let shades = {}; // greys by name, for the window of now
let panels = []; // NiiVue left and right
let maps = {}; // field overlays that are loaded

function address(name) {
  return `/api/results/${KEY}/volumes/${name}?phase=${encodeURIComponent(now.phase)}`;
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `${answer.status} ${answer.statusText}`);
  return answer;
}

function complain(error) {
  $("error").textContent = error.message || String(error);
  $("error").hidden = false;
  $("title").textContent = "This result cannot be shown";
}

async function panel(canvas) {
  const one = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.43, 0.71, 0.95, 0.8], crosshairWidth: 1, isRadiologicalConvention: true,
    multiplanarShowRender: 0, multiplanarLayout: 2, dragAndDropEnabled: false, loadingText: "loading", logLevel: "error",
    viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", isOrientationTextVisible: true, atlasOutline: 1,
    sagittalNoseLeft: true, dragMode: 3,
  });
  await one.attachToCanvas($(canvas));
  // Stretched blue, compressed red, as it was clear: the scan beneath is seen.
  one.addColormap("change", { R: [33, 247, 178], G: [102, 247, 24], B: [172, 247, 43], A: [255, 0, 255], I: [0, 128, 255] });
  return one;
}

async function open(phase) {
  $("phase").disabled = true; // one after the other
  try {
    await show(phase);
    $("error").hidden = true;
  } finally {
    $("phase").disabled = false;
  }
}

async function show(phase) {
  told = await (await fetched(`/api/results/${KEY}${phase ? `?phase=${encodeURIComponent(phase)}` : ""}`)).json();
  now.phase = told.phase;
  [raw, shades, maps] = [{}, {}, {}];
  now.map = $("map").value = "";
  describe();
  const base = { url: address("canvas.nii"), name: "canvas.nii", cal_min: 0, cal_max: 255, colormap: "gray" };
  const wanted = ["fixed", "moved", "before"].map(load);
  for (const one of panels) await one.loadVolumes([{ ...base }]);
  await Promise.all(wanted);
  for (const [i, name] of [[0, "fixed"], [1, "moved"]]) {
    if (told.labels[name]) await organs(panels[i], name);
  }
  draw();
  panels[0].createOnLocationChange();
}

async function load(name) {
  if (!raw[name]) raw[name] = new Int16Array(await (await fetched(address(`${name}.raw`))).arrayBuffer());
}

async function organs(one, name) {
  await one.addVolumeFromUrl({ url: address(`${name}_labels.nii`), name: `${name}_labels.nii`, opacity: now.labels });
  const ids = [0, ...Object.keys(told.labels[name]).map(Number)];
  const colour = (channel) => ids.map((i) => (i ? COLOURS[(i - 1) % COLOURS.length][channel] : 0));
  one.volumes[1].setColormapLabel({
    R: colour(0), G: colour(1), B: colour(2), A: ids.map((i) => (i ? 255 : 0)), I: ids,
    labels: ids.map((i) => told.labels[name][i] || ""),
  });
  one.updateGLVolume();
}

function describe() {
  document.title = `${told.name} on ${told.fixed} – jssr`;
  $("title").textContent = `${told.name} aligned to ${told.fixed}`;
  $("tools").hidden = false;
  $("phases").hidden = told.phases.length < 2;
  $("phase").replaceChildren(...told.phases.map((name) => new Option(name, name, false, name === told.phase)));
  $("figures").replaceChildren(...told.figures.map(figure));
  $("warnings").hidden = !told.warnings.length;
  $("warnings").replaceChildren(...told.warnings.map((text) => element("li", text)));
  $("report").hidden = !told.report;
  $("report").href = `/api/results/${KEY}/files/report.html`;
  document.querySelector('[data-mode="synthesised"]').hidden = !told.images.synthesised;
  $("labels-label").hidden = !Object.keys(told.labels).length;
  $("map-label").hidden = !Object.keys(told.maps).length;
  const presets = told.images.fixed.ct ? CT : MR;
  $("windows").replaceChildren($("windows").querySelector("legend"), ...presets.map(([name], i) => {
    const button = element("button", name);
    button.dataset.window = i;
    button.addEventListener("click", () => change({ window: i }));
    return button;
  }));
  now.window = 0;
}

function element(kind, text) {
  const out = document.createElement(kind);
  out.textContent = text;
  return out;
}

function figure(one) {
  const [row, value] = [document.createElement("div"), document.createElement("dd")];
  if (one.before) value.append(element("span", `${one.before} → `));
  value.append(one.after);
  row.append(element("dt", one.label), value);
  return row;
}

// The window of an image: CT by its preset, anything else by its own percentiles, scaled.
function range(name) {
  const image = told.images[name];
  if (image.ct) {
    const [, level, width] = CT[told.images.fixed.ct ? now.window : 0];
    return [level - width / 2, level + width / 2];
  }
  const factor = told.images.fixed.ct ? 1 : MR[now.window][1];
  return [image.low, image.low + (image.high - image.low) * factor];
}

function shade(name) {
  const key = `${name} ${range(name)}`;
  if (shades[name]?.key !== key) shades[name] = { key, values: greys(raw[name], told.images[name], ...range(name)) };
  return shades[name].values;
}

function moving() {
  if (now.mode === "synthesised" && raw.synthesised) return "synthesised";
  return now.state === "after" ? "moved" : "before";
}

function compose(out) {
  const [f, m] = [shade("fixed"), shade(moving())];
  if (now.mode === "checkerboard") checkerboard(f, m, told.shape, told.spacing, Number($("square").value), out);
  else if (now.mode === "blend") blend(f, m, $("mix").value / 100, out);
  else if (now.mode === "difference") difference(f, m, out);
  else out.set(m);
}

function draw() {
  const [left, right] = panels;
  left.volumes[0].img.set(shade("fixed"));
  compose(right.volumes[0].img);
  const opacity = Number($("labels").value) / 100;
  for (const [i, one] of panels.entries()) {
    // The moved scan's organs belong to it after the alignment only.
    const apt = i === 0 ? !now.map : now.state === "after";
    for (let v = 1; v < one.volumes.length; v++) {
      const field = one.volumes[v].name.match(/^(displacement|jacobian)/);
      one.volumes[v].opacity = field ? (field[1] === now.map ? 0.55 : 0) : apt ? opacity : 0;
    }
    one.updateGLVolume();
  }
  $("left-name").textContent = `Fixed: ${told.fixed}`;
  const what = { moved: "aligned", before: "before alignment", synthesised: "synthesised as the fixed scan" }[moving()];
  $("right-name").textContent = { moving: "", checkerboard: "Checkerboard: ", blend: "Blend: ", difference: "Difference: " }[now.mode]
    ? `${now.mode[0].toUpperCase()}${now.mode.slice(1)}: fixed and ${told.name}, ${what}` : `${told.name}, ${what}`;
  for (const name of ["state", "mode", "window"]) {
    for (const button of document.querySelectorAll(`[data-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === String(now[name])));
    }
  }
  $("square-label").hidden = now.mode !== "checkerboard";
  $("mix-label").hidden = now.mode !== "blend";
  $("legend").hidden = !now.map;
  if (now.map) {
    const [low, high] = told.maps[now.map];
    $("legend").dataset.map = now.map;
    $("legend-low").textContent = now.map === "jacobian" ? `stretched ${Math.exp(-low).toFixed(1)} times` : `${low} mm`;
    $("legend-high").textContent = now.map === "jacobian" ? `compressed ${Math.exp(high).toFixed(1)} times` : `${high} mm`;
  }
  $("square-mm").textContent = `${$("square").value} mm`;
  $("mix-percent").textContent = `${$("mix").value} %`;
  located();
}

async function change(what) {
  Object.assign(now, what);
  if (now.mode === "synthesised") await load("synthesised");
  if (now.map && !maps[now.map]) await field(now.map);
  draw();
}

async function field(name) {
  const [cal_min, cal_max] = told.maps[name];
  const looks = { colormap: name === "jacobian" ? "change" : "viridis", cal_min, cal_max };
  await panels[0].addVolumeFromUrl({ url: address(`${name}.nii`), name: `${name}.nii`, opacity: 0, ...looks });
  maps[name] = true;
}

// Where the crosshair stands, in LPS millimetres, and what the scans hold there.
let place = null;

function located(location) {
  if (location) place = location.mm;
  if (!place || !told) return;
  const lps = [-place[0], -place[1], place[2]];
  $("where").textContent = `LPS ${lps.map((v) => v.toFixed(1)).join(", ")} mm`;
  const index = voxel(lps);
  const inside = index.every((v, a) => v >= 0 && v < told.shape[a]);
  const at = index[0] + told.shape[0] * (index[1] + told.shape[1] * index[2]);
  const value = (name) => (inside && raw[name] ? +(raw[name][at] * told.images[name].slope + told.images[name].intercept).toPrecision(4) : "–");
  const unit = (name) => (told.images[name].ct ? " HU" : "");
  $("values").textContent = `fixed ${value("fixed")}${unit("fixed")}, ${moving()} ${value(moving())}${unit(moving())}`;
}

// The nearest voxel: the affine is turned around by Cramer's rule.
function voxel(lps) {
  const a = told.affine_lps;
  const d = [0, 1, 2].map((r) => lps[r] - a[r][3]);
  const det = (c) => c[0][0] * (c[1][1] * c[2][2] - c[1][2] * c[2][1]) - c[0][1] * (c[1][0] * c[2][2] - c[1][2] * c[2][0])
    + c[0][2] * (c[1][0] * c[2][1] - c[1][1] * c[2][0]);
  const m = [0, 1, 2].map((r) => a[r].slice(0, 3));
  const whole = det(m);
  return [0, 1, 2].map((c) => Math.round(det(m.map((row, r) => row.map((v, k) => (k === c ? d[r] : v)))) / whole));
}

const MOVES = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};
const MODES = { m: "moving", c: "checkerboard", o: "blend", d: "difference" };

function pressed(event) {
  if (!told || event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const letter = event.key.toLowerCase();
  if (MOVES[event.key]) panels[0].moveCrosshairInVox(...MOVES[event.key]);
  else if (letter === "b") change({ state: now.state === "after" ? "before" : "after" });
  else if (MODES[letter]) change({ mode: MODES[letter] });
  else if (letter === "l") { $("labels").value = Number($("labels").value) ? 0 : 35; draw(); }
  else if (letter === "f" && Object.keys(told.maps).length) {
    const all = ["", ...Object.keys(told.maps)];
    change({ map: $("map").value = all[(all.indexOf(now.map) + 1) % all.length] });
  } else if (/^[1-4]$/.test(letter) && letter <= (told.images.fixed.ct ? CT : MR).length) change({ window: letter - 1 });
  else return;
  event.preventDefault();
  event.stopPropagation();
}

async function begin() {
  panels = [await panel("left"), await panel("right")];
  panels[0].broadcastTo([panels[1]], { "2d": true, "3d": true });
  panels[1].broadcastTo([panels[0]], { "2d": true, "3d": true });
  for (const one of panels) one.onLocationChange = located;
  $("phase").addEventListener("change", () => open($("phase").value).catch(complain));
  for (const button of document.querySelectorAll("[data-state]")) button.addEventListener("click", () => change({ state: button.dataset.state }));
  for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => change({ mode: button.dataset.mode }).catch(complain));
  for (const id of ["square", "mix", "labels"]) $(id).addEventListener("input", draw);
  $("map").addEventListener("change", () => change({ map: $("map").value }).catch(complain));
  $("planes").addEventListener("change", () => panels.forEach((one) => one.setSliceType(Number($("planes").value))));
  document.addEventListener("keydown", pressed, true);
  await open("");
  document.body.dataset.ready = "yes";
}

begin().catch(complain);
