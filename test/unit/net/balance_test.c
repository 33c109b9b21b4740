/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who gives which connections to whom: single decisions, and a model of workers and connections over many
 * rounds, which has to come to rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "net/balance.h"

/* ------------------------------------------------------------------------------- one decision */

static uint64_t sum(const uint64_t *costs, unsigned count)
{
    uint64_t all = 0;
    for (unsigned n = 0; n < count; n++)
        all += costs[n];
    return all;
}

static unsigned choose(unsigned busy, unsigned other, const uint64_t *costs, unsigned count,
                       unsigned *out)
{
    return balance_choose(busy, other, costs, count, sum(costs, count), out);
}

static void half_of_those_alike_go_to_an_idle_one(void **state)
{
    const uint64_t costs[] = {125, 125, 125, 125, 125, 125, 125, 125};
    unsigned out[BALANCE_GIFTS_MAX];
    (void)state;
    assert_int_equal(choose(1000, 0, costs, 8, out), 4);
    for (unsigned n = 0; n < 4; n++)
        assert_int_equal(out[n], n);
    assert_int_equal(choose(1000, 500, costs, 8, out), 2);
    assert_int_equal(choose(1000, 800, costs, 8, out), 0); /* an eighth is more than half of that */
}

static void nobody_gives_who_is_not_busy_or_to_whom_is_as_busy(void **state)
{
    const uint64_t costs[] = {100, 100, 100, 100};
    unsigned out[BALANCE_GIFTS_MAX];
    (void)state;
    assert_int_equal(choose(BALANCE_BUSY - 1, 0, costs, 4, out), 0);
    assert_int_equal(choose(BALANCE_BUSY, 0, costs, 4, out), 2);
    assert_int_equal(choose(1000, 1000 - BALANCE_GAP + 1, costs, 4, out), 0);
    assert_int_equal(choose(1000, 1000, costs, 4, out), 0);
    assert_int_equal(choose(0, 1000, costs, 4, out), 0);
}

static void one_that_keeps_its_worker_busy_alone_stays(void **state)
{
    const uint64_t alone[] = {900}, beside[] = {0, 900, 0}, cheap[] = {3, 900, 2, 1};
    unsigned out[BALANCE_GIFTS_MAX];
    (void)state;
    assert_int_equal(choose(1000, 0, alone, 1, out), 0);
    assert_int_equal(choose(1000, 0, beside, 3, out), 0);
    assert_int_equal(choose(1000, 0, cheap, 4, out), 2); /* these leave it */
    assert_int_equal(out[0], 0);
    assert_int_equal(out[1], 2);
}

static void of_two_the_cheaper_one_goes(void **state)
{
    const uint64_t two[] = {600, 400}, three[] = {400, 400, 400};
    unsigned out[BALANCE_GIFTS_MAX];
    (void)state;
    assert_int_equal(choose(1000, 0, two, 2, out), 1);
    assert_int_equal(out[0], 1);
    assert_int_equal(choose(1000, 300, three, 3, out), 1); /* more than half, but less than all */
    assert_int_equal(choose(1000, 500, three, 3, out), 0);
}

static void the_costly_ones_go_before_many_cheap_ones(void **state)
{
    uint64_t costs[1000];
    unsigned out[BALANCE_GIFTS_MAX];
    (void)state;
    for (unsigned n = 0; n < 1000; n++)
        costs[n] = n % 250 == 249 ? 10000 : 1;
    assert_int_equal(choose(1000, 0, costs, 1000, out), 2);
    assert_int_equal(out[0], 249);
    assert_int_equal(out[1], 499);
    for (unsigned n = 0; n < 1000; n++)
        costs[n] = 7;
    assert_int_equal(choose(1000, 0, costs, 1000, out), BALANCE_GIFTS_MAX);
}

static void shares_follow_what_is_and_keep_within_bounds(void **state)
{
    unsigned share = 0;
    (void)state;
    for (unsigned n = 0; n < 3; n++)
        share = balance_smooth(share, 1000, 1);
    assert_in_range(share, BALANCE_BUSY, 1000);
    assert_int_equal(balance_smooth(0, 1000, 2), 750);
    assert_int_equal(balance_smooth(1000, 0, 1), 500);
    assert_int_equal(balance_smooth(0, 1000, UINT64_MAX), 1000);
    assert_int_equal(balance_smooth(1000, 5000, 1), 1000);
}

/* ------------------------------------------------------------------------------------ a model */

enum {
    PERIOD_MS = 100,
    WORKERS_MAX = 24,
    CONNECTIONS_MAX = 400,
    ROUNDS = 600,
    QUIET = 200,
    MODELS = 50
};
enum { MOVES_MAX = 10, NOISE = 5 };

/* One wants a part of a worker's time, and gets it, or its share of what there is. */
struct model_connection {
    unsigned worker, moves;
    double wants, cost; /* in thousandths; the latter as a worker counts it */
    uint64_t given_ms;
};

struct model_worker {
    unsigned busy;
    double cost;
    uint64_t gives_ms, takes_ms;
};

struct model {
    struct random random;
    unsigned workers, connections, noise; /* percent by which figures are wrong */
    uint64_t now_ms, last_move_ms;
    struct model_worker worker[WORKERS_MAX];
    struct model_connection connection[CONNECTIONS_MAX];
};

static double load_of(const struct model *model, unsigned worker)
{
    double all = 0;
    for (unsigned n = 0; n < model->connections; n++)
        if (model->connection[n].worker == worker)
            all += model->connection[n].wants;
    return all;
}

static double wrong(struct model *model, double figure)
{
    if (model->noise == 0)
        return figure;
    double percent = (double)random_below(&model->random, 2 * model->noise + 1) - model->noise;
    return figure * (1 + percent / 100);
}

/* The most that one gets there: what is left when all have had an equal part goes to those who want more. */
static double most_of(const struct model *model, unsigned worker)
{
    double most = 0, before = -1;
    while (most > before) {
        double left = BALANCE_WHOLE;
        unsigned more = 0;
        before = most;
        for (unsigned n = 0; n < model->connections; n++) {
            const struct model_connection *connection = &model->connection[n];
            if (connection->worker != worker)
                continue;
            if (connection->wants <= before)
                left -= connection->wants;
            else
                more++;
        }
        most = more > 0 ? left / more : BALANCE_WHOLE;
    }
    return most;
}

static void period(struct model *model, bool halve)
{
    for (unsigned w = 0; w < model->workers; w++) {
        struct model_worker *worker = &model->worker[w];
        double most = most_of(model, w), load = load_of(model, w);
        double busy = load < BALANCE_WHOLE ? wrong(model, load) : BALANCE_WHOLE;
        worker->busy = balance_smooth(worker->busy, (unsigned)busy, 1);
        worker->cost /= halve ? 2 : 1;
        for (unsigned n = 0; n < model->connections; n++) {
            struct model_connection *connection = &model->connection[n];
            if (connection->worker != w)
                continue;
            double spent = wrong(model, connection->wants < most ? connection->wants : most);
            connection->cost = (halve ? connection->cost / 2 : connection->cost) + spent;
            worker->cost += spent;
        }
    }
}

static unsigned receiver(const struct model *model, unsigned giver)
{
    unsigned best = giver;
    for (unsigned n = 1; n < model->workers; n++) {
        unsigned other = (giver + n) % model->workers;
        if (model->worker[other].takes_ms <= model->now_ms &&
            (best == giver || model->worker[other].busy < model->worker[best].busy))
            best = other;
    }
    return best;
}

static void give(struct model *model, unsigned giver)
{
    struct model_worker *from = &model->worker[giver];
    unsigned to = receiver(model, giver), numbers[CONNECTIONS_MAX], out[BALANCE_GIFTS_MAX];
    uint64_t costs[CONNECTIONS_MAX];
    unsigned count = 0;
    if (to == giver || !balance_is_uneven(from->busy, model->worker[to].busy))
        return;
    for (unsigned n = 0; n < model->connections; n++) {
        const struct model_connection *connection = &model->connection[n];
        if (connection->worker == giver && connection->given_ms <= model->now_ms) {
            costs[count] = (uint64_t)(connection->cost * 1000);
            numbers[count++] = n;
        }
    }
    count = balance_choose(from->busy, model->worker[to].busy, costs, count,
                           (uint64_t)(from->cost * 1000), out);
    from->gives_ms = model->now_ms + BALANCE_SETTLE_PERIODS * PERIOD_MS;
    if (count == 0)
        return;
    model->worker[to].takes_ms = model->now_ms + BALANCE_SETTLE_PERIODS * PERIOD_MS;
    model->last_move_ms = model->now_ms;
    for (unsigned n = 0; n < count; n++) {
        struct model_connection *connection = &model->connection[numbers[out[n]]];
        from->cost -= connection->cost;
        connection->worker = to;
        connection->cost = 0;
        connection->moves++;
        connection->given_ms = model->now_ms + BALANCE_REST_PERIODS * PERIOD_MS;
    }
}

static void model_run(struct model *model, unsigned rounds)
{
    for (unsigned n = 0; n < rounds; n++) {
        model->now_ms += PERIOD_MS;
        period(model, model->now_ms % (BALANCE_COST_PERIODS * PERIOD_MS) == 0);
        unsigned first = (unsigned)random_below(&model->random, model->workers);
        for (unsigned w = 0; w < model->workers; w++) {
            unsigned giver = (first + w) % model->workers;
            if (model->worker[giver].busy >= BALANCE_BUSY &&
                model->worker[giver].gives_ms <= model->now_ms)
                give(model, giver);
        }
    }
}

/* Nobody who is overloaded could give one away so that both would be better off by far. */
static void is_even(const struct model *model)
{
    for (unsigned n = 0; n < model->connections; n++) {
        const struct model_connection *connection = &model->connection[n];
        double here = load_of(model, connection->worker);
        if (here < BALANCE_WHOLE || connection->wants < 1)
            continue;
        for (unsigned w = 0; w < model->workers; w++) {
            double there = load_of(model, w), most = most_of(model, connection->worker);
            double gets = connection->wants < most ? connection->wants : most;
            bool better = there + gets + BALANCE_GAP + 1 <= BALANCE_WHOLE;
            if (better)
                fail_msg("connection %u (%.0f) should go from worker %u (%.0f) to %u (%.0f)", n,
                         connection->wants, connection->worker, here, w, there);
        }
    }
}

static void wants_make(struct model *model)
{
    static const unsigned costly[] = {1000, 700, 300, 100, 30};
    unsigned one_in = 1 + (unsigned)random_below(&model->random, 40);
    for (unsigned n = 0; n < model->connections; n++) {
        unsigned most = costly[random_below(&model->random, 5)];
        if (random_below(&model->random, one_in) > 0)
            most = 3;
        model->connection[n].wants = (double)random_below(&model->random, most * 10 + 1) / 10;
    }
}

/* All connections are on some of the workers, or on one. */
static void model_make(struct model *model, uint64_t seed)
{
    memset(model, 0, sizeof *model);
    random_create(&model->random, seed);
    model->workers = 2 + (unsigned)random_below(&model->random, WORKERS_MAX - 1);
    model->connections = 1 + (unsigned)random_below(&model->random, CONNECTIONS_MAX);
    unsigned first = (unsigned)random_below(&model->random, model->workers);
    unsigned spread = 1 + (unsigned)random_below(&model->random, model->workers);
    for (unsigned n = 0; n < model->connections; n++)
        model->connection[n].worker =
            (first + (unsigned)random_below(&model->random, spread)) % model->workers;
}

static unsigned moves_most(const struct model *model)
{
    unsigned most = 0;
    for (unsigned n = 0; n < model->connections; n++)
        if (model->connection[n].moves > most)
            most = model->connection[n].moves;
    return most;
}

/* Twice: when all have settled, each wants something else. */
static void models_come_to_rest(void **state)
{
    static struct model model;
    uint64_t seed = test_seed();
    unsigned most = 0;
    (void)state;
    for (unsigned n = 0; n < MODELS; n++) {
        model_make(&model, seed + n);
        for (unsigned phase = 0; phase < 2; phase++) {
            wants_make(&model);
            model_run(&model, ROUNDS);
            is_even(&model);
            assert_true(model.last_move_ms < model.now_ms - QUIET * PERIOD_MS);
        }
        most = moves_most(&model) > most ? moves_most(&model) : most;
    }
    print_message("at most %u moves of one connection\n", most);
    assert_in_range(most, 1, 2 * MOVES_MAX);
}

/* What is measured is never quite right: somebody may go late, but nobody goes back and forth. */
static void models_with_wrong_figures_come_to_rest(void **state)
{
    static struct model model;
    uint64_t seed = test_seed();
    unsigned most = 0, late = 0;
    (void)state;
    for (unsigned n = 0; n < MODELS; n++) {
        model_make(&model, seed + n);
        wants_make(&model);
        model.noise = NOISE;
        model_run(&model, 2 * ROUNDS);
        late += model.last_move_ms >= model.now_ms - QUIET * PERIOD_MS;
        most = moves_most(&model) > most ? moves_most(&model) : most;
    }
    print_message("at most %u moves of one connection, late ones in %u of %u\n", most, late,
                  MODELS);
    assert_in_range(most, 1, MOVES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_those_alike_go_to_an_idle_one),
        cmocka_unit_test(nobody_gives_who_is_not_busy_or_to_whom_is_as_busy),
        cmocka_unit_test(one_that_keeps_its_worker_busy_alone_stays),
        cmocka_unit_test(of_two_the_cheaper_one_goes),
        cmocka_unit_test(the_costly_ones_go_before_many_cheap_ones),
        cmocka_unit_test(shares_follow_what_is_and_keep_within_bounds),
        cmocka_unit_test(models_come_to_rest),
        cmocka_unit_test(models_with_wrong_figures_come_to_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
