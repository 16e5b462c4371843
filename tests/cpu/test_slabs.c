/*
 * Slabs against the plain form of what cpu.h says of their layout, element by element: unpacked,
 * each element of the canonical bytes stands where it should; packed, it comes from there. Every
 * shape of section that there can be, alone and behind others, canonical bytes at any alignment.
 * Padding lanes are nobody's, and are not looked at.
 */
#include "base/error.h"
#include "cpu/tiny.h"
#include "support/suite.h"

#include <string.h>

enum {
    MOST = 3 * 3 * 5 * 37, /* floats of any slab below, in a file */
    MARGIN = 64
};

static tiny device;
static uint64_t seed;

static void set_up(void)
{
    ck_assert_int_eq(
        tiny_open(&device, &(tiny_options){.dtype = SAMBA_DTYPE_F32, .n_threads = 1}, NULL),
        SAMBA_OK);
}

static void tear_down(void)
{
    tiny_close(&device);
}

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

/* ---------------------------------------------------------------- the plain form */

static size_t pad16(size_t n)
{
    return (n + 15) / 16 * 16;
}

typedef struct element {
    size_t head, channel, inner;
} element;

static size_t in_slab(const samba__cpu_section *s, element e)
{
    const size_t at = s->offset + e.head * s->inner * pad16(s->channels);
    if (s->grouped)
        return at + e.channel / 16 * 16 * s->inner + e.inner * 16 + e.channel % 16;
    return at + e.inner * pad16(s->channels) + e.channel;
}

static size_t in_canonical(const samba__cpu_section *s, element e)
{
    if (s->inner_first)
        return (e.head * s->inner + e.inner) * s->channels + e.channel;
    return (e.head * s->channels + e.channel) * s->inner + e.inner;
}

/* Bits that belong at a place: no two alike in a slab. */
static uint32_t bits_of(uint32_t salt, size_t section, size_t canonical)
{
    return ((uint32_t)(section * MOST + canonical) * 2654435761u) ^ salt;
}

static size_t n_elements(const samba__cpu_section *s)
{
    return s->heads * s->channels * s->inner;
}

typedef void (*visit)(uint32_t *slab, size_t at, uint32_t bits);

static void must_be(uint32_t *slab, size_t at, uint32_t bits)
{
    if (slab[at] != bits)
        ck_abort_msg("%08x at %zu, where %08x should be", slab[at], at, bits);
}

static void put(uint32_t *slab, size_t at, uint32_t bits)
{
    slab[at] = bits;
}

static void each(const samba__cpu_slab_layout *l, uint32_t *slab, uint32_t salt, visit f)
{
    for (size_t i = 0; i < l->n_sections; i++) {
        const samba__cpu_section *s = &l->sections[i];
        for (size_t h = 0; h < s->heads; h++)
            for (size_t c = 0; c < s->channels; c++)
                for (size_t k = 0; k < s->inner; k++) {
                    const element e = {h, c, k};
                    f(slab, in_slab(s, e), bits_of(salt, i, in_canonical(s, e)));
                }
    }
}

static size_t canonical_of(const samba__cpu_slab_layout *l, uint32_t salt, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n_sections; i++)
        for (size_t k = 0; k < n_elements(&l->sections[i]); k++, n += 4) {
            const uint32_t bits = bits_of(salt, i, k);
            memcpy(to + n, &bits, 4);
        }
    return n;
}

/* ---------------------------------------------------------------- both ways */

static void check_layout(const samba__cpu_slab_layout *layout)
{
    static char given[4 * MOST + 2 * MARGIN], packed[4 * MOST + 2 * MARGIN], guard[MARGIN];
    const samba_backend_weights w = {.slab = *layout};
    uint32_t slab = 0;
    memset(guard, 0x5a, sizeof guard);
    ck_assert_int_eq(samba__cpu_slab_alloc(device.device, &w, &slab, NULL), SAMBA_OK);
    uint32_t *data = device.device->slabs.entries[slab].data;
    for (size_t shift = 0; shift < 6; shift += 1 + random_bits() % 2) {
        const uint32_t salt = random_bits();
        char *canonical = packed + MARGIN + shift;
        const size_t size = canonical_of(layout, salt, given + shift);
        ck_assert_int_eq(samba__cpu_slab_unpack(device.device, slab, given + shift, size, NULL),
                         SAMBA_OK);
        each(layout, data, salt, must_be);
        memset(data, 0xff, layout->floats * sizeof(float));
        each(layout, data, ~salt, put);
        memset(packed, 0x5a, sizeof packed);
        ck_assert_int_eq(samba__cpu_slab_pack(device.device, slab, canonical, size, NULL),
                         SAMBA_OK);
        canonical_of(layout, ~salt, given + shift);
        ck_assert_mem_eq(canonical, given + shift, size);
        ck_assert_mem_eq(canonical - MARGIN / 2, guard, MARGIN / 2);
        ck_assert_mem_eq(canonical + size, guard, MARGIN / 2);
        ck_assert_int_eq(samba__cpu_slab_pack(device.device, slab, canonical, size - 4, NULL),
                         SAMBA_ERROR_MISMATCH);
    }
    samba__cpu_slab_free(device.device, slab);
}

static const size_t heads[] = {1, 3}, inners[] = {1, 2, 5}, channels[] = {1, 7, 15, 16, 17, 32, 37};

/* Section number i of all that are tried. */
enum {
    N_SECTIONS = 2 * 3 * 7 * 4
};
static samba__cpu_section section(size_t i)
{
    return (samba__cpu_section){.heads = heads[i % 2],
                                .inner = inners[i / 2 % 3],
                                .channels = channels[i / 6 % 7],
                                .inner_first = i / 42 % 2,
                                .grouped = i / 84};
}

START_TEST(every_section)
{
    for (size_t i = 0; i < N_SECTIONS; i++) {
        samba__cpu_slab_layout alone = {0}, several = {0};
        samba__cpu_slab_section(&alone, section(i));
        check_layout(&alone);
        for (size_t k = 0; k < 3; k++)
            samba__cpu_slab_section(&several, section(k == 1 ? i : random_bits() % N_SECTIONS));
        check_layout(&several);
    }
}
END_TEST

/* ---------------------------------------------------------------- whose slab it is */

static samba_status resolve(const samba__cpu_slab_layout *owner, const samba__cpu_slab_layout *user)
{
    const samba_backend_weights w = {.slab = *owner}, u = {.slab = *user};
    uint32_t in = 0, out = 0;
    float *in_data, *out_data;
    size_t first_set = 0;
    ck_assert_int_eq(samba__cpu_slab_alloc(device.device, &w, &in, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__cpu_slab_alloc(device.device, &u, &out, NULL), SAMBA_OK);
    samba_backend_seq seq = {.slab_in = &in, .slab_out = &out, .n_slab_sets = 1};
    samba_backend_pass pass = {.device = device.device,
                               .batch = {.n_slab_slots = 1, .n_seqs = 1, .seqs = &seq},
                               .slab_in = &in_data,
                               .slab_out = &out_data,
                               .first_set = &first_set};
    const samba_status status = samba__cpu_resolve_slabs(&pass, &u, 0, NULL);
    samba__cpu_slab_free(device.device, in);
    samba__cpu_slab_free(device.device, out);
    return status;
}

/* A slab is used by the sublayers of its own layout only, even where another has the same sizes: a
 * Mamba without convolution and one GLA head are both [16][8], in another order. */
START_TEST(other_layouts_are_refused)
{
    for (size_t i = 0; i < 16; i++) {
        samba__cpu_slab_layout a = {0}, b = {0};
        samba__cpu_slab_section(
            &a, (samba__cpu_section){1, 16, 8, .inner_first = i & 1, .grouped = i & 2});
        samba__cpu_slab_section(
            &b, (samba__cpu_section){1, 16, 8, .inner_first = i & 4, .grouped = i & 8});
        ck_assert_int_eq(resolve(&a, &b), i / 4 == i % 4 ? SAMBA_OK : SAMBA_ERROR_INVALID_ARGUMENT);
    }
    for (size_t i = 0; i < N_SECTIONS; i++) {
        samba__cpu_slab_layout a = {0}, b = {0};
        const size_t k = random_bits() % N_SECTIONS;
        samba__cpu_slab_section(&a, section(i));
        samba__cpu_slab_section(&b, section(k));
        ck_assert_int_eq(resolve(&a, &b), i == k ? SAMBA_OK : SAMBA_ERROR_INVALID_ARGUMENT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slabs");
    TCase *tcase = tcase_create("slabs");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, every_section);
    tcase_add_test(tcase, other_layouts_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
