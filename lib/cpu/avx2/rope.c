/* The rotation of queries and keys by the rotary table. */
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/lanes.h"

/* One head: pairs (t, t + half). */
static inline void rotate(float *a, float *b, const float *c, const float *s, size_t half)
{
    for (size_t t = 0; t < half; t += 8) {
        size_t n = half - t;
        __m256 at = samba__v8_load(a + t, n), bt = samba__v8_load(b + t, n);
        __m256 ct = samba__v8_load(c + t, n), st = samba__v8_load(s + t, n);
        samba__v8_store(a + t, _mm256_fmsub_ps(at, ct, _mm256_mul_ps(bt, st)), n);
        samba__v8_store(b + t, _mm256_fmadd_ps(bt, ct, _mm256_mul_ps(at, st)), n);
    }
}

void samba__avx2_rope(const samba__rope_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t h = 0; h < args->n_heads; h++) {
            float *a = args->x + r * args->ldx + h * args->head_dim;
            rotate(a, a + args->half, args->cos + r * args->ld, args->sin + r * args->ld,
                   args->half);
        }
}
