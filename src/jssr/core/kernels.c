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

static inline void write_half(_Float16 *to, v8 value) {
#ifdef __F16C__
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#else
    const h8 half = __builtin_convertvector(value, h8);
    memcpy(to, &half, sizeof half);
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
 * body           of the fixed image, the weight of each voxel; those of 0 are left out
 * field          (3, lattice) mm; size: mm of a voxel along each axis
 * first, step    of the lattice, in voxels of the fixed image
 * slope          (3, lattice), zero where nothing is compared; not yet divided by the sum of the weights
 * sums           (groups, 2): of weight * distance, and of the weights, of each `group` lines along the last axis
 * Groups [begin, end) of the lattice's lines. */
int jssr_apart(const _Float16 *moving, const _Float16 *fixed, const float *seen, const float *body, const i64 *shape,
               const i64 *fixed_shape, i64 lanes, const i64 *first, const i64 *step, const i64 *lattice,
               const float *field, const float *size, float outlier, float *slope, double *sums, i64 group, i64 begin,
               i64 end) {
    enum { BLOCK = 32 };
    const i64 sx = shape[1] * shape[2], sy = shape[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    const i64 n = lattice[0] * lattice[1] * lattice[2], all_lines = lattice[0] * lattice[1];
    const float inverse[3] = {1 / size[0], 1 / size[1], 1 / size[2]};
    struct { Place x, y, z; i64 from, row, point; float weight; } block[BLOCK];
    for (i64 g = begin; g < end; g++) {
        const i64 last = (g + 1) * group < all_lines ? (g + 1) * group : all_lines;
        double total = 0, value = 0;
        i64 line = g * group, k = 0;
        while (line < last) {
            int count = 0;
            while (line < last && count < BLOCK) { /* where each is read; it is fetched while others are looked up */
                const i64 vx = first[0] + line / lattice[1] * step[0], vy = first[1] + line % lattice[1] * step[1];
                const i64 line_row = (vx * fixed_shape[1] + vy) * fixed_shape[2];
                for (; k < lattice[2] && count < BLOCK; k++) {
                    const i64 at = line * lattice[2] + k, vz = first[2] + k * step[2], row = line_row + vz;
                    const float weight = body[row];
                    if (!(weight > 0)) continue;
                    const float px = (float)vx + field[at] * inverse[0];
                    const float py = (float)vy + field[n + at] * inverse[1];
                    const float pz = (float)vz + field[2 * n + at] * inverse[2];
                    /* Beyond the fixed image, which is as large as the moving one, there is nothing to compare. */
                    if (!(px >= 0 && px <= (float)(fixed_shape[0] - 1) && py >= 0 && py <= (float)(fixed_shape[1] - 1)
                          && pz >= 0 && pz <= (float)(fixed_shape[2] - 1)))
                        continue;
                    const Place x = place(px, shape[0]), y = place(py, shape[1]), z = place(pz, shape[2]);
                    const i64 from = x.low * sx + y.low * sy + z.low;
                    const float *s = seen + from;
                    const _Float16 *m = moving + from * lanes;
                    __builtin_prefetch(fixed + row * lanes);
                    for (int corner = 0; corner < 4; corner++) {
                        const i64 there = (corner & 1 ? dy : 0) + (corner & 2 ? dx : 0);
                        __builtin_prefetch(s + there);
                        __builtin_prefetch(m + there * lanes); /* two voxels, which may lie in two lines of the cache */
                        __builtin_prefetch(m + (there + dz + 1) * lanes - 1);
                    }
                    block[count].x = x;
                    block[count].y = y;
                    block[count].z = z;
                    block[count].from = from;
                    block[count].row = row;
                    block[count].point = at;
                    block[count++].weight = weight;
                }
                if (k == lattice[2]) { k = 0; line++; }
            }
            for (int b = 0; b < count; b++) {
                const float fx = block[b].x.part, fy = block[b].y.part, fz = block[b].z.part;
                if (!(between(seen + block[b].from, dx, dy, dz, fx, fy, fz) > 0.99f)) continue;
                const _Float16 *m = moving + block[b].from * lanes, *f = fixed + block[b].row * lanes;
                v8 distance = all(0), by_x = all(0), by_y = all(0), by_z = all(0);
                for (i64 c = 0; c < lanes; c += 8) {
                    const v8 c0 = read_half(m + c), c1 = read_half(m + dz * lanes + c);
                    const v8 c2 = read_half(m + dy * lanes + c), c3 = read_half(m + (dy + dz) * lanes + c);
                    const v8 c4 = read_half(m + dx * lanes + c), c5 = read_half(m + (dx + dz) * lanes + c);
                    const v8 c6 = read_half(m + (dx + dy) * lanes + c), c7 = read_half(m + (dx + dy + dz) * lanes + c);
                    const v8 d0 = c1 - c0, d1 = c3 - c2, d2 = c5 - c4, d3 = c7 - c6;
                    const v8 e0 = c0 + fz * d0, e1 = c2 + fz * d1, e2 = c4 + fz * d2, e3 = c6 + fz * d3;
                    const v8 g0 = e1 - e0, g1 = e3 - e2, h0 = e0 + fy * g0, h1 = e2 + fy * g1;
                    const v8 z0 = d0 + fy * (d1 - d0), z1 = d2 + fy * (d3 - d2);
                    const v8 error = h0 + fx * (h1 - h0) - read_half(f + c);
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
                to[0] = block[b].x.inside ? scale * sum_of(by_x) * inverse[0] : 0;
                to[n] = block[b].y.inside ? scale * sum_of(by_y) * inverse[1] : 0;
                to[2 * n] = block[b].z.inside ? scale * sum_of(by_z) * inverse[2] : 0;
            }
        }
        sums[2 * g] = value;
        sums[2 * g + 1] = total;
    }
    return 0;
}

/* Where n positions along an axis lie among `count` (at least 4) control points of a cubic B-spline: the first of the
 * four that each is made of, and their weights. Control points are `spacing` apart, the first lies one before 0. */
static void taps(const float *at, i64 n, float spacing, i64 count, i64 *first, float *weight) {
    for (i64 p = 0; p < n; p++) {
        const float place = at[p] / spacing, low = floorf(place), t = place - low, s = 1 - t;
        const float cubic[4] = {s * s * s / 6, (3 * t * t * t - 6 * t * t + 4) / 6,
                                (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6, t * t * t / 6};
        const i64 from = (i64)low, begin = from < 0 ? 0 : from > count - 4 ? count - 4 : from;
        float *w = weight + 4 * p;
        w[0] = w[1] = w[2] = w[3] = 0;
        for (i64 k = 0; k < 4; k++) { /* beyond the last control point it is repeated */
            const i64 index = from + k < 0 ? 0 : from + k > count - 1 ? count - 1 : from + k;
            w[index - begin < 0 ? 0 : index - begin > 3 ? 3 : index - begin] += cubic[k];
        }
        first[p] = begin;
    }
}

/* `taps` of three axes, positions (sizes[0] + sizes[1] + sizes[2]); 1 where there was no memory. */
typedef struct { i64 *first[3]; float *weight[3]; } Taps;

static int all_taps(const float *at, const i64 *sizes, const float *spacing, const i64 *counts, Taps *found) {
    const size_t n = (size_t)(sizes[0] + sizes[1] + sizes[2]);
    i64 *first = malloc(sizeof(i64) * (n + 1));
    float *weight = malloc(sizeof(float) * 4 * (n + 1));
    if (!first || !weight) { free(first); free(weight); return 1; }
    for (int a = 0; a < 3; a++) {
        found->first[a] = first;
        found->weight[a] = weight;
        taps(at, sizes[a], spacing[a], counts[a], first, weight);
        at += sizes[a];
        first += sizes[a];
        weight += 4 * sizes[a];
    }
    return 0;
}

/* The field that control points (3, counts) of a cubic B-spline make at the positions along each axis, out (3, sizes);
 * planes [begin, end) along the first axis. */
int jssr_spline(const float *control, const i64 *counts, const float *spacing, const float *at, const i64 *sizes,
                float *out, i64 begin, i64 end) {
    const i64 plane = sizes[1] * sizes[2], ny = counts[1], nz = counts[2];
    Taps t;
    if (all_taps(at, sizes, spacing, counts, &t)) return 1;
    float *along = malloc(sizeof(float) * (size_t)(ny * sizes[2] + 4 * plane + 1)), *ring = along + ny * sizes[2];
    if (!along) { free(t.first[0]); free(t.weight[0]); return 1; }
    for (i64 c = 0; c < 3; c++) {
        i64 held[4] = {-1, -1, -1, -1}; /* planes of control points that were read along both other axes */
        for (i64 x = begin; x < end; x++) {
            for (i64 p = t.first[0][x]; p < t.first[0][x] + 4; p++) {
                if (held[p % 4] == p) continue;
                held[p % 4] = p;
                float *made = ring + p % 4 * plane;
                for (i64 y = 0; y < ny; y++) {
                    const float *from = control + ((c * counts[0] + p) * ny + y) * nz;
                    for (i64 z = 0; z < sizes[2]; z++) {
                        const float *f = from + t.first[2][z], *w = t.weight[2] + 4 * z;
                        along[y * sizes[2] + z] = w[0] * f[0] + w[1] * f[1] + w[2] * f[2] + w[3] * f[3];
                    }
                }
                for (i64 y = 0; y < sizes[1]; y++) {
                    const float *a = along + t.first[1][y] * sizes[2], *b = a + sizes[2], *d = b + sizes[2];
                    const float *e = d + sizes[2], *w = t.weight[1] + 4 * y;
                    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
                    float *to = made + y * sizes[2];
                    for (i64 z = 0; z < sizes[2]; z++) to[z] = w0 * a[z] + w1 * b[z] + w2 * d[z] + w3 * e[z];
                }
            }
            const i64 p = t.first[0][x];
            const float *a = ring + p % 4 * plane, *b = ring + (p + 1) % 4 * plane, *d = ring + (p + 2) % 4 * plane;
            const float *e = ring + (p + 3) % 4 * plane, *w = t.weight[0] + 4 * x;
            const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
            float *to = out + (c * sizes[0] + x) * plane;
            for (i64 i = 0; i < plane; i++) to[i] = w0 * a[i] + w1 * b[i] + w2 * d[i] + w3 * e[i];
        }
    }
    free(along);
    free(t.first[0]);
    free(t.weight[0]);
    return 0;
}

/* Its adjoint: a gradient by the field's values (3, sizes) as one by the control points, out (3, counts); planes
 * [begin, end) of control points. */
int jssr_spline_adjoint(const float *values, const i64 *counts, const float *spacing, const float *at, const i64 *sizes,
                        float *out, i64 begin, i64 end) {
    const i64 plane = sizes[1] * sizes[2], ny = counts[1], nz = counts[2];
    Taps t;
    if (all_taps(at, sizes, spacing, counts, &t)) return 1;
    float *flat = malloc(sizeof(float) * (size_t)(ny * sizes[2] + plane + 1)), *along = flat + plane;
    if (!flat) { free(t.first[0]); free(t.weight[0]); return 1; }
    for (i64 c = 0; c < 3; c++)
        for (i64 p = begin; p < end; p++) {
            memset(flat, 0, sizeof(float) * (size_t)(plane + ny * sizes[2]));
            for (i64 x = 0; x < sizes[0]; x++) {
                const i64 k = p - t.first[0][x];
                if (k < 0 || k > 3 || t.weight[0][4 * x + k] == 0) continue;
                const float *from = values + (c * sizes[0] + x) * plane, w = t.weight[0][4 * x + k];
                for (i64 i = 0; i < plane; i++) flat[i] += w * from[i];
            }
            for (i64 y = 0; y < sizes[1]; y++) {
                const float *from = flat + y * sizes[2], *w = t.weight[1] + 4 * y;
                float *a = along + t.first[1][y] * sizes[2];
                for (i64 k = 0; k < 4; k++, a += sizes[2])
                    for (i64 z = 0; z < sizes[2]; z++) a[z] += w[k] * from[z];
            }
            for (i64 y = 0; y < ny; y++) {
                const float *from = along + y * sizes[2];
                float *to = out + ((c * counts[0] + p) * ny + y) * nz;
                memset(to, 0, sizeof(float) * (size_t)nz);
                for (i64 z = 0; z < sizes[2]; z++)
                    for (i64 k = 0; k < 4; k++) to[t.first[2][z] + k] += t.weight[2][4 * z + k] * from[z];
            }
        }
    free(flat);
    free(t.first[0]);
    free(t.weight[0]);
    return 0;
}

/* How rough a field of control points (3, counts), `spacing` mm apart, is, and the derivative by them: of the mean
 * squared gradient, or, with `sliding` above 0, of a function of the gradient that grows linearly beyond it
 * (`jssr.registration.control_points`). sums (counts[0]): the value of each plane; planes [begin, end). */
int jssr_roughness(const float *control, const i64 *counts, const float *spacing, float sliding, float *slope,
                   double *sums, i64 begin, i64 end) {
    const i64 nx = counts[0], ny = counts[1], nz = counts[2], plane = ny * nz, n = nx * plane;
    float *scratch = malloc(sizeof(float) * (size_t)(2 * plane + nz));
    if (!scratch) return 1;
    float *square = scratch + 2 * plane, inverse[3], factor[3], share[3];
    for (int a = 0; a < 3; a++) {
        const double steps = 3.0 * (double)n * (double)(counts[a] - 1) / (double)counts[a];
        inverse[a] = 1 / spacing[a];
        share[a] = (float)(steps > 0 ? 3 / steps : 0);
        factor[a] = (sliding > 0 ? 2 * sliding / (float)n : 2 * share[a]) * inverse[a] * inverse[a];
    }
    for (i64 x = begin > 0 ? begin - 1 : 0; x < end; x++) {
        float *weight = scratch + x % 2 * plane; /* of the steps from each control point to the next ones */
        double sum = 0;
        for (i64 y = 0; y < ny; y++) {
            memset(square, 0, sizeof(float) * (size_t)nz);
            for (i64 c = 0; c < 3; c++) {
                const float *at = control + c * n + x * plane + y * nz;
                const float sx = inverse[0] * inverse[0] * (sliding > 0 ? 1 : share[0]);
                const float sy = inverse[1] * inverse[1] * (sliding > 0 ? 1 : share[1]);
                const float sz = inverse[2] * inverse[2] * (sliding > 0 ? 1 : share[2]);
                if (x + 1 < nx) for (i64 z = 0; z < nz; z++) { const float d = at[z + plane] - at[z]; square[z] += sx * d * d; }
                if (y + 1 < ny) for (i64 z = 0; z < nz; z++) { const float d = at[z + nz] - at[z]; square[z] += sy * d * d; }
                for (i64 z = 0; z < nz - 1; z++) { const float d = at[z + 1] - at[z]; square[z] += sz * d * d; }
            }
            for (i64 z = 0; z < nz; z++) {
                const float root = sliding > 0 ? sqrtf(square[z] + sliding * sliding) : 1;
                weight[y * nz + z] = 1 / root;
                sum += sliding > 0 ? (double)(root - sliding) * 2 * sliding / (double)n : (double)square[z];
            }
        }
        if (x < begin) continue;
        sums[x] = sum;
        const float *behind = scratch + (x + 1) % 2 * plane;
        for (i64 c = 0; c < 3; c++)
            for (i64 y = 0; y < ny; y++) {
                const i64 row = c * n + x * plane + y * nz;
                const float *at = control + row, *w = weight + y * nz, *b = behind + y * nz;
                float *to = slope + row;
                memset(to, 0, sizeof(float) * (size_t)nz);
                if (x + 1 < nx) for (i64 z = 0; z < nz; z++) to[z] -= factor[0] * w[z] * (at[z + plane] - at[z]);
                if (x > 0) for (i64 z = 0; z < nz; z++) to[z] += factor[0] * b[z] * (at[z] - at[z - plane]);
                if (y + 1 < ny) for (i64 z = 0; z < nz; z++) to[z] -= factor[1] * w[z] * (at[z + nz] - at[z]);
                if (y > 0) for (i64 z = 0; z < nz; z++) to[z] += factor[1] * w[z - nz] * (at[z] - at[z - nz]);
                for (i64 z = 0; z < nz - 1; z++) to[z] -= factor[2] * w[z] * (at[z + 1] - at[z]);
                for (i64 z = 1; z < nz; z++) to[z] += factor[2] * w[z - 1] * (at[z] - at[z - 1]);
            }
    }
    free(scratch);
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
 * middle     the mean over the image of each voxel's mean distance; below 0: only sum it up, into sums (shape[0])
 * planar     (12, shape), or NULL; rows: halves times `factor`, `lanes` to a voxel, of which 12 are written, or NULL
 * Returns 1 where there was no memory. */
int jssr_mind(const float *around, const i64 *shape, i64 dilation, const i64 *along, const i64 *which, const i64 *from,
              float middle, double *sums, float *planar, _Float16 *rows, i64 lanes, float factor, i64 begin, i64 end) {
    const i64 d = dilation, ny = shape[1] + 2 * d, nz = shape[2] + 2 * d, held = 2 * d + 1;
    const i64 wy = shape[1] + 4 * d, wz = shape[2] + 4 * d, plane = ny * nz;
    const i64 domain = shape[0] + 2 * d, voxels = shape[0] * shape[1] * shape[2];
    const i64 width = (shape[2] + 7) / 8 * 8;
    /* Of each pair's distances the boxes of as many planes as are looked at together, and the last three planes of boxes
     * within a plane, that they are made of. */
    float *boxes = malloc(sizeof(float) * (size_t)(6 * (held + 3) * plane + plane + 8));
    float *line = malloc(sizeof(float) * (size_t)(nz + 20 * width + 8));
    if (!boxes || !line) { free(boxes); free(line); return 1; }
    float *flats = boxes + 6 * held * plane, *flat = flats + 18 * plane;
    i64 next = begin - 1; /* the plane whose boxes within it are made next */
    double total = 0;
    float *least = line + nz, *mean = least + width, *found = mean + width;
    _Float16 *halves = (_Float16 *)(found + 12 * width);
    memset(least, 0, sizeof(float) * (size_t)(14 * width));
    for (i64 x = begin; x < end; x++) {
        for (; next <= x + 2 * d + 1; next++)
            for (int pair = 0; pair < 6; pair++) {
                float *ring = flats + 3 * pair * plane;
                const i64 *to = along + 3 * pair, k = next < 0 ? 0 : next >= domain ? domain - 1 : next;
                for (i64 y = 0; y < ny; y++) {
                    const float *here = around + ((k + d) * wy + y + d) * wz + d;
                    const float *there = here + (d * to[0] * wy + d * to[1]) * wz + d * to[2];
                    float *out = line, *r = flat + y * nz;
                    for (i64 z = 0; z < nz; z++) { const float e = here[z] - there[z]; out[z] = e * e; }
                    for (i64 z = 1; z < nz - 1; z++) r[z] = out[z - 1] + out[z] + out[z + 1];
                    r[0] = out[0] + out[0] + out[1];
                    r[nz - 1] = out[nz - 2] + out[nz - 1] + out[nz - 1];
                }
                for (i64 y = 0; y < ny; y++) {
                    const float *a = flat + (y ? y - 1 : 0) * nz, *b = flat + y * nz;
                    const float *c = flat + (y < ny - 1 ? y + 1 : y) * nz;
                    float *r = ring + (next + 3) % 3 * plane + y * nz;
                    for (i64 z = 0; z < nz; z++) r[z] = a[z] + b[z] + c[z];
                }
                if (next < begin + 1) continue;
                const float *a = ring + (next + 1) % 3 * plane, *b = ring + (next + 2) % 3 * plane;
                const float *c = ring + next % 3 * plane;
                float *box = boxes + (pair * held + (next - 1) % held) * plane; /* of the plane before, now complete */
                for (i64 i = 0; i < plane; i++) box[i] = (a[i] + b[i] + c[i]) * (1.0f / 27);
            }
        total = 0;
        for (i64 y = 0; y < shape[1]; y++) {
            for (int c = 0; c < 12; c++) {
                const i64 *f = from + 3 * c;
                const float *box = boxes + (which[c] * held + (x + d + d * f[0]) % held) * plane;
                const float *at = box + (y + d + d * f[1]) * nz + d + d * f[2];
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
                    if (rows) write_half(halves + c * width + z, factor * v);
                    memcpy(value + z, &v, sizeof v);
                }
                if (planar) memcpy(planar + c * voxels + at, value, sizeof(float) * (size_t)shape[2]);
            }
            if (rows)
                for (i64 z = 0; z < shape[2]; z++)
                    for (int c = 0; c < 12; c++) rows[(at + z) * lanes + c] = halves[c * width + z];
        }
        if (middle < 0) sums[x] = total;
    }
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

/* An image u (channels, shape) whose voxels that are not `valid` (shape) are the mean of the 27 around them, the border
 * repeated. Planes [begin, end) along the first axis, counted over channels. */
int jssr_relaxed(const float *u, const i64 *shape, const uint8_t *valid, float *out, i64 begin, i64 end) {
    const i64 ny = shape[1], nz = shape[2], sx = ny * nz;
    float *line = malloc(sizeof(float) * (size_t)(nz + 2));
    if (!line) return 1;
    for (i64 plane = begin; plane < end; plane++) {
        const i64 x = plane % shape[0];
        const float *at = u + plane * sx, *planes[3] = {x > 0 ? at - sx : at, at, x < shape[0] - 1 ? at + sx : at};
        for (i64 y = 0; y < ny; y++) {
            const uint8_t *known = valid + (x * ny + y) * nz;
            float *to = out + plane * sx + y * nz;
            memcpy(to, at + y * nz, sizeof(float) * (size_t)nz);
            if (!memchr(known, 0, (size_t)nz)) continue;
            const i64 rows[3] = {(y > 0 ? y - 1 : y) * nz, y * nz, (y < ny - 1 ? y + 1 : y) * nz};
            for (i64 z = 0; z < nz; z++) {
                float sum = 0;
                for (int i = 0; i < 3; i++) sum += planes[i][rows[0] + z] + planes[i][rows[1] + z] + planes[i][rows[2] + z];
                line[z + 1] = sum;
            }
            line[0] = line[1];
            line[nz + 1] = line[nz];
            for (i64 z = 0; z < nz; z++) {
                const float mean = (line[z] + line[z + 1] + line[z + 2]) * (1.0f / 27);
                to[z] = known[z] ? to[z] : mean;
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

/* Planes of full size in the order of a file, (C, planes, Y, X), the first axis of the grid fastest. `low` and `part` are
 * where its voxels lie on a coarser grid whose axes run along its own: the lower voxel and the part of the way to the
 * next, of all of X, then of Y, then of the planes. `size` is X, Y, planes; work is parted by lines along X. */

/* One line of a coarse image (3, Z, Y, X), read between its lines: (3, X + 1), the last voxel twice. */
static void coarse_line(const float *image, const i64 *shape, i64 y, float fy, i64 z, float fz, float *row) {
    const i64 nx = shape[0], plane = shape[0] * shape[1], all_of = plane * shape[2];
    const i64 dy = shape[1] > 1 ? nx : 0, dz = shape[2] > 1 ? plane : 0;
    for (int a = 0; a < 3; a++, row += nx + 1) {
        const float *c = image + a * all_of + z * plane + y * nx;
        for (i64 x = 0; x < nx; x++) {
            const float e = c[x] + fz * (c[x + dz] - c[x]), f = c[x + dy] + fz * (c[x + dy + dz] - c[x + dy]);
            row[x] = e + fy * (f - e);
        }
        row[nx] = row[nx - 1];
    }
}

/* A displacement in mm, rounded to `step`: field (3, Z, Y, X) in mm, `more` (3, 4) what is added by voxel of the part. */
int jssr_plane_moves(const float *field, const i64 *shape, const int32_t *low, const float *part, const double *more,
                     float step, const i64 *size, float *out, i64 begin, i64 end) {
    const i64 nx = size[0], ny = size[1], n = nx * ny * size[2];
    const float inverse = 1 / step;
    float *row = malloc(sizeof(float) * (size_t)(3 * (shape[0] + 1)));
    if (!row) return 1;
    for (i64 line = begin; line < end; line++) {
        const i64 z = line / ny, y = line % ny, j = nx + y, k = nx + ny + z;
        coarse_line(field, shape, low[j], part[j], low[k], part[k], row);
        for (int a = 0; a < 3; a++) {
            const float *r = row + a * (shape[0] + 1);
            const double add = more[4 * a + 1] * (double)y + more[4 * a + 2] * (double)z + more[4 * a + 3];
            const double along = more[4 * a];
            float *to = out + a * n + line * nx;
            for (i64 x = 0; x < nx; x++) {
                const float c = r[low[x]], u = c + part[x] * (r[low[x] + 1] - c);
                to[x] = rintf((u + (float)(add + along * (double)(int32_t)x)) * inverse) * step;
            }
        }
    }
    free(row);
    return 0;
}

/* An image (X, Y, Z) where the voxels of the planes come to lie: by read (3, 4), in its voxels, and by mm (3, planes, Y, X)
 * through back (3, 3); `fill` where it has no data. Work is parted by rows of Y. */
int jssr_plane_pull(const float *image, const i64 *shape, const double *read, const double *back, const float *mm,
                    const i64 *size, float fill, float *out, i64 begin, i64 end) {
    enum { WIDE = 16 };
    const i64 nx = size[0], ny = size[1], n = nx * ny * size[2], sx = shape[1] * shape[2], sy = shape[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    const i64 blocks = (nx + WIDE - 1) / WIDE, deep = (size[2] + WIDE - 1) / WIDE;
    float turn[9];
    for (int k = 0; k < 9; k++) turn[k] = (float)back[k];
    for (i64 y0 = begin; y0 < end; y0 += WIDE)
        for (i64 b = 0; b < blocks * deep; b++) { /* blocks whose part of the image stays in the cache */
            const i64 x0 = b / deep * WIDE, z0 = b % deep * WIDE;
            const i64 wx = nx - x0 < WIDE ? nx - x0 : WIDE, wy = end - y0 < WIDE ? end - y0 : WIDE;
            const i64 wz = size[2] - z0 < WIDE ? size[2] - z0 : WIDE;
            for (i64 zy = 0; zy < wz * wy; zy++) {
                const i64 z = z0 + zy / wy, y = y0 + zy % wy, v = (z * ny + y) * nx + x0;
                float at[3][WIDE], part[3][WIDE];
                int32_t low[3][WIDE], inside[WIDE];
                for (int k = 0; k < WIDE; k++) inside[k] = 1;
                for (int a = 0; a < 3; a++) {
                    const double base = read[4 * a + 1] * (double)y + read[4 * a + 2] * (double)z + read[4 * a + 3];
                    for (int k = 0; k < wx; k++)
                        at[a][k] = (float)(base + read[4 * a] * (double)(int32_t)(x0 + k)) + turn[3 * a] * mm[v + k]
                                   + turn[3 * a + 1] * mm[n + v + k] + turn[3 * a + 2] * mm[2 * n + v + k];
                    for (int k = (int)wx; k < WIDE; k++) at[a][k] = 0;
                    const float last = (float)(shape[a] - 1), edge = (float)shape[a] - 0.5f;
                    const int32_t top = shape[a] > 1 ? (int32_t)shape[a] - 2 : 0;
                    for (int k = 0; k < WIDE; k++) { /* as `place` */
                        const float p = at[a][k], kept = p > 0 ? (p < last ? p : last) : 0;
                        const int32_t whole = (int32_t)kept, lower = whole < top ? whole : top;
                        inside[k] &= (p >= -0.5f) & (p <= edge); /* on a voxel, edges included */
                        low[a][k] = lower;
                        part[a][k] = kept - (float)lower;
                    }
                }
                for (int k = 0; k < wx; k++) {
                    const float *from = image + low[0][k] * sx + low[1][k] * sy + low[2][k];
                    const float value = between(from, dx, dy, dz, part[0][k], part[1][k], part[2][k]);
                    out[v + k] = inside[k] ? value : fill;
                }
            }
        }
    return 0;
}

/* The inverse of a field and a linear step behind it, as a displacement in mm, rounded to `step`.
 *
 * field   (Z, Y, X, 4) in its voxels; goal (3, 4): a voxel of the part where the field must lead to, in its voxels
 * moves   (3, Z, Y, X) on a lattice of `lattice` voxels (X, Y, Z): first guess of how far from the goal it begins
 * linear, tolerance, iterations as in jssr_inverse; home (3, 4) the field's voxels, world (3, 4) the part's, in mm
 * settled (planes, Y, X); where a point did not settle `out` holds where it came to, in voxels of the field */
int jssr_plane_inverse(const float *field, const i64 *shape, const double *goal, const float *moves, const i64 *lattice,
                       const int32_t *low, const float *part, const float *linear, float tolerance, i64 iterations,
                       const double *home, const double *world, float step, const i64 *size, float *out, uint8_t *settled,
                       i64 begin, i64 end) {
    typedef float v4 __attribute__((vector_size(16)));
    const i64 nx = size[0], ny = size[1], n = nx * ny * size[2];
    const i64 dx = shape[0] > 1 ? 4 : 0, dy = shape[1] > 1 ? 4 * shape[0] : 0;
    const i64 dz = shape[2] > 1 ? 4 * shape[0] * shape[1] : 0;
    const float inverse = 1 / step;
    float *row = malloc(sizeof(float) * (size_t)(3 * (lattice[0] + 1)));
    if (!row) return 1;
    for (i64 line = begin; line < end; line++) {
        const i64 z = line / ny, y = line % ny, j = nx + y, k = nx + ny + z, wide = lattice[0] + 1;
        coarse_line(moves, lattice, low[j], part[j], low[k], part[k], row);
        double aim[3], back[3];
        for (int a = 0; a < 3; a++) {
            aim[a] = goal[4 * a + 1] * (double)y + goal[4 * a + 2] * (double)z + goal[4 * a + 3];
            back[a] = home[4 * a + 3] - world[4 * a + 1] * (double)y - world[4 * a + 2] * (double)z - world[4 * a + 3];
        }
        for (i64 x = 0; x < nx; x++) {
            const float *r = row + low[x];
            float to[3], at[3];
            for (int a = 0; a < 3; a++, r += wide) {
                to[a] = (float)(aim[a] + goal[4 * a] * (double)x);
                at[a] = to[a] + (r[0] + part[x] * (r[1] - r[0]));
            }
            uint8_t found = 0;
            for (i64 round = 0; round < iterations && !found; round++) {
                const Place p = place(at[0], shape[0]), q = place(at[1], shape[1]), s = place(at[2], shape[2]);
                const float *from = field + 4 * ((s.low * shape[1] + q.low) * shape[0] + p.low);
                v4 c[8];
                for (int i = 0; i < 8; i++)
                    memcpy(&c[i], from + (i & 4 ? dx : 0) + (i & 2 ? dy : 0) + (i & 1 ? dz : 0), sizeof(v4));
                const v4 c0 = c[0] + s.part * (c[1] - c[0]), c1 = c[2] + s.part * (c[3] - c[2]);
                const v4 c2 = c[4] + s.part * (c[5] - c[4]), c3 = c[6] + s.part * (c[7] - c[6]);
                const v4 e = c0 + q.part * (c1 - c0), f = c2 + q.part * (c3 - c2), u = e + p.part * (f - e);
                float miss[3], worst = 0;
                for (int a = 0; a < 3; a++) {
                    float m = to[a] - at[a] - u[a];
                    m = m > 1e4f ? 1e4f : m < -1e4f ? -1e4f : m; /* numbers, where it diverges */
                    miss[a] = m;
                    worst = fabsf(m) > worst ? fabsf(m) : worst;
                }
                for (int a = 0; a < 3; a++)
                    at[a] += linear ? linear[3 * a] * miss[0] + linear[3 * a + 1] * miss[1] + linear[3 * a + 2] * miss[2]
                                    : miss[a];
                found = worst <= tolerance;
            }
            const i64 v = line * nx + x;
            settled[v] = found;
            for (int a = 0; a < 3; a++) {
                const float mm = (float)home[4 * a] * at[0] + (float)home[4 * a + 1] * at[1] + (float)home[4 * a + 2] * at[2]
                                 + (float)(back[a] - world[4 * a] * (double)x);
                out[a * n + v] = found ? rintf(mm * inverse) * step : at[a];
            }
        }
    }
    free(row);
    return 0;
}

/* log(x) of normal x > 0, to some 2e-7; what it gives of other numbers means nothing. */
static inline v8 log_of(v8 x) {
    typedef int32_t n8 __attribute__((vector_size(32)));
    const n8 bits = (n8)x - 0x3f3504f3; /* the square root of a half: what is left lies about 1 */
    const v8 e = __builtin_convertvector(bits >> 23, v8), m = (v8)((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    v8 y = all(7.0376836292e-2f);
    y = y * m - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * m * m - 0.5f * m * m;
    return m + (y + e * 0.6931471806f);
}

/* Of cells between neighbouring voxels of a field u (3, shape): sums (planes, 3) of those that fold, of the log Jacobian
 * determinant of the others, and of its square. linear (3, 3): the axes of the grid in the unit of u, one a column; `scale`
 * is 1 by its determinant. Planes [begin, end) of cells along the first axis. */
int jssr_regularity(const float *u, const i64 *shape, const float *linear, float scale, double *sums, i64 begin, i64 end) {
    typedef int32_t n8 __attribute__((vector_size(32)));
    const i64 sx = shape[1] * shape[2], sy = shape[2], n = shape[0] * sx, length = shape[2] - 1;
    const float *l = linear;
    float *row = malloc(sizeof(float) * (size_t)(length + 8));
    if (!row) return 1;
    for (i64 x = begin; x < end; x++) {
        double *sum = sums + 3 * x;
        sum[0] = sum[1] = sum[2] = 0;
        for (i64 y = 0; y < shape[1] - 1; y++) {
            const float *a = u + x * sx + y * sy, *b = a + n, *c = b + n;
            for (i64 z = 0; z < length; z++) {
                const float ax = a[z + sx] - a[z] + l[0], bx = b[z + sx] - b[z] + l[3], cx = c[z + sx] - c[z] + l[6];
                const float ay = a[z + sy] - a[z] + l[1], by = b[z + sy] - b[z] + l[4], cy = c[z + sy] - c[z] + l[7];
                const float az = a[z + 1] - a[z] + l[2], bz = b[z + 1] - b[z] + l[5], cz = c[z + 1] - c[z] + l[8];
                row[z] = scale * (ax * (by * cz - cy * bz) - bx * (ay * cz - cy * az) + cx * (ay * bz - by * az));
            }
            for (i64 z = length; z < length + 8; z++) row[z] = 1;
            v8 total = all(0), squares = all(0);
            n8 folds = {0};
            for (i64 z = 0; z < length; z += 8) {
                v8 value;
                memcpy(&value, row + z, sizeof value);
                const n8 kept = value > 0;
                const v8 logs = (v8)((n8)log_of(value) & kept);
                folds += kept + 1;
                total += logs;
                squares += logs * logs;
            }
            for (int i = 0; i < 8; i++) sum[0] += folds[i];
            sum[1] += sum_of(total);
            sum[2] += sum_of(squares);
        }
    }
    free(row);
    return 0;
}
