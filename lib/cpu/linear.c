/* Linear layers: preparing rows once per weight format and running a thread's panels. */
#include "cpu/cpu.h"

samba__cpu_prepared samba__cpu_take_prepared(samba__cpu_arena *arena, const samba__cpu_linear *lin)
{
    return (samba__cpu_prepared){.data = samba__cpu_take(arena, lin->row_bytes),
                                 .capacity = arena->n_rows};
}

static char *rows_of(const samba__cpu_part *part, samba__cpu_prepared prepared, size_t cols,
                     size_t row)
{
    return prepared.data + prepared.capacity * part->format + row * part->kernels->row_bytes(cols);
}

void samba__cpu_linear_prepare(const samba__cpu_linear *lin, samba__cpu_prepared prepared,
                               size_t to, size_t n, const float *x, size_t ldx)
{
    size_t done = 0; /* formats come in order of their offset */
    for (size_t i = 0; i < lin->n_parts; i++) {
        const samba__cpu_part *part = &lin->parts[i];
        if (part->format < done)
            continue;
        part->kernels->prepare_rows(
            &(samba__prepare_args){.x = x,
                                   .ldx = ldx,
                                   .n_rows = n,
                                   .cols = lin->cols,
                                   .to = rows_of(part, prepared, lin->cols, to)});
        done = part->format + part->kernels->row_bytes(lin->cols);
    }
}

void samba__cpu_linear_run_share(const samba_backend_pass *pass, const samba__cpu_linear *lin,
                                 const samba__cpu_linear_run *run, samba__cpu_thread thread)
{
    for (size_t i = run->part_begin; i < run->part_end && run->n_rows; i++) {
        const samba__cpu_part *part = &lin->parts[i];
        samba__linear_args args = {.packed = part->packed,
                                   .rows = part->rows,
                                   .cols = lin->cols,
                                   .x = rows_of(part, run->x, lin->cols, 0),
                                   .n_rows = run->n_rows,
                                   .bias = part->bias,
                                   .y = run->y + part->column,
                                   .ldy = run->ldy,
                                   .accumulate = run->accumulate};
        samba__pool_share(samba__pad16(part->rows) / 16, 1, thread.index, thread.n,
                          &args.panel_begin, &args.panel_end);
        part->kernels->run(&args);
        samba__cpu_lap(pass, thread,
                       SAMBA__CPU_PHASE_LINEAR +
                           (samba__cpu_phase)(part->kernels - pass->device->kernels.linear));
    }
}

void samba__cpu_output_prepare(samba_backend_pass *pass, const samba__cpu_output *out,
                               samba__cpu_thread thread)
{
    size_t begin, end;
    samba__pool_share(out->n_rows, 1, thread.index, thread.n, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        size_t from = out->row_map ? out->row_map[r] : r;
        samba__cpu_linear_prepare(out->lin, out->prepared, r, 1, out->input + from * out->ld,
                                  out->ld);
    }
    samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_PREPARE);
}

void samba__cpu_output_run(samba_backend_pass *pass, const samba__cpu_output *out,
                           samba__cpu_thread thread)
{
    samba__cpu_linear_run_share(pass, out->lin,
                                &(samba__cpu_linear_run){.x = out->prepared,
                                                         .n_rows = out->n_rows,
                                                         .y = pass->x,
                                                         .ldy = pass->ldx,
                                                         .part_end = out->lin->n_parts,
                                                         .accumulate = true},
                                thread);
}
