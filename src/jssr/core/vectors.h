/* What all of the C loops share: eight numbers at a time, in the vector types of GCC and Clang, and places on an axis. */
#pragma once
#include <stdint.h>

typedef float v8 __attribute__((vector_size(32)));
typedef int64_t i64;

static inline v8 all(float value) { return (v8){value, value, value, value, value, value, value, value}; }

static inline float sum_of(v8 a) { return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7])); }

/* exp(x) for x <= 0, to some 2e-7 of it; below -87 nearly 0. */
static inline v8 exp_of(v8 x) {
    typedef int32_t n8 __attribute__((vector_size(32)));
    const v8 least = all(-87.0f);
    n8 small = x < least;
    x = (v8)(((n8)x & ~small) | ((n8)least & small));
    const v8 t = x * 1.44269504f;
    const n8 whole = __builtin_convertvector(t - 0.5f, n8); /* to zero: the nearest, of what is not above 0 */
    const v8 k = __builtin_convertvector(whole, v8);
    v8 r = x - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    v8 y = all(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    const n8 scale = (whole + 127) << 23;
    return y * (v8)scale;
}

/* Where a position lies along an axis of `size` voxels: the lower voxel, the part of the way to the next, and whether
 * the position was on the axis. Beyond the border, and for what is no number, it is the border. */
typedef struct { i64 low; float part; int inside; } Place;

static inline Place place(float at, i64 size) {
    float last = (float)(size - 1);
    float kept = at > 0 ? (at < last ? at : last) : 0;
    i64 low = (i64)kept;
    if (low > size - 2) low = size > 1 ? size - 2 : 0;
    return (Place){low, kept - (float)low, kept == at};
}
