/* The inner loops of training on a CPU, with their gradients, each over a part [begin, end) of its work, so that threads
 * share it. As in `kernels.c`: planar float images of three axes, nothing is kept between calls, and no result depends
 * on how the work is parted. Functions return 1 where there was no memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "vectors.h"

typedef float u8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t n8 __attribute__((vector_size(32)));
#define UNROLL _Pragma("GCC unroll 16")

static inline v8 at(const float *from) { return *(const u8 *)from; }
static inline void put(float *to, v8 value) { *(u8 *)to = value; }
static inline v8 where(n8 chosen, v8 a, v8 b) { return (v8)(((n8)a & chosen) | ((n8)b & ~chosen)); }

static float *room(i64 numbers) { return aligned_alloc(64, ((size_t)numbers * sizeof(float) + 63) / 64 * 64); }

/* The gradient by channels [begin, end) of an image (shape) that a field (3, lattice) in voxels has pulled, from that
 * by what was pulled (channels, lattice). Beyond the border is the border. `out` is zero before. */
int jssr_warp_image(const float *slope, const i64 *shape, const float *u, const i64 *lattice, float *out, i64 begin,
                i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], voxels = shape[0] * sx, n = lattice[0] * lattice[1] * lattice[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    for (i64 x = 0, p = 0; x < lattice[0]; x++) for (i64 y = 0; y < lattice[1]; y++) for (i64 z = 0; z < lattice[2]; z++, p++) {
        const Place i = place((float)x + u[p], shape[0]), j = place((float)y + u[n + p], shape[1]);
        const Place k = place((float)z + u[2 * n + p], shape[2]);
        const float hx = i.part, hy = j.part, hz = k.part, lx = 1 - hx, ly = 1 - hy, lz = 1 - hz;
        const float ll = lx * ly, lh = lx * hy, hl = hx * ly, hh = hx * hy;
        for (i64 c = begin; c < end; c++) {
            float *to = out + c * voxels + i.low * sx + j.low * sy + k.low;
            const float g = slope[c * n + p];
            to[0] += g * ll * lz, to[dz] += g * ll * hz, to[dy] += g * lh * lz, to[dy + dz] += g * lh * hz;
            to[dx] += g * hl * lz, to[dx + dz] += g * hl * hz;
            to[dx + dy] += g * hh * lz, to[dx + dy + dz] += g * hh * hz;
        }
    }
    return 0;
}

/* The gradient by that field, (3, lattice), of points [begin, end). At the border and beyond it is 0. */
int jssr_warp_field(const float *image, i64 channels, const i64 *shape, const float *slope, const float *u,
              const i64 *lattice, float *out, i64 begin, i64 end) {
    const i64 sx = shape[1] * shape[2], sy = shape[2], voxels = shape[0] * sx, n = lattice[0] * lattice[1] * lattice[2];
    const i64 dx = shape[0] > 1 ? sx : 0, dy = shape[1] > 1 ? sy : 0, dz = shape[2] > 1 ? 1 : 0;
    i64 x = begin / (lattice[1] * lattice[2]), y = begin / lattice[2] % lattice[1], z = begin % lattice[2];
    for (i64 p = begin; p < end; p++) {
        const float a = (float)x + u[p], b = (float)y + u[n + p], c = (float)z + u[2 * n + p];
        const Place i = place(a, shape[0]), j = place(b, shape[1]), k = place(c, shape[2]);
        const float hx = i.part, hy = j.part, hz = k.part;
        const float *from = image + i.low * sx + j.low * sy + k.low;
        float by[3] = {0, 0, 0};
        for (i64 ch = 0; ch < channels; ch++, from += voxels) {
            const float d0 = from[dz] - from[0], d1 = from[dy + dz] - from[dy];
            const float d2 = from[dx + dz] - from[dx], d3 = from[dx + dy + dz] - from[dx + dy];
            const float e0 = from[0] + hz * d0, e1 = from[dy] + hz * d1;
            const float e2 = from[dx] + hz * d2, e3 = from[dx + dy] + hz * d3, g = slope[ch * n + p];
            const float z0 = d0 + hy * (d1 - d0), z1 = d2 + hy * (d3 - d2);
            by[0] += g * ((e2 + hy * (e3 - e2)) - (e0 + hy * (e1 - e0)));
            by[1] += g * ((e1 - e0) + hx * ((e3 - e2) - (e1 - e0)));
            by[2] += g * (z0 + hx * (z1 - z0));
        }
        out[p] = a > 0 && a < (float)(shape[0] - 1) ? by[0] : 0;
        out[n + p] = b > 0 && b < (float)(shape[1] - 1) ? by[1] : 0;
        out[2 * n + p] = c > 0 && c < (float)(shape[2] - 1) ? by[2] : 0;
        if (++z == lattice[2]) {
            z = 0;
            if (++y == lattice[1]) { y = 0; x++; }
        }
    }
    return 0;
}

static inline void mix(float *to, const float *a, const float *b, float part, i64 n) {
    for (i64 k = 0; k < n; k++) to[k] = a[k] + part * (b[k] - a[k]);
}

static inline void add(float *to, const float *from, float by, i64 n) {
    for (i64 k = 0; k < n; k++) to[k] += by * from[k];
}

/* Channels [begin, end) of an image (old) resized linearly to (new). For every voxel along each axis of the new one, axis
 * after axis: `low`, the old voxel before it, non-decreasing and with another after it unless the axis has one, and
 * `part`, the share of the way to that. */
int jssr_resize(const float *image, const i64 *old, const i64 *new, const i64 *low, const float *part, float *out,
                i64 begin, i64 end) {
    const i64 *ly = low + new[0], *lz = ly + new[1], plane = new[1] * new[2];
    const float *py = part + new[0], *pz = py + new[1];
    const i64 dx = old[0] > 1, dy = old[1] > 1 ? new[2] : 0, dz = old[2] > 1;
    float *rows = room(old[1] * new[2]), *planes = room(2 * plane);
    if (!rows || !planes) { free(rows); free(planes); return 1; }
    for (i64 c = begin; c < end; c++) {
        const float *from = image + c * old[0] * old[1] * old[2];
        float *to = out + c * new[0] * plane;
        i64 made = -1; /* the last old plane that has been resized */
        for (i64 x = 0; x < new[0]; x++, to += plane) {
            for (i64 i = made + 1 > low[x] ? made + 1 : low[x]; i <= low[x] + dx; made = i++) {
                const float *line = from + i * old[1] * old[2];
                for (i64 y = 0; y < old[1]; y++, line += old[2])
                    for (i64 z = 0; z < new[2]; z++) {
                        const float *p = line + lz[z];
                        rows[y * new[2] + z] = p[0] + pz[z] * (p[dz] - p[0]);
                    }
                float *made_of = planes + i % 2 * plane;
                for (i64 y = 0; y < new[1]; y++)
                    mix(made_of + y * new[2], rows + ly[y] * new[2], rows + ly[y] * new[2] + dy, py[y], new[2]);
            }
            mix(to, planes + low[x] % 2 * plane, planes + (low[x] + dx) % 2 * plane, part[x], plane);
        }
    }
    free(rows);
    free(planes);
    return 0;
}

/* The gradient of that by the image, from the one by what was made of it. */
int jssr_resize_back(const float *slope, const i64 *old, const i64 *new, const i64 *low, const float *part, float *out,
                     i64 begin, i64 end) {
    const i64 *ly = low + new[0], *lz = ly + new[1], plane = new[1] * new[2];
    const float *py = part + new[0], *pz = py + new[1];
    const i64 dx = old[0] > 1, dy = old[1] > 1 ? new[2] : 0, dz = old[2] > 1;
    float *rows = room(old[1] * new[2]), *planes = room(2 * plane);
    if (!rows || !planes) { free(rows); free(planes); return 1; }
    for (i64 c = begin; c < end; c++) {
        const float *from = slope + c * new[0] * plane;
        float *to = out + c * old[0] * old[1] * old[2];
        memset(to, 0, (size_t)(old[0] * old[1] * old[2]) * sizeof *to);
        memset(planes, 0, (size_t)(2 * plane) * sizeof *planes);
        i64 done = 0; /* old planes before this one have got all that is theirs */
        for (i64 x = 0; x <= new[0]; x++, from += plane) {
            for (i64 until = x < new[0] ? low[x] : old[0]; done < until; done++) {
                float *full = planes + done % 2 * plane, *line = to + done * old[1] * old[2];
                memset(rows, 0, (size_t)(old[1] * new[2]) * sizeof *rows);
                for (i64 y = 0; y < new[1]; y++) {
                    add(rows + ly[y] * new[2], full + y * new[2], 1 - py[y], new[2]);
                    add(rows + ly[y] * new[2] + dy, full + y * new[2], py[y], new[2]);
                }
                for (i64 y = 0; y < old[1]; y++, line += old[2])
                    for (i64 z = 0; z < new[2]; z++) {
                        const float g = rows[y * new[2] + z];
                        line[lz[z]] += (1 - pz[z]) * g;
                        line[lz[z] + dz] += pz[z] * g;
                    }
                memset(full, 0, (size_t)plane * sizeof *full);
            }
            if (x == new[0]) break;
            add(planes + low[x] % 2 * plane, from, 1 - part[x], plane);
            add(planes + (low[x] + dx) % 2 * plane, from, part[x], plane);
        }
    }
    free(rows);
    free(planes);
    return 0;
}

enum { BATCH = 64 }; /* voxels of all channels that stay in the first cache */

static inline void read_voxels(float (*to)[BATCH], const float *image, i64 channels, i64 voxels, i64 first, i64 n) {
    for (i64 c = 0; c < channels; c++) {
        memcpy(to[c], image + c * voxels + first, (size_t)n * sizeof(float));
        for (i64 k = n; k < BATCH; k++) to[c][k] = 0;
    }
}

static inline void write_voxels(float *image, float (*from)[BATCH], i64 channels, i64 voxels, i64 first, i64 n) {
    for (i64 c = 0; c < channels; c++) memcpy(image + c * voxels + first, from[c], (size_t)n * sizeof(float));
}

/* to = bias + weight from: (rows, columns) at each of the voxels. `down`, `across`: steps in the weights from row to row
 * and from column to column. */
static inline void product(float (*to)[BATCH], float (*from)[BATCH], const float *weight, const float *bias, i64 rows,
                           i64 columns, i64 down, i64 across) {
    for (i64 r = 0; r < rows; r++, weight += down) {
        v8 sum[BATCH / 8];
        UNROLL for (int q = 0; q < BATCH / 8; q++) sum[q] = all(bias ? bias[r] : 0);
        for (i64 c = 0; c < columns; c++) {
            const v8 by = all(weight[c * across]);
            UNROLL for (int q = 0; q < BATCH / 8; q++) sum[q] += by * at(from[c] + 8 * q);
        }
        UNROLL for (int q = 0; q < BATCH / 8; q++) put(to[r] + 8 * q, sum[q]);
    }
}

/* sums (rows, columns) += the products of two sets of channels, over the voxels. */
static inline void products(v8 *sums, float (*a)[BATCH], float (*b)[BATCH], i64 rows, i64 columns) {
    for (i64 r = 0; r < rows; r++) {
        v8 left[BATCH / 8];
        UNROLL for (int q = 0; q < BATCH / 8; q++) left[q] = at(a[r] + 8 * q);
        for (i64 c = 0; c < columns; c++, sums++) {
            v8 sum = *sums;
            UNROLL for (int q = 0; q < BATCH / 8; q++) sum += left[q] * at(b[c] + 8 * q);
            *sums = sum;
        }
    }
}

/* Two layers at each voxel: second (first [a, b] + its bias, PReLU) + its bias, of voxels [begin, end).
 *
 * a (na, voxels), b (nb, voxels); first (nh, na + nb); slope (nh) of the PReLU; second (no, nh); out (no, voxels) */
int jssr_head(const float *a, i64 na, const float *b, i64 nb, i64 voxels, const float *first, const float *first_bias,
              const float *slope, i64 nh, const float *second, const float *second_bias, i64 no, float *out, i64 begin,
              i64 end) {
    float (*in)[BATCH] = (float (*)[BATCH])room((na + nb + nh + no) * BATCH);
    if (!in) return 1;
    float (*hidden)[BATCH] = in + na + nb, (*made)[BATCH] = hidden + nh;
    for (i64 v = begin; v < end; v += BATCH) {
        const i64 n = end - v < BATCH ? end - v : BATCH;
        read_voxels(in, a, na, voxels, v, n);
        read_voxels(in + na, b, nb, voxels, v, n);
        product(hidden, in, first, first_bias, nh, na + nb, na + nb, 1);
        for (i64 h = 0; h < nh; h++)
            for (int k = 0; k < BATCH; k++) hidden[h][k] = hidden[h][k] > 0 ? hidden[h][k] : slope[h] * hidden[h][k];
        product(made, hidden, second, second_bias, no, nh, nh, 1);
        write_voxels(out, made, no, voxels, v, n);
    }
    free(in);
    return 0;
}

/* The gradients of that from `above` (no, voxels): by a and b, and into `sums`, of these voxels, by the first layer's
 * weights and bias, the slope, the second layer's weights and bias, one after the other. */
int jssr_head_back(const float *above, const float *a, i64 na, const float *b, i64 nb, i64 voxels, const float *first,
                   const float *first_bias, const float *slope, i64 nh, const float *second, i64 no, float *of_a,
                   float *of_b, float *sums, i64 begin, i64 end) {
    const i64 ni = na + nb, count = nh * ni + 2 * nh + no * nh + no;
    float (*in)[BATCH] = (float (*)[BATCH])room((2 * ni + 3 * nh + no + 1) * BATCH);
    v8 *total = (v8 *)room(count * 8);
    if (!in || !total) { free(in); free(total); return 1; }
    float (*of_in)[BATCH] = in + ni, (*before)[BATCH] = of_in + ni, (*hidden)[BATCH] = before + nh;
    float (*of_hidden)[BATCH] = hidden + nh, (*g)[BATCH] = of_hidden + nh, (*ones)[BATCH] = g + no;
    v8 *of_bias = total + nh * ni, *of_slope = of_bias + nh, *of_second = of_slope + nh;
    memset(total, 0, (size_t)count * sizeof *total);
    for (int k = 0; k < BATCH; k++) ones[0][k] = 1;
    for (i64 v = begin; v < end; v += BATCH) {
        const i64 n = end - v < BATCH ? end - v : BATCH;
        read_voxels(in, a, na, voxels, v, n);
        read_voxels(in + na, b, nb, voxels, v, n);
        read_voxels(g, above, no, voxels, v, n);
        product(before, in, first, first_bias, nh, ni, ni, 1);
        product(of_hidden, g, second, NULL, nh, no, 1, nh);
        for (i64 h = 0; h < nh; h++)
            for (int k = 0; k < BATCH; k += 8) {
                const v8 x = at(before[h] + k), up = at(of_hidden[h] + k), by = all(slope[h]);
                const n8 passed = x > 0;
                put(hidden[h] + k, where(passed, x, by * x));
                put(of_hidden[h] + k, where(passed, up, by * up));
                of_slope[h] += where(passed, all(0), up * x);
            }
        products(of_second, g, hidden, no, nh);
        products(of_second + no * nh, g, ones, no, 1);
        products(total, of_hidden, in, nh, ni);
        products(of_bias, of_hidden, ones, nh, 1);
        product(of_in, of_hidden, first, NULL, ni, nh, 1, ni);
        if (of_a) write_voxels(of_a, of_in, na, voxels, v, n);
        if (of_b) write_voxels(of_b, of_in + na, nb, voxels, v, n);
    }
    for (i64 k = 0; k < count; k++) sums[k] = sum_of(total[k]);
    free(in);
    free(total);
    return 0;
}

/* Up to eight numbers, zeros after `n`. */
static inline v8 some(const float *from, i64 n) {
    if (n >= 8) return at(from);
    v8 found = all(0);
    memcpy(&found, from, (size_t)n * sizeof *from);
    return found;
}

static inline void put_some(float *to, v8 value, i64 n) {
    if (n >= 8) put(to, value);
    else memcpy(to, &value, (size_t)n * sizeof *to);
}

/* Rows [begin, end) of an image (rows of `voxels`), `channels` rows to a sample: each normalised to mean 0 and variance
 * 1, scaled and shifted; plus `beside`; through a PReLU.
 *
 * scale, shift, slope  one for each channel; without scale nothing is normalised, without slope there is no PReLU
 * beside               (rows of voxels), or NULL
 * seen                 mean and 1 / deviation of each row, for the way back */
int jssr_activate(const float *image, i64 voxels, i64 channels, const float *scale, const float *shift,
                  const float *beside, const float *slope, float eps, float *seen, float *out, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const float *x = image + r * voxels, *more = beside ? beside + r * voxels : NULL;
        float *to = out + r * voxels, by = 1, plus = 0;
        if (scale) {
            double mean = 0, spread = 0;
            for (i64 first = 0; first < voxels; first += 1024) {
                v8 sum = all(0);
                for (i64 k = first; k < voxels && k < first + 1024; k += 8) sum += some(x + k, voxels - k);
                mean += sum_of(sum);
            }
            mean /= (double)voxels;
            for (i64 first = 0; first < voxels; first += 1024) {
                v8 sum = all(0);
                for (i64 k = first; k < voxels && k < first + 1024; k += 8) {
                    const v8 off = some(x + k, voxels - k) - (float)mean;
                    if (voxels - k >= 8) sum += off * off;
                    else for (i64 q = 0; q < voxels - k; q++) spread += off[q] * off[q];
                }
                spread += sum_of(sum);
            }
            seen[2 * r] = (float)mean;
            seen[2 * r + 1] = (float)(1 / sqrt(spread / (double)voxels + eps));
            by = seen[2 * r + 1] * scale[r % channels];
            plus = shift[r % channels] - seen[2 * r] * by;
        }
        const v8 falls = all(slope ? slope[r % channels] : 1);
        for (i64 k = 0; k < voxels; k += 8) {
            v8 made = some(x + k, voxels - k) * by + plus;
            if (more) made += some(more + k, voxels - k);
            put_some(to + k, where(made > 0, made, made * falls), voxels - k);
        }
    }
    return 0;
}

/* The gradients of that from `above`: by the image and what is beside it (or NULL), and for each row, into `sums`, by
 * scale, shift and slope. */
int jssr_activate_back(const float *above, const float *image, i64 voxels, i64 channels, const float *scale,
                       const float *shift, const float *beside, const float *slope, const float *seen, float *of_image,
                       float *of_beside, float *sums, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const float *x = image + r * voxels, *more = beside ? beside + r * voxels : NULL, *up = above + r * voxels;
        const i64 c = r % channels;
        const float mean = scale ? seen[2 * r] : 0, unit = scale ? seen[2 * r + 1] : 1;
        const float by = scale ? scale[c] : 1, plus = scale ? shift[c] : 0, falls = slope ? slope[c] : 1;
        float *to = of_image + r * voxels;
        double of_scale = 0, of_shift = 0, of_slope = 0;
        for (i64 first = 0; first < voxels; first += 1024) {
            v8 a = all(0), b = all(0), s = all(0);
            for (i64 k = first; k < voxels && k < first + 1024; k += 8) { /* where nothing is, `up` is 0 */
                const v8 normal = (some(x + k, voxels - k) - mean) * unit;
                v8 before = normal * by + plus, g = some(up + k, voxels - k);
                if (more) before += some(more + k, voxels - k);
                const n8 passed = before > 0;
                s += where(passed, all(0), g * before);
                g = where(passed, g, g * falls);
                a += g * normal;
                b += g;
                put_some(to + k, g, voxels - k);
            }
            of_scale += sum_of(a), of_shift += sum_of(b), of_slope += sum_of(s);
        }
        sums[3 * r] = (float)of_scale, sums[3 * r + 1] = (float)of_shift, sums[3 * r + 2] = (float)of_slope;
        if (of_beside) memcpy(of_beside + r * voxels, to, (size_t)voxels * sizeof *to);
        if (!scale) continue;
        const float even = (float)(of_shift / (double)voxels), along = (float)(of_scale / (double)voxels);
        for (i64 k = 0; k < voxels; k += 8) {
            const v8 normal = (some(x + k, voxels - k) - mean) * unit;
            put_some(to + k, (some(to + k, voxels - k) - even - normal * along) * (by * unit), voxels - k);
        }
    }
    return 0;
}

/* Probabilities of up to eight voxels from their logits, a channel every `apart` numbers; returns the logarithm's
 * terms: the largest logit, and in `total` the sum of exponentials. */
static inline v8 softmax(const float *logits, i64 classes, i64 apart, i64 n, v8 *p, v8 *total) {
    v8 most = some(logits, n), sum = all(0);
    for (i64 k = 1; k < classes; k++) {
        const v8 value = some(logits + k * apart, n);
        most = where(value > most, value, most);
    }
    for (i64 k = 0; k < classes; k++) sum += p[k] = exp_of(some(logits + k * apart, n) - most);
    const v8 part = 1 / sum;
    for (i64 k = 0; k < classes; k++) p[k] *= part;
    *total = sum;
    return most;
}

static inline i64 least_of(i64 a, i64 b) { return a < b ? a : b; }

/* Means over blocks of `size` voxels, those cut off by the border too, of class probabilities, from logits (classes,
 * shape): planes [begin, end) of the coarse grid's first axis. */
int jssr_share(const float *logits, i64 classes, const i64 *shape, i64 size, float *out, i64 begin, i64 end) {
    const i64 voxels = shape[0] * shape[1] * shape[2], up = (shape[2] + 7) / 8 * 8;
    const i64 ny = (shape[1] + size - 1) / size, nz = (shape[2] + size - 1) / size;
    const i64 coarse = (shape[0] + size - 1) / size * ny * nz;
    float *lines = room(classes * up), *p = room(classes * 8);
    if (!lines || !p) { free(lines); free(p); return 1; }
    for (i64 x = begin; x < end; x++) for (i64 y = 0; y < ny; y++) {
        const i64 tx = least_of((x + 1) * size, shape[0]), ty = least_of((y + 1) * size, shape[1]);
        memset(lines, 0, (size_t)(classes * up) * sizeof *lines);
        for (i64 i = x * size; i < tx; i++) for (i64 j = y * size; j < ty; j++)
            for (i64 z = 0; z < shape[2]; z += 8) {
                v8 total;
                softmax(logits + (i * shape[1] + j) * shape[2] + z, classes, voxels, shape[2] - z, (v8 *)p, &total);
                for (i64 k = 0; k < classes; k++) put(lines + k * up + z, at(lines + k * up + z) + at(p + 8 * k));
            }
        for (i64 k = 0; k < classes; k++) for (i64 z = 0; z < nz; z++) {
            const i64 tz = least_of((z + 1) * size, shape[2]);
            float sum = 0;
            for (i64 q = z * size; q < tz; q++) sum += lines[k * up + q];
            out[k * coarse + (x * ny + y) * nz + z] = sum / (float)((tx - x * size) * (ty - y * size) * (tz - z * size));
        }
    }
    free(lines);
    free(p);
    return 0;
}

/* The gradient of that by the logits, from the one by the means, of the same planes. */
int jssr_share_back(const float *above, const float *logits, i64 classes, const i64 *shape, i64 size, float *out,
                    i64 begin, i64 end) {
    const i64 voxels = shape[0] * shape[1] * shape[2], up = (shape[2] + 7) / 8 * 8;
    const i64 ny = (shape[1] + size - 1) / size, nz = (shape[2] + size - 1) / size;
    const i64 coarse = (shape[0] + size - 1) / size * ny * nz;
    float *lines = room(classes * up), *p = room(classes * 8);
    if (!lines || !p) { free(lines); free(p); return 1; }
    for (i64 x = begin; x < end; x++) for (i64 y = 0; y < ny; y++) {
        const i64 tx = least_of((x + 1) * size, shape[0]), ty = least_of((y + 1) * size, shape[1]);
        for (i64 k = 0; k < classes; k++) for (i64 z = 0; z < nz; z++) {
            const i64 tz = least_of((z + 1) * size, shape[2]);
            const float g = above[k * coarse + (x * ny + y) * nz + z];
            for (i64 q = z * size; q < tz; q++)
                lines[k * up + q] = g / (float)((tx - x * size) * (ty - y * size) * (tz - z * size));
        }
        for (i64 i = x * size; i < tx; i++) for (i64 j = y * size; j < ty; j++)
            for (i64 z = 0; z < shape[2]; z += 8) {
                const i64 from = (i * shape[1] + j) * shape[2] + z, n = shape[2] - z;
                v8 total, sum = all(0);
                softmax(logits + from, classes, voxels, n, (v8 *)p, &total);
                for (i64 k = 0; k < classes; k++) sum += at(p + 8 * k) * some(lines + k * up + z, n);
                for (i64 k = 0; k < classes; k++)
                    put_some(out + k * voxels + from, at(p + 8 * k) * (some(lines + k * up + z, n) - sum), n);
            }
    }
    free(lines);
    free(p);
    return 0;
}

static inline n8 labels_of(const i64 *labels, i64 n) {
    n8 found = {-1, -1, -1, -1, -1, -1, -1, -1};
    for (i64 k = 0; k < least_of(n, 8); k++) found[k] = (int32_t)labels[k];
    return found;
}

/* How class probabilities, from logits (classes, voxels), and labels agree, of voxels [begin, end): for each class the
 * sums over it of the probability where it is the label, of the squared probability, and of the labels, in `sums` (3,
 * classes); after them the sum of the cross-entropies. */
int jssr_overlap(const float *logits, const i64 *labels, i64 classes, i64 voxels, double *sums, i64 begin, i64 end) {
    v8 *p = (v8 *)room(classes * 8 * 3);
    if (!p) return 1;
    v8 *met = p + classes, *square = met + classes;
    double cross = 0;
    for (i64 k = 0; k < 3 * classes; k++) sums[k] = 0;
    for (i64 first = begin; first < end; first += 1024) {
        memset(met, 0, (size_t)(2 * classes) * sizeof *met);
        for (i64 v = first; v < end && v < first + 1024; v += 8) {
            const i64 n = least_of(end - v, 8);
            v8 total;
            const v8 most = softmax(logits + v, classes, voxels, n, p, &total);
            const n8 is = labels_of(labels + v, n);
            for (i64 k = 0; k < classes; k++) {
                met[k] += where(is == (int32_t)k, p[k], all(0));
                square[k] += where(is >= 0, p[k] * p[k], all(0));
            }
            for (i64 q = 0; q < n; q++) {
                sums[2 * classes + is[q]] += 1;
                cross += (double)(most[q] + logf(total[q]) - logits[is[q] * voxels + v + q]);
            }
        }
        for (i64 k = 0; k < classes; k++) sums[k] += sum_of(met[k]), sums[classes + k] += sum_of(square[k]);
    }
    sums[3 * classes] = cross;
    free(p);
    return 0;
}

/* The gradient of those sums by the logits; `by` (2 classes + 1) are the gradients by the first two and by the last. */
int jssr_overlap_back(const float *by, const float *logits, const i64 *labels, i64 classes, i64 voxels, float *out,
                      i64 begin, i64 end) {
    v8 *p = (v8 *)room(classes * 8);
    if (!p) return 1;
    for (i64 v = begin; v < end; v += 8) {
        const i64 n = least_of(end - v, 8);
        v8 total, sum = all(0);
        softmax(logits + v, classes, voxels, n, p, &total);
        const n8 is = labels_of(labels + v, n);
        for (i64 k = 0; k < classes; k++)
            sum += p[k] * (where(is == (int32_t)k, all(by[k]), all(0)) + 2 * by[classes + k] * p[k]);
        for (i64 k = 0; k < classes; k++) {
            const v8 own = where(is == (int32_t)k, all(1), all(0));
            const v8 of = own * by[k] + 2 * by[classes + k] * p[k];
            put_some(out + k * voxels + v, p[k] * (of - sum) + by[2 * classes] * (p[k] - own), n);
        }
    }
    free(p);
    return 0;
}

/* What a plane x of the result of a convolution of 3^3 voxels, padded by one, sees of one channel: lines [y - 1, y +
 * lines + 1) of three planes, each of `wide` numbers that begin before the first voxel, with zeros around. */
static void seen_by(const float *image, const i64 *shape, i64 x, i64 y, i64 lines, i64 wide, float *to) {
    for (i64 a = x - 1; a <= x + 1; a++) for (i64 b = y - 1; b <= y + lines; b++, to += wide) {
        memset(to, 0, (size_t)wide * sizeof *to);
        if (a < 0 || a >= shape[0] || b < 0 || b >= shape[1]) continue;
        memcpy(to + 1, image + (a * shape[1] + b) * shape[2], (size_t)shape[2] * sizeof *to);
    }
}

enum { INPUTS = 4, OUTPUTS = 16, LANES = 4 }; /* channels of a part of the weights, and of those at one time */

/* sums (LANES, 3) += products of lines of the gradient, a channel every `apart` numbers, and of what is seen before, at
 * and after each voxel. */
static void gather(const float *seen, i64 wide, const float *g, i64 apart, i64 lines, i64 vectors, v8 *sums) {
    v8 s[3 * LANES];
    UNROLL for (int k = 0; k < 3 * LANES; k++) s[k] = sums[k];
    for (i64 j = 0; j < lines; j++, seen += wide)
        for (i64 z = 0; z < vectors; z++, g += 8) {
            const v8 before = at(seen + 8 * z), here = at(seen + 8 * z + 1), after = at(seen + 8 * z + 2);
            UNROLL for (int o = 0; o < LANES; o++) {
                const v8 by = at(g + o * apart);
                s[3 * o] += by * before, s[3 * o + 1] += by * here, s[3 * o + 2] += by * after;
            }
        }
    UNROLL for (int k = 0; k < 3 * LANES; k++) sums[k] = s[k];
}

/* The gradient of such a convolution by its weights (outputs, inputs, 3, 3, 3), from the one by its result. Parts are
 * pairs of `INPUTS` and `OUTPUTS` channels, those of the latter first.
 *
 * image (batch, inputs, shape), slope (batch, outputs, shape) */
int jssr_convolution_weights(const float *image, const float *slope, i64 batch, i64 inputs, i64 outputs,
                             const i64 *shape, float *out, i64 begin, i64 end) {
    const i64 voxels = shape[0] * shape[1] * shape[2], round = (shape[2] + 7) / 8 * 8, wide = round + 8;
    const i64 groups = (outputs + OUTPUTS - 1) / OUTPUTS;
    const i64 lines = least_of(16384 / (OUTPUTS * round) + 1, shape[1]); /* what is seen of them stays in a cache */
    float *seen = room(INPUTS * 3 * (lines + 2) * wide), *g = room(OUTPUTS * lines * round);
    v8 *sums = (v8 *)room(INPUTS * 27 * OUTPUTS * 8);
    if (!seen || !g || !sums) { free(seen); free(g); free(sums); return 1; }
    for (i64 part = begin; part < end; part++) {
        const i64 k0 = part / groups * INPUTS, o0 = part % groups * OUTPUTS;
        const i64 nk = least_of(INPUTS, inputs - k0), no = least_of(OUTPUTS, outputs - o0);
        memset(sums, 0, INPUTS * 27 * OUTPUTS * sizeof *sums);
        for (i64 b = 0; b < batch; b++) for (i64 x = 0; x < shape[0]; x++) for (i64 y = 0; y < shape[1]; y += lines) {
            const i64 now = least_of(lines, shape[1] - y), apart = now * round, plane = (now + 2) * wide;
            for (i64 k = 0; k < nk; k++)
                seen_by(image + (b * inputs + k0 + k) * voxels, shape, x, y, now, wide, seen + k * 3 * plane);
            memset(g, 0, (size_t)(OUTPUTS * apart) * sizeof *g);
            for (i64 o = 0; o < no; o++) for (i64 j = 0; j < now; j++)
                memcpy(g + o * apart + j * round,
                       slope + (b * outputs + o0 + o) * voxels + (x * shape[1] + y + j) * shape[2],
                       (size_t)shape[2] * sizeof *g);
            v8 *sum = sums;
            for (i64 o = 0; o < no; o += LANES) for (i64 k = 0; k < nk; k++) for (i64 t = 0; t < 9; t++, sum += 3 * LANES)
                gather(seen + (k * 3 + t / 3) * plane + t % 3 * wide, wide, g + o * apart, apart, now, round / 8, sum);
        }
        const v8 *sum = sums;
        for (i64 o = 0; o < no; o += LANES) for (i64 k = 0; k < nk; k++) for (i64 t = 0; t < 9; t++)
            for (i64 c = o; c < o + LANES; c++) for (i64 l = 0; l < 3; l++, sum++)
                if (c < no) out[(((o0 + c) * inputs + k0 + k) * 9 + t) * 3 + l] = sum_of(*sum);
    }
    free(seen);
    free(g);
    free(sums);
    return 0;
}

/* A convolution's sizes: voxels of its image and of its result, its kernel, stride and padding along each axis. */
typedef struct { const i64 *in, *out, *kernel, *stride, *padding; } Shape;

static inline Shape shape_of(const i64 *sizes) {
    return (Shape){sizes, sizes + 3, sizes + 6, sizes + 9, sizes + 12};
}

/* The transpose of cutting an image's channels [begin, end) into the parts that a convolution sees: of columns
 * (channels, kernel, out) each is added where it was seen in `image` (channels, in), which is zero before. */
int jssr_fold(const float *columns, const i64 *sizes, float *image, i64 begin, i64 end) {
    const Shape s = shape_of(sizes);
    const i64 voxels = s.in[0] * s.in[1] * s.in[2], taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
    const i64 made = s.out[0] * s.out[1] * s.out[2], by = s.stride[2];
    for (i64 c = begin; c < end; c++) for (i64 x = 0; x < s.out[0]; x++) for (i64 t = 0; t < taps; t++) {
        const i64 i = t / (s.kernel[1] * s.kernel[2]), j = t / s.kernel[2] % s.kernel[1], l = t % s.kernel[2];
        const i64 a = x * s.stride[0] + i - s.padding[0], from = l - s.padding[2];
        if (a < 0 || a >= s.in[0]) continue;
        i64 first = 0, last = s.out[2];
        while (first < last && first * by + from < 0) first++;
        while (last > first && (last - 1) * by + from >= s.in[2]) last--;
        for (i64 y = 0; y < s.out[1]; y++) {
            const i64 b = y * s.stride[1] + j - s.padding[1];
            if (b < 0 || b >= s.in[1]) continue;
            const float *line = columns + (c * taps + t) * made + (x * s.out[1] + y) * s.out[2];
            float *to = image + c * voxels + (a * s.in[1] + b) * s.in[2] + from;
            for (i64 z = first; z < last; z++) to[z * by] += line[z];
        }
    }
    return 0;
}
