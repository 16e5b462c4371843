/*
 * Where passes spend their time, seen along share 0 of every step, whichever thread does it, and
 * the caller between sublayers. One after the other: mixers say when a phase ends, and the time
 * since the last such moment is its. Phases do not overlap, so the figures add up to the time
 * between begin and the last step. Off, a phase costs a branch.
 */
#include "cpu/cpu.h"

static const char *const names[SAMBA__CPU_PHASES] = {
    [SAMBA__CPU_PHASE_OTHER] = "other",
    [SAMBA__CPU_PHASE_WAIT] = "waiting for threads",
    [SAMBA__CPU_PHASE_EMBED] = "embedding",
    [SAMBA__CPU_PHASE_NORM] = "norm",
    [SAMBA__CPU_PHASE_PREPARE] = "preparing rows",
    [SAMBA__CPU_PHASE_CONV] = "conv",
    [SAMBA__CPU_PHASE_SCAN] = "scan",
    [SAMBA__CPU_PHASE_ROPE] = "rotary table",
    [SAMBA__CPU_PHASE_STORE] = "rotation, keys and values",
    [SAMBA__CPU_PHASE_ATTENTION] = "attention",
    [SAMBA__CPU_PHASE_DIFF] = "difference of attentions",
    [SAMBA__CPU_PHASE_GLA] = "linear attention",
    [SAMBA__CPU_PHASE_GATE] = "gate",
    [SAMBA__CPU_PHASE_COMPACT] = "dropping rows",
    [SAMBA__CPU_PHASE_HEAD] = "head",
    [SAMBA__CPU_PHASE_SCORE] = "log-probabilities",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_F32] = "linear f32",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_F16] = "linear f16",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_BF16] = "linear bf16",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_Q8_0] = "linear q8_0",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_Q4_0] = "linear q4_0",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_Q4_K] = "linear q4_k",
    [SAMBA__CPU_PHASE_LINEAR + SAMBA_DTYPE_Q6_K] = "linear q6_k",
};

void samba__cpu_profile_begin(samba_backend_device *device)
{
    if (device->profile.on)
        device->profile.last = uv_hrtime();
}

void samba__cpu_profile_lap(samba_backend_device *device, samba__cpu_phase phase)
{
    samba__cpu_profile *p = &device->profile;
    uint64_t now = uv_hrtime();
    p->phases[phase].calls++;
    p->phases[phase].ns += now - p->last;
    p->last = now;
}

size_t samba__cpu_profile_read(samba_backend_device *device, samba_profile_entry *entries,
                               size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < SAMBA__CPU_PHASES; i++) {
        const samba__cpu_phase_sum *sum = &device->profile.phases[i];
        if (!sum->calls || !names[i])
            continue;
        if (n < capacity)
            entries[n] = (samba_profile_entry){
                .name = names[i], .calls = sum->calls, .seconds = (double)sum->ns * 1e-9};
        n++;
    }
    return n;
}

void samba__cpu_profile_reset(samba_backend_device *device)
{
    for (size_t i = 0; i < SAMBA__CPU_PHASES; i++)
        device->profile.phases[i] = (samba__cpu_phase_sum){0};
}
