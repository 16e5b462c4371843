/* Making and freeing plans: picks the family by container and runs it. */
#include "model/family.h"

#include <string.h>

static samba_status check_options(const samba__build *b, samba_error **error)
{
    const samba__plan_options *o = b->options;
    if (o->rope_table < 0 || o->rope_table > SAMBA_ROPE_TABLE_F32)
        return samba__fail(b->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "rope_table is %d, known are 1 and 2", o->rope_table);
    if (o->weight_dtype && !samba_dtype_name(o->weight_dtype))
        return samba__fail(b->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "weight_dtype is %d, which is no known type", o->weight_dtype);
    return SAMBA_OK;
}

static samba_status run(samba__build *b, samba_error **error)
{
    SAMBA__TRY(check_options(b, error));
    if (b->checkpoint->container == SAMBA__CONTAINER_GGUF)
        SAMBA__TRY(samba__family_gguf(b, error));
    else
        SAMBA__TRY(samba__family_folder(b, error));
    return samba__build_finish(b, error);
}

samba_status samba__plan_create(const samba__checkpoint *checkpoint,
                                const samba__plan_options *options, samba__plan **plan,
                                samba_error **error)
{
    const samba__plan_options none = {0};
    const samba_allocator *a = checkpoint->alloc;
    samba__plan *p = samba__calloc(a, 1, sizeof *p);
    if (!p)
        return samba__fail_oom(error);
    p->alloc = a;
    p->name = "";
    p->bos = -1;
    p->eos = -1;
    samba__arena_init(&p->arena, a);
    samba__build b = {.alloc = a,
                      .checkpoint = checkpoint,
                      .options = options ? options : &none,
                      .plan = p,
                      .sizes = "metadata"};
    samba_status status = run(&b, error);
    samba__free(a, b.used);
    if (status == SAMBA_OK)
        *plan = p;
    else
        samba__plan_free(p);
    return status;
}

void samba__plan_free(samba__plan *plan)
{
    if (!plan)
        return;
    samba__arena_free(&plan->arena);
    samba__free(plan->alloc, plan);
}
