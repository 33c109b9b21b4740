/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Delays where a function begins or ends, for `./dev delays`: with -finstrument-functions the compiler calls
 * what is here at each of those places. A thread that was quick is slow once, so what one thread does between
 * two steps of another one comes about within minutes, and not once in ten thousand runs on another machine.
 *
 * Each thread draws how often it is held: seldom, often or not at all. It is held for no more than a share
 * of its time, waiting included, of which three that wait for each other in turn still leave some: so whatever
 * waits has its turn in the end. No seed replays the order of threads.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

void __cyg_profile_func_enter(void *function, void *site);
void __cyg_profile_func_exit(void *function, void *site);

enum {
    GRACE_NS = 30000000,  /* may be spent at once by a thread that has just begun */
    LONGEST_LOG2 = 25,    /* of nanoseconds: 33 ms */
    SHORTEST_LOG2 = 12,   /* 4 us */
    SELDOM_LOG2_MAX = 22, /* calls between two delays, at most */
    UNDELAYED_CALLS = 1 << 30,
};

static _Thread_local struct {
    int64_t left; /* calls until the next delay */
    uint64_t random, begun_ns, delayed_ns;
    unsigned seldom_log2; /* 0: drawn at the first call */
    unsigned share;       /* percent of the thread's time */
} held __attribute__((tls_model("initial-exec")));

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* xorshift64*, Vigna 2014 */
static uint64_t draw(uint64_t below)
{
    held.random ^= held.random >> 12;
    held.random ^= held.random << 25;
    held.random ^= held.random >> 27;
    return (held.random * 2685821657736338717u >> 16) % below;
}

static void thread_begins(void)
{
    static const unsigned shares[] = {0, 5, 15, 30};
    held.begun_ns = now_ns();
    held.random = (held.begun_ns ^ (uint64_t)(uintptr_t)&held ^ (uint64_t)getpid() << 32) | 1;
    for (unsigned i = 0; i < 4; i++)
        draw(2);
    held.seldom_log2 = 4 + (unsigned)draw(SELDOM_LOG2_MAX - 4);
    held.share = shares[draw(4)];
}

static void delay(void)
{
    uint64_t now = now_ns(),
             wanted = (uint64_t)1 << (SHORTEST_LOG2 + draw(LONGEST_LOG2 - SHORTEST_LOG2));
    if (held.delayed_ns > GRACE_NS + (now - held.begun_ns) / 100 * held.share)
        return;
    wanted += draw(wanted);
    struct timespec time = {.tv_nsec = (long)wanted};
    nanosleep(&time, NULL);
    held.delayed_ns += wanted;
}

static void pass(void)
{
    if (--held.left > 0)
        return;
    int error = errno;
    if (held.seldom_log2 == 0)
        thread_begins();
    else
        delay();
    held.left = held.share == 0 ? UNDELAYED_CALLS
                                : 1 + (int64_t)draw((uint64_t)1 << draw(held.seldom_log2));
    errno = error;
}

void __cyg_profile_func_enter(void *function, void *site)
{
    (void)function;
    (void)site;
    pass();
}

void __cyg_profile_func_exit(void *function, void *site)
{
    (void)function;
    (void)site;
    pass();
}
