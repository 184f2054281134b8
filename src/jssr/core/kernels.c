/* The inner loops of a registration on a CPU, each over a part [begin, end) of its work, so that threads share it.
 *
 * Plain C with the vector types of GCC and Clang. Arrays are contiguous; images are float, planar (channel first) and
 * have three axes (an image of two has one voxel along the first). Positions are in voxels, first axis first.
 * Nothing is allocated but scratch, nothing is kept between calls, and no result depends on how the work is parted. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif
#include "vectors.h"

typedef _Float16 h8 __attribute__((vector_size(16)));
/* The digest of this file, given by the build: loops of an older source are not called. */
const char *jssr_source(void) { return JSSR_SOURCE; }

static inline v8 read_half(const _Float16 *from) {
#ifdef __F16C__ /* GCC 12 makes eight conversions of the other form */
    return (v8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    h8 value;
    memcpy(&value, from, sizeof value);
    return __builtin_convertvector(value, v8);
#endif
}

/* Read an image linearly between the voxel `from` and the next one along each axis, a step of dx, dy, dz away. */
static inline float between(const float *from, i64 dx, i64 dy, i64 dz, float fx, float fy, float fz) {
    const float c0 = from[0] + fz * (from[dz] - from[0]), c1 = from[dy] + fz * (from[dy + dz] - from[dy]);
    const float c2 = from[dx] + fz * (from[dx + dz] - from[dx]);
    const float c3 = from[dx + dy] + fz * (from[dx + dy + dz] - from[dx + dy]);
    const float low = c0 + fy * (c1 - c0), high = c2 + fy * (c3 - c2);
    return low + fx * (high - low);
}

/* Squared distances between features of a fixed image at points of a lattice and those of a moving image where a field
 * puts the points, with the derivative by the field.
 *
 * moving, fixed  rows of `lanes` half floats (a multiple of 8) per voxel
 * seen           of the moving image, 1 where it has data
 * axes           positions of the lattice along each axis, in voxels of the fixed image, one axis after the other
 * field          (3, lattice) mm; size: mm of a voxel along each axis
 * chosen, weight those lattice points that count
 * first, step    of the lattice, in voxels of the fixed image
 * slope          (3, lattice), zero where nothing is chosen; not yet divided by the sum of the weights
 * sums           of weight * distance, and of the weights */
int jssr_apart(const _Float16 *moving, const _Float16 *fixed, const float *seen, const i64 *shape,
                const i64 *fixed_shape, i64 lanes, const i64 *first, const i64 *step, const i64 *lattice,
                const float *field, const float *size, const i64 *chosen, const float *weight, float outlier,
                float *slope, double *sums, i64 begin, i64 end) {
    enum { BLOCK = 32 };
    const i64 sx = shape[1] * shape[2], sy = shape[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    const i64 n = lattice[0] * lattice[1] * lattice[2];
    double total = 0, value = 0;
    struct { Place x, y, z; i64 from, row, point; float weight; } block[BLOCK];
    for (i64 next = begin; next < end;) {
        int count = 0;
        for (; next < end && count < BLOCK; next++) { /* where each is read; it is fetched while others are looked up */
            const i64 at = chosen[next];
            const i64 index[3] = {at / (lattice[1] * lattice[2]), at / lattice[2] % lattice[1], at % lattice[2]};
            Place p[3];
            i64 row = 0;
            int all_inside = 1;
            for (int a = 0; a < 3; a++) {
                const i64 voxel = first[a] + index[a] * step[a];
                row = row * fixed_shape[a] + voxel;
                const float position = (float)voxel + field[a * n + at] / size[a];
                p[a] = place(position, shape[a]);
                /* Beyond the fixed image, which is as large as the moving one, there is nothing to compare. */
                all_inside &= position >= 0 && position <= (float)(fixed_shape[a] - 1);
            }
            if (!all_inside) continue;
            const i64 from = p[0].low * sx + p[1].low * sy + p[2].low;
            const _Float16 *m = moving + from * lanes;
            __builtin_prefetch(fixed + row * lanes);
            __builtin_prefetch(m);
            __builtin_prefetch(m + dy * lanes);
            __builtin_prefetch(m + dx * lanes);
            __builtin_prefetch(m + (dx + dy) * lanes);
            block[count].x = p[0];
            block[count].y = p[1];
            block[count].z = p[2];
            block[count].from = from;
            block[count].row = row;
            block[count].point = at;
            block[count++].weight = weight[next];
        }
        for (int b = 0; b < count; b++) {
            const float fx = block[b].x.part, fy = block[b].y.part, fz = block[b].z.part;
            if (!(between(seen + block[b].from, dx, dy, dz, fx, fy, fz) > 0.99f)) continue;
            const _Float16 *m = moving + block[b].from * lanes, *f = fixed + block[b].row * lanes;
            v8 distance = all(0), by_x = all(0), by_y = all(0), by_z = all(0);
            for (i64 k = 0; k < lanes; k += 8) {
                const v8 c0 = read_half(m + k), c1 = read_half(m + dz * lanes + k);
                const v8 c2 = read_half(m + dy * lanes + k), c3 = read_half(m + (dy + dz) * lanes + k);
                const v8 c4 = read_half(m + dx * lanes + k), c5 = read_half(m + (dx + dz) * lanes + k);
                const v8 c6 = read_half(m + (dx + dy) * lanes + k), c7 = read_half(m + (dx + dy + dz) * lanes + k);
                const v8 d0 = c1 - c0, d1 = c3 - c2, d2 = c5 - c4, d3 = c7 - c6;
                const v8 e0 = c0 + fz * d0, e1 = c2 + fz * d1, e2 = c4 + fz * d2, e3 = c6 + fz * d3;
                const v8 g0 = e1 - e0, g1 = e3 - e2, h0 = e0 + fy * g0, h1 = e2 + fy * g1;
                const v8 z0 = d0 + fy * (d1 - d0), z1 = d2 + fy * (d3 - d2);
                const v8 error = h0 + fx * (h1 - h0) - read_half(f + k);
                distance += error * error;
                by_x += error * (h1 - h0);
                by_y += error * (g0 + fx * (g1 - g0));
                by_z += error * (z0 + fx * (z1 - z0));
            }
            const float d = sum_of(distance), w = block[b].weight;
            const float part = outlier > 0 ? outlier / (outlier + d) : 1, scale = 2 * w * part * part;
            float *to = slope + block[b].point;
            total += w;
            value += (double)(w * d * part);
            to[0] = block[b].x.inside ? scale * sum_of(by_x) / size[0] : 0;
            to[n] = block[b].y.inside ? scale * sum_of(by_y) / size[1] : 0;
            to[2 * n] = block[b].z.inside ? scale * sum_of(by_z) / size[2] : 0;
        }
    }
    sums[0] = value;
    sums[1] = total;
    return 0;
}

/* Read an image (channels, shape) linearly at `at` (3, n), or, with `lattice`, at the voxels of that grid moved by it.
 * Beyond the border it is 0 (`zeros`) or the border. */
int jssr_sample(const float *image, i64 channels, const i64 *shape, const float *at, i64 n, const i64 *lattice,
                 i64 zeros, float *out, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], voxels = shape[0] * sx;
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    i64 x = 0, y = 0, z = 0;
    if (lattice) {
        x = begin / (lattice[1] * lattice[2]);
        y = begin / lattice[2] % lattice[1];
        z = begin % lattice[2];
    }
    for (i64 p = begin; p < end; p++) {
        float a = at[p], b = at[n + p], c = at[2 * n + p];
        if (lattice) {
            a += (float)x;
            b += (float)y;
            c += (float)z;
            if (++z == lattice[2]) {
                z = 0;
                if (++y == lattice[1]) { y = 0; x++; }
            }
        }
        const Place i = place(a, shape[0]), j = place(b, shape[1]), k = place(c, shape[2]);
        const float fx = i.part, fy = j.part, fz = k.part;
        float share = 1;
        if (zeros) { /* what is within a voxel of the border fades, as between the border and voxels of 0 */
            /* along an axis of one voxel nothing is beyond it, as in torch's grid_sample */
            const float miss[3] = {i.inside || !dx ? 0 : a < 0 ? -a : a - (float)(shape[0] - 1),
                                   j.inside || !dy ? 0 : b < 0 ? -b : b - (float)(shape[1] - 1),
                                   k.inside || !dz ? 0 : c < 0 ? -c : c - (float)(shape[2] - 1)};
            for (int q = 0; q < 3; q++) share *= miss[q] < 1 ? 1 - miss[q] : 0;
        }
        const float *from = image + i.low * sx + j.low * sy + k.low;
        for (i64 ch = 0; ch < channels; ch++, from += voxels) {
            out[ch * n + p] = share * between(from, dx, dy, dz, fx, fy, fz);
        }
    }
    return 0;
}

/* Points p with p + u(p) = goal by the fixed point p <- p + step * linear (goal - p - u(p)), each until it is off by
 * no more than `tolerance` along any axis. u (3, shape), goal and p (3, n); p holds the first guess. settled (n), or NULL,
 * which were. */
int jssr_inverse(const float *u, const i64 *shape, const float *goal, float *p, i64 n, const float *linear, float step,
                  float tolerance, i64 iterations, uint8_t *settled, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], voxels = shape[0] * sx;
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    for (i64 q = begin; q < end; q++) {
        float at[3] = {p[q], p[n + q], p[2 * n + q]};
        uint8_t found = 0;
        for (i64 k = 0; k < iterations; k++) {
            const Place x = place(at[0], shape[0]), y = place(at[1], shape[1]), z = place(at[2], shape[2]);
            const float *from = u + x.low * sx + y.low * sy + z.low;
            float miss[3], worst = 0;
            for (int a = 0; a < 3; a++, from += voxels) {
                float m = goal[a * n + q] - at[a] - between(from, dx, dy, dz, x.part, y.part, z.part);
                m = m > 1e4f ? 1e4f : m < -1e4f ? -1e4f : m; /* numbers, where it diverges */
                miss[a] = m;
                worst = fabsf(m) > worst ? fabsf(m) : worst;
            }
            for (int a = 0; a < 3; a++) {
                const float way = linear
                    ? linear[3 * a] * miss[0] + linear[3 * a + 1] * miss[1] + linear[3 * a + 2] * miss[2] : miss[a];
                at[a] += step * way;
            }
            if (worst <= tolerance) { found = 1; break; }
        }
        if (settled) settled[q] = found;
        for (int a = 0; a < 3; a++) p[a * n + q] = at[a];
    }
    return 0;
}

/* MIND-SSC (12 channels, patches of 3 voxels) of planes [begin, end) along the first axis.
 *
 * around     the image with 2 * dilation more voxels on every side, (shape + 4 dilation)
 * along      (6, 3) dilations from one patch of a pair to the other; which (12): its pair's; from (12, 3): the patch
 * middle     the mean over the image of each voxel's mean distance; below 0: only sum it up, into `sum`
 * planar     (12, shape), or NULL; rows: halves times `factor`, `lanes` to a voxel, of which 12 are written, or NULL
 * Returns 1 where there was no memory. */
int jssr_mind(const float *around, const i64 *shape, i64 dilation, const i64 *along, const i64 *which, const i64 *from,
              float middle, double *sum, float *planar, _Float16 *rows, i64 lanes, float factor, i64 begin, i64 end) {
    const i64 d = dilation, ny = shape[1] + 2 * d, nz = shape[2] + 2 * d;
    const i64 wy = shape[1] + 4 * d, wz = shape[2] + 4 * d, plane = ny * nz;
    const i64 planes = end - begin + 2 * d, domain = shape[0] + 2 * d, voxels = shape[0] * shape[1] * shape[2];
    const i64 width = (shape[2] + 7) / 8 * 8;
    /* Boxes of each pair's distances, and room to make them. */
    float *boxes = malloc(sizeof(float) * (size_t)(6 * (planes + 2) * plane + 8));
    float *line = malloc(sizeof(float) * (size_t)(3 * nz + 16 * width));
    if (!boxes || !line) { free(boxes); free(line); return 1; }
    float *flat = malloc(sizeof(float) * (size_t)plane);
    if (!flat) { free(boxes); free(line); return 1; }
    for (int pair = 0; pair < 6; pair++) {
        float *box = boxes + pair * (planes + 2) * plane;
        const i64 *to = along + 3 * pair;
        for (i64 k = 0; k < planes + 2; k++) { /* boxes within a plane */
            i64 x = begin - 1 + k;
            x = x < 0 ? 0 : x >= domain ? domain - 1 : x;
            for (i64 y = 0; y < ny; y++) {
                const float *here = around + ((x + d) * wy + y + d) * wz + d;
                const float *there = here + (d * to[0] * wy + d * to[1]) * wz + d * to[2];
                float *out = line;
                for (i64 z = 0; z < nz; z++) { const float e = here[z] - there[z]; out[z] = e * e; }
                float *r = flat + y * nz;
                for (i64 z = 1; z < nz - 1; z++) r[z] = out[z - 1] + out[z] + out[z + 1];
                r[0] = out[0] + out[0] + out[1];
                r[nz - 1] = out[nz - 2] + out[nz - 1] + out[nz - 1];
            }
            for (i64 y = 0; y < ny; y++) {
                const float *a = flat + (y ? y - 1 : 0) * nz, *b = flat + y * nz, *c = flat + (y < ny - 1 ? y + 1 : y) * nz;
                float *r = box + k * plane + y * nz;
                for (i64 z = 0; z < nz; z++) r[z] = a[z] + b[z] + c[z];
            }
        }
        for (i64 k = 0; k < planes; k++) { /* and across planes, each where the one before it was */
            float *a = box + k * plane;
            for (i64 i = 0; i < plane; i++) a[i] = (a[i] + a[i + plane] + a[i + 2 * plane]) * (1.0f / 27);
        }
    }
    free(flat);
    double total = 0;
    float *least = line + 3 * nz, *mean = least + width, *found = mean + width;
    memset(least, 0, sizeof(float) * (size_t)(14 * width));
    for (i64 x = begin; x < end; x++) {
        for (i64 y = 0; y < shape[1]; y++) {
            for (int c = 0; c < 12; c++) {
                const i64 *f = from + 3 * c;
                const float *box = boxes + which[c] * (planes + 2) * plane;
                const float *at = box + (x - begin + d + d * f[0]) * plane + (y + d + d * f[1]) * nz + d + d * f[2];
                if (c == 0) {
                    for (i64 z = 0; z < shape[2]; z++) { least[z] = at[z]; mean[z] = at[z]; }
                } else {
                    for (i64 z = 0; z < shape[2]; z++) {
                        least[z] = at[z] < least[z] ? at[z] : least[z];
                        mean[z] += at[z];
                    }
                }
                if (middle >= 0) memcpy(found + c * width, at, sizeof(float) * (size_t)shape[2]);
            }
            for (i64 z = 0; z < shape[2]; z++) mean[z] = mean[z] * (1.0f / 12) - least[z];
            if (middle < 0) {
                float part = 0;
                for (i64 z = 0; z < shape[2]; z++) part += mean[z];
                total += part;
                continue;
            }
            const float low = middle * 1e-3f, high = middle * 1e3f;
            for (i64 z = 0; z < shape[2]; z++) {
                float v = mean[z] > low ? mean[z] : low;
                v = v < high ? v : high;
                mean[z] = -1 / (v > 1e-12f ? v : 1e-12f);
            }
            const i64 at = (x * shape[1] + y) * shape[2];
            for (int c = 0; c < 12; c++) {
                float *value = found + c * width;
                for (i64 z = 0; z < width; z += 8) {
                    v8 v, l, m;
                    memcpy(&v, value + z, sizeof v);
                    memcpy(&l, least + z, sizeof l);
                    memcpy(&m, mean + z, sizeof m);
                    v = exp_of((v - l) * m);
                    memcpy(value + z, &v, sizeof v);
                }
                if (planar) memcpy(planar + c * voxels + at, value, sizeof(float) * (size_t)shape[2]);
            }
            if (rows)
                for (i64 z = 0; z < shape[2]; z++)
                    for (int c = 0; c < 12; c++) rows[(at + z) * lanes + c] = (_Float16)(factor * found[c * width + z]);
        }
    }
    *sum = total;
    free(boxes);
    free(line);
    return 0;
}

/* The mean squared distance of features for each of many displacements, over cells, of cells [begin, end) along the
 * first axis (`jssr.systems.discrete`).
 *
 * fixed   (channels, shape), seen_f (shape); every `stride`-th voxel of what `moving` is
 * moving  (channels, x, y, stride, z): the last axis parted by its remainder, sizes of it `moving_shape` (x, y, z of
 *         one part); seen_m alike
 * offsets (labels, 3), where in `moving` the fixed image's first voxel is looked for
 * pool    voxels of `fixed` along each side of a cell; weight (cells): mean of seen_f, at least 1e-3
 * out     (labels, cells) */
int jssr_costs(const float *fixed, const float *moving, const float *seen_f, const float *seen_m, const i64 *shape,
               const i64 *moving_shape, i64 channels, i64 stride, const i64 *offsets, i64 labels, i64 pool, float usual,
               const float *weight, float *out, i64 begin, i64 end) {
    const i64 cy = shape[1] / pool, cz = shape[2] / pool, cells = shape[0] / pool * cy * cz, nz = shape[2];
    const i64 my = moving_shape[1], mz = moving_shape[2], row = stride * mz, voxels = shape[0] * shape[1] * nz;
    const i64 there = moving_shape[0] * my * row;
    float *distance = malloc(sizeof(float) * (size_t)(nz + 8));
    if (!distance) return 1;
    for (i64 i = begin; i < end; i++)
        for (i64 j = 0; j < cy; j++) {
            for (i64 l = 0; l < labels; l++) memset(out + l * cells + (i * cy + j) * cz, 0, sizeof(float) * (size_t)cz);
            for (i64 x = i * pool; x < (i + 1) * pool; x++)
                for (i64 y = j * pool; y < (j + 1) * pool; y++) {
                    const float *f = fixed + (x * shape[1] + y) * nz, *s = seen_f + (x * shape[1] + y) * nz;
                    int any = 0;
                    for (i64 z = 0; z < nz; z++) any |= s[z] > 0;
                    if (!any) continue;
                    for (i64 l = 0; l < labels; l++) {
                        const i64 *o = offsets + 3 * l;
                        const i64 at = ((x * stride + o[0]) * my + y * stride + o[1]) * row + o[2] % stride * mz + o[2] / stride;
                        memset(distance, 0, sizeof(float) * (size_t)nz);
                        for (i64 c = 0; c < channels; c++) {
                            const float *a = f + c * voxels, *b = moving + c * there + at;
                            for (i64 z = 0; z < nz; z++) { const float e = b[z] - a[z]; distance[z] += e * e; }
                        }
                        const float *q = seen_m + at;
                        for (i64 z = 0; z < nz; z++) distance[z] = s[z] * (usual + q[z] * (distance[z] - usual));
                        float *into = out + l * cells + (i * cy + j) * cz;
                        for (i64 k = 0; k < cz; k++)
                            for (i64 z = k * pool; z < (k + 1) * pool; z++) into[k] += distance[z];
                    }
                }
            for (i64 l = 0; l < labels; l++)
                for (i64 k = 0; k < cz; k++) {
                    const i64 cell = (i * cy + j) * cz + k;
                    out[l * cells + cell] /= (float)(pool * pool * pool) * weight[cell];
                }
        }
    free(distance);
    return 0;
}

/* Filter along one axis of an image by a symmetric kernel, the border repeated. The image is (outer, length, inner);
 * [begin, end) counts rows of `inner` voxels, or lines along the axis where `inner` is 1. weights (radius + 1), from the
 * middle outwards. */
int jssr_filter(const float *image, i64 length, i64 inner, const float *weights, i64 radius, float *out, i64 begin,
                i64 end) {
    if (inner > 1) {
        for (i64 row = begin; row < end; row++) {
            const i64 k = row % length;
            const float *from = image + (row - k) * inner, *middle = from + k * inner;
            float *to = out + row * inner;
            for (i64 i = 0; i < inner; i++) to[i] = weights[0] * middle[i];
            for (i64 r = 1; r <= radius; r++) {
                const float *a = from + (k > r ? k - r : 0) * inner;
                const float *b = from + (k + r < length ? k + r : length - 1) * inner;
                const float w = weights[r];
                for (i64 i = 0; i < inner; i++) to[i] += w * (a[i] + b[i]);
            }
        }
        return 0;
    }
    float *wide = malloc(sizeof(float) * (size_t)(length + 2 * radius));
    if (!wide) return 1;
    for (i64 line = begin; line < end; line++) {
        const float *from = image + line * length;
        float *to = out + line * length;
        for (i64 r = 0; r < radius; r++) {
            wide[r] = from[0];
            wide[length + radius + r] = from[length - 1];
        }
        memcpy(wide + radius, from, sizeof(float) * (size_t)length);
        for (i64 k = 0; k < length; k++) to[k] = weights[0] * wide[k + radius];
        for (i64 r = 1; r <= radius; r++) {
            const float w = weights[r];
            const float *a = wide + radius - r, *b = wide + radius + r;
            for (i64 k = 0; k < length; k++) to[k] += w * (a[k] + b[k]);
        }
    }
    free(wide);
    return 0;
}

/* For each cell in [begin, end) the label d with the least costs(d) + theta * (|d|^2 - 2 d . v), the first of equals.
 *
 * costs (count, cells); labels (count, 3), square (count): their squared lengths; v (3, cells); found (cells) */
int jssr_least(const float *costs, const float *labels, const float *square, i64 count, i64 cells, const float *v,
               float theta, int64_t *found, i64 begin, i64 end) {
    enum { WIDE = 64 };
    for (i64 first = begin; first < end; first += WIDE) {
        const i64 n = end - first < WIDE ? end - first : WIDE;
        float best[WIDE];
        int32_t at[WIDE];
        for (i64 i = 0; i < n; i++) { best[i] = INFINITY; at[i] = 0; }
        for (i64 l = 0; l < count; l++) {
            const float *c = costs + l * cells + first, *x = v + first, *y = x + cells, *z = y + cells;
            const float a = -2 * theta * labels[3 * l], b = -2 * theta * labels[3 * l + 1];
            const float e = -2 * theta * labels[3 * l + 2], s = theta * square[l];
            for (i64 i = 0; i < n; i++) {
                const float value = c[i] + (a * x[i] + b * y[i] + e * z[i]) + s;
                at[i] = value < best[i] ? (int32_t)l : at[i];
                best[i] = value < best[i] ? value : best[i];
            }
        }
        for (i64 i = 0; i < n; i++) found[first + i] = at[i];
    }
    return 0;
}

/* Means of blocks of `size` voxels along every axis of an image (channels, shape); those at the end may be smaller. Planes
 * [begin, end) of the output (channels, made), counted over its channels. */
int jssr_pool(const float *image, const i64 *shape, i64 size, const i64 *made, float *out, i64 begin, i64 end) {
    float *line = malloc(sizeof(float) * (size_t)shape[2]);
    if (!line) return 1;
    for (i64 plane = begin; plane < end; plane++) {
        const i64 channel = plane / made[0], x = plane % made[0];
        const i64 x1 = (x + 1) * size < shape[0] ? (x + 1) * size : shape[0];
        for (i64 y = 0; y < made[1]; y++) {
            const i64 y1 = (y + 1) * size < shape[1] ? (y + 1) * size : shape[1];
            memset(line, 0, sizeof(float) * (size_t)shape[2]);
            for (i64 i = x * size; i < x1; i++)
                for (i64 j = y * size; j < y1; j++) {
                    const float *from = image + ((channel * shape[0] + i) * shape[1] + j) * shape[2];
                    for (i64 z = 0; z < shape[2]; z++) line[z] += from[z];
                }
            float *to = out + (plane * made[1] + y) * made[2];
            const i64 lines = (x1 - x * size) * (y1 - y * size);
            for (i64 k = 0; k < made[2]; k++) {
                const i64 z1 = (k + 1) * size < shape[2] ? (k + 1) * size : shape[2];
                float sum = 0;
                for (i64 z = k * size; z < z1; z++) sum += line[z];
                to[k] = sum / (float)(lines * (z1 - k * size));
            }
        }
    }
    free(line);
    return 0;
}

/* A displacement at every voxel of part of a grid, from a field on a coarser one (`jssr.core.full_size`).
 *
 * field (3, shape); into (3, 4): a voxel of the part, in voxels of the field; mm (3, 3) what the field moves, in mm;
 * more (3, 4) what is added, by voxel of the part, in mm; rounded to `step` mm, then to voxels by back (3, 3).
 * out (3, part); lines [begin, end) along the last axis. */
int jssr_moves(const float *field, const i64 *shape, const double *into, const double *mm, const double *more,
               const double *back, float step, const i64 *part, float *out, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], voxels = shape[0] * sx, n = part[0] * part[1] * part[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    const float least = step > 0 ? step : 1, inverse = 1 / least;
    float linear[9], voxel[9];
    for (int k = 0; k < 9; k++) { linear[k] = (float)mm[k]; voxel[k] = (float)back[k]; }
    for (i64 line = begin; line < end; line++) {
        const double x = (double)(line / part[1]), y = (double)(line % part[1]);
        double at[3], add[3];
        for (int a = 0; a < 3; a++) {
            at[a] = into[4 * a] * x + into[4 * a + 1] * y + into[4 * a + 3];
            add[a] = more[4 * a] * x + more[4 * a + 1] * y + more[4 * a + 3];
        }
        float *to = out + line * part[2];
        for (i64 z = 0; z < part[2]; z++) {
            const Place i = place((float)(at[0] + into[2] * (double)z), shape[0]);
            const Place j = place((float)(at[1] + into[6] * (double)z), shape[1]);
            const Place k = place((float)(at[2] + into[10] * (double)z), shape[2]);
            const float *from = field + i.low * sx + j.low * sy + k.low;
            float u[3], m[3];
            for (int a = 0; a < 3; a++, from += voxels) {
                u[a] = between(from, dx, dy, dz, i.part, j.part, k.part);
            }
            for (int a = 0; a < 3; a++) {
                const float sum = linear[3 * a] * u[0] + linear[3 * a + 1] * u[1] + linear[3 * a + 2] * u[2]
                                        + (float)(add[a] + more[4 * a + 2] * (double)z);
                m[a] = rintf(sum * inverse) * least;
            }
            for (int a = 0; a < 3; a++)
                to[a * n + z] = voxel[3 * a] * m[0] + voxel[3 * a + 1] * m[1] + voxel[3 * a + 2] * m[2];
        }
    }
    return 0;
}

/* An image where the voxels of part of a grid, moved by u (3, part), come to lie by read (3, 4), in its voxels; `fill`
 * where it has none, and whether it has. Lines [begin, end) along the last axis. */
int jssr_pull(const float *image, const i64 *shape, const double *read, const float *u, const i64 *part, float fill,
              float *out, uint8_t *seen, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], n = part[0] * part[1] * part[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    float linear[9];
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) linear[3 * a + b] = (float)read[4 * a + b];
    for (i64 line = begin; line < end; line++) {
        const double x = (double)(line / part[1]), y = (double)(line % part[1]);
        for (i64 z = 0; z < part[2]; z++) {
            const i64 v = line * part[2] + z;
            float at[3];
            int inside = 1;
            for (int a = 0; a < 3; a++) {
                at[a] = (float)(read[4 * a] * x + read[4 * a + 1] * y + read[4 * a + 2] * (double)z + read[4 * a + 3])
                        + linear[3 * a] * u[v] + linear[3 * a + 1] * u[n + v] + linear[3 * a + 2] * u[2 * n + v];
                inside &= at[a] >= -0.5f && at[a] <= (float)shape[a] - 0.5f; /* on a voxel, edges included */
            }
            seen[v] = (uint8_t)inside;
            if (!inside) { out[v] = fill; continue; }
            const Place i = place(at[0], shape[0]), j = place(at[1], shape[1]), k = place(at[2], shape[2]);
            const float *from = image + i.low * sx + j.low * sy + k.low;
            out[v] = between(from, dx, dy, dz, i.part, j.part, k.part);
        }
    }
    return 0;
}

/* A field (3, X, Y, thickness), part of one with strides, as a file holds it: rounded to `step`, (3, thickness, Y, X). By
 * linear (3, 3) it is brought to millimetres. Rows [begin, end) of Y. */
int jssr_file_order(const float *u, const i64 *strides, const float *linear, float steps, const i64 *part, float *out,
                    i64 begin, i64 end) {
    enum { WIDE = 16 };
    const i64 nx = part[0], ny = part[1], nt = part[2], n = nx * ny * nt;
    const float step = 1 / steps;
    for (i64 y = begin; y < end; y++)
        for (i64 first = 0; first < nx; first += WIDE) {
            const i64 last = first + WIDE < nx ? first + WIDE : nx;
            for (i64 t = 0; t < nt; t++) {
                float *to = out + (t * ny + y) * nx;
                for (i64 x = first; x < last; x++) {
                    const float *from = u + x * strides[1] + y * strides[2] + t * strides[3];
                    const float a = from[0], b = from[strides[0]], c = from[2 * strides[0]];
                    to[x] = rintf((linear[0] * a + linear[1] * b + linear[2] * c) * steps) * step;
                    to[n + x] = rintf((linear[3] * a + linear[4] * b + linear[5] * c) * steps) * step;
                    to[2 * n + x] = rintf((linear[6] * a + linear[7] * b + linear[8] * c) * steps) * step;
                }
            }
        }
    return 0;
}

/* Determinants of the Jacobian of p + u(p), u (3, shape) in voxels, by forward differences: (shape - 1). Lines [begin, end)
 * along the last axis. */
int jssr_determinant(const float *u, const i64 *shape, float *out, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], n = shape[0] * sx, length = shape[2] - 1;
    for (i64 line = begin; line < end; line++) {
        const i64 x = line / (shape[1] - 1), y = line % (shape[1] - 1);
        const float *a = u + x * sx + y * sy, *b = a + n, *c = b + n;
        float *to = out + line * length;
        for (i64 z = 0; z < length; z++) {
            const float ax = a[z + sx] - a[z] + 1, bx = b[z + sx] - b[z], cx = c[z + sx] - c[z];
            const float ay = a[z + sy] - a[z], by = b[z + sy] - b[z] + 1, cy = c[z + sy] - c[z];
            const float az = a[z + 1] - a[z], bz = b[z + 1] - b[z], cz = c[z + 1] - c[z] + 1;
            to[z] = ax * (by * cz - cy * bz) - bx * (ay * cz - cy * az) + cx * (ay * bz - by * az);
        }
    }
    return 0;
}
