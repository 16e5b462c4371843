/*
 * How threads of the pool wait. First by spinning; then a share that nobody has begun is taken
 * over; then asleep on the seat's semaphore. Who goes to sleep marks the open phase, and who ends
 * that phase looks after the sleepers.
 *
 * Where the machine has no room for all threads, waking a worker takes the processor from the
 * thread that would end the phase. That shows in a thread that was ready to run but did not run for
 * a good part of the time: then workers stay asleep for a while, which doubles as long as it goes
 * on, and are tried again one by one. No worker is ever needed for a run to end. The caller is
 * always woken.
 */
#include "base/cpu.h"
#include "base/pool_seats.h"

/* Nanoseconds. */
enum {
    STEAL_AFTER = 2000,
    SPIN = 500000,          /* more than most shares differ by, or lies between two tokens */
    SPIN_CROWDED = 20000,   /* where there was no room lately */
    CROWDED_FOR = 20000000, /* after the time to try again */
    FORGET_AFTER = 200000000,
    BACK_OFF_MIN = 1000000,
    BACK_OFF_MAX = 64000000,
    LOST_MIN = 50000,
    SPINS_PER_LOOK = 16
};

/* Whether the system has had this thread stand aside for more than a quarter of the time since it
 * last looked. A thread that has slept on its own can't tell. */
static bool was_put_aside(samba__seat *self)
{
    uint64_t now = uv_hrtime(), ran, slept;
    uv_thread_t me = uv_thread_self();
    if (!samba__cpu_thread_usage(&ran, &slept))
        return false;
    uint64_t wall = now - self->looked, run = ran - self->ran;
    bool known = slept == self->slept && ran >= self->ran && uv_thread_equal(&me, &self->looker);
    self->looked = now;
    self->ran = ran;
    self->slept = slept;
    self->looker = me;
    return known && wall > run + LOST_MIN && wall - run > wall / 4;
}

/* ---- asleep ---- */

static bool counts(const samba__seat *seat)
{
    return seat->index > 0 && !seat->pool->host.run;
}

static bool wake_seat(samba__pool *pool, samba__seat *seat)
{
    if (atomic_load(&seat->state) == SEAT_AWAKE ||
        atomic_exchange(&seat->state, SEAT_AWAKE) == SEAT_AWAKE)
        return false;
    if (counts(seat))
        atomic_fetch_sub(&pool->n_asleep, 1);
    uv_sem_post(&seat->wake);
    return true;
}

/* Marks the phase; false if it is over. */
static bool mark_asleep(samba__pool *pool, uint64_t word)
{
    uint64_t now = atomic_load(&pool->word);
    while (samba__word_same(now, word))
        if (atomic_compare_exchange_weak(&pool->word, &now, now | SAMBA__WORD_ASLEEP))
            return true;
    return false;
}

static void sleep_on(samba__pool *pool, samba__seat *self, uint64_t word)
{
    /* Woken for nothing, or hardly run: no room. */
    bool crowded = !self->leave && (self->fresh || was_put_aside(self));
    self->leave = false;
    if (counts(self))
        atomic_fetch_add(&pool->n_asleep, 1);
    atomic_store(&self->state, crowded ? SEAT_CROWDED : SEAT_ASLEEP);
    if (!mark_asleep(pool, word))
        wake_seat(pool, self); /* then the post is there already, by this thread or another */
    uv_sem_wait(&self->wake);
    was_put_aside(self); /* from here on */
    self->fresh = true;
}

/* ---- waking ---- */

/* Takes note of workers that went to sleep for want of room. */
static bool any_crowded(samba__pool *pool)
{
    bool any = false;
    for (uint32_t i = 1; i < pool->n; i++) {
        int state = SEAT_CROWDED;
        any |= atomic_compare_exchange_strong(&pool->seats[i].state, &state, SEAT_ASLEEP);
    }
    return any;
}

static void back_off(samba__pool *pool, uint64_t now)
{
    uint64_t longer = pool->back_off * 2;
    pool->back_off = longer < BACK_OFF_MIN   ? BACK_OFF_MIN
                     : longer > BACK_OFF_MAX ? BACK_OFF_MAX
                                             : longer;
    pool->crowded_at = now;
    pool->retry_at = now + pool->back_off;
    atomic_store_explicit(&pool->crowded_until, pool->retry_at + CROWDED_FOR, memory_order_relaxed);
}

void samba__pool_wake_all(samba__pool *pool)
{
    for (uint32_t i = 0; i < pool->n_seats; i++)
        wake_seat(pool, &pool->seats[i]);
}

static void wake_workers(samba__pool *pool, uint64_t now)
{
    for (uint32_t i = 1; i < pool->n; i++)
        if (wake_seat(pool, &pool->seats[i]) && pool->back_off > 0) {
            pool->retry_at = now + BACK_OFF_MIN; /* the next one */
            return;
        }
}

/* The next two can't keep anyone waiting: what one thread is at, the others leave to it. */
static bool begin_waking(samba__pool *pool)
{
    return !atomic_flag_test_and_set_explicit(&pool->waking, memory_order_acquire);
}

static void end_waking(samba__pool *pool)
{
    atomic_flag_clear_explicit(&pool->waking, memory_order_release);
}

/* The caller's own time since it was last here tells whether those it woke took it from it. */
static void admit(samba__pool *pool, uint64_t now)
{
    if (now - pool->crowded_at > FORGET_AFTER)
        pool->back_off = 0;
    if (now < pool->retry_at)
        return;
    bool aside = was_put_aside(&pool->seats[0]);
    if (any_crowded(pool) || aside)
        back_off(pool, now);
    else
        wake_workers(pool, now);
}

void samba__pool_admit(samba__pool *pool)
{
    if (atomic_load(&pool->n_asleep) == 0 || !begin_waking(pool))
        return;
    admit(pool, uv_hrtime());
    end_waking(pool);
}

void samba__pool_wake(samba__pool *pool, samba__seat *self)
{
    if (pool->host.run) {
        samba__pool_wake_all(pool);
        return;
    }
    bool caller = atomic_load(&pool->seats[0].state) == SEAT_CROWDED;
    bool aside = was_put_aside(self);
    wake_seat(pool, &pool->seats[0]);
    self->leave = aside && self->index > 0;
    if (!begin_waking(pool))
        return;
    uint64_t now = uv_hrtime();
    if (any_crowded(pool) || aside || caller)
        back_off(pool, now);
    else if (now >= pool->retry_at)
        wake_workers(pool, now);
    end_waking(pool);
}

/* ---- waiting ---- */

static bool is_over(samba__pool *pool, uint64_t word)
{
    return !samba__word_same(atomic_load_explicit(&pool->word, memory_order_acquire), word);
}

void samba__pool_wait(samba__pool *pool, samba__seat *self, uint64_t word)
{
    const bool open = samba__word_shares(word) != 0;
    bool looked_round = !open;
    uint64_t begin = 0, passed = 0, most = 0;
    while (!self->leave) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (is_over(pool, word))
                return;
            samba__cpu_relax();
        }
        uint64_t now = uv_hrtime();
        if (begin == 0) {
            bool crowded = now < atomic_load_explicit(&pool->crowded_until, memory_order_relaxed);
            begin = now;
            most = crowded ? SPIN_CROWDED : SPIN;
        }
        passed = now - begin;
        if (!looked_round && passed > STEAL_AFTER) {
            samba__pool_steal(pool, self, word);
            looked_round = true;
            begin = uv_hrtime();
        } else if (passed > most) {
            break;
        }
    }
    if (!is_over(pool, word))
        sleep_on(pool, self, word);
}
