// What the right panel shows: greys of the fixed and the moving scan, put together voxel by voxel. All scans lie on the
// fixed grid, so an index is the same place in each of them.
"use strict";

// Greys 0..255 of an image: int16 numbers, their slope and intercept, and the window [low, high] in the image's units.
function greys(raw, told, low, high) {
  const table = new Uint8ClampedArray(65536);
  const span = Math.max(high - low, 1e-9);
  for (let i = 0; i < 65536; i++) {
    table[i] = Math.round(((i - 32768) * told.slope + told.intercept - low) / span * 255);
  }
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = table[raw[i] + 32768];
  return out;
}

// Squares of `mm` in all three planes: fixed where the sum of the square's indices is even.
function checkerboard(fixed, moving, shape, spacing, mm, out) {
  const [nx, ny, nz] = shape;
  const of = (n, s) => Int32Array.from({ length: n }, (_, i) => Math.floor(i * s / mm));
  const [x, y, z] = [of(nx, spacing[0]), of(ny, spacing[1]), of(nz, spacing[2])];
  let i = 0;
  for (let c = 0; c < nz; c++) {
    for (let b = 0; b < ny; b++) {
      const even = (y[b] + z[c]) & 1;
      for (let a = 0; a < nx; a++, i++) out[i] = (x[a] + even) & 1 ? moving[i] : fixed[i];
    }
  }
}

// `share` of the moving scan, 0..1.
function blend(fixed, moving, share, out) {
  for (let i = 0; i < out.length; i++) out[i] = Math.round(fixed[i] + share * (moving[i] - fixed[i]));
}

// Mid-grey where they agree, brighter where the moving scan is.
function difference(fixed, moving, out) {
  for (let i = 0; i < out.length; i++) out[i] = 128 + ((moving[i] - fixed[i]) >> 1);
}
