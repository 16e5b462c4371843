/* The first step of every sublayer: norm of the residual rows, then their preparation for the
 * linear layers that read them. A normed row lives in the thread's scratch only. */
#include "cpu/cpu.h"

void samba__cpu_input_share(samba_backend_pass *pass, const samba__cpu_input *in,
                            samba__cpu_thread thread)
{
    size_t begin, end;
    float *normed = samba__cpu_thread_scratch(pass, thread);
    samba__pool_share(in->n_rows, 1, thread.index, thread.n, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        size_t from = in->row_map ? in->row_map[r] : r;
        in->norm->run(&(samba__norm_args){.x = pass->x + from * pass->ldx,
                                          .ldx = pass->ldx,
                                          .y = normed,
                                          .ldy = pass->ldx,
                                          .n_rows = 1,
                                          .n = pass->d_model,
                                          .weight = in->norm->weight,
                                          .bias = in->norm->bias,
                                          .eps = in->norm->eps});
        samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_NORM);
        samba__cpu_linear_prepare(in->lin, in->prepared, r, 1, normed, pass->ldx);
        samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_PREPARE);
    }
}
