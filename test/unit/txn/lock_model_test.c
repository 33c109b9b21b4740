/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of what owners may do, against a model that is as simple as possible: arrays of
 * who holds what and who waits in which order, an edge matrix made anew each time, reachability by
 * following it. After each operation every state, hold, wait, wake-up and count must be the same.
 *
 * Of victims the model only demands what was promised: each is the youngest of a cycle through the
 * owner that has just been queued, no cycle is left, and without a cycle there is none.
 *
 * The second test has escalation, of which it knows nothing: it demands that whoever was granted a
 * lock holds it, or what implies it, as long as it has not given it back; that what two owners hold
 * never conflicts; and that in the end nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/model.h"
#include "base/test_seed.h"
#include "txn/lock_fixture.h"

enum {
    OWNERS = 5,
    SPACES = 2,
    ROWS = 4, /* of each space */
    FIRST_ROW = SPACES,
    FIRST_OWNER = FIRST_ROW + SPACES * ROWS,
    NAMES = FIRST_OWNER + OWNERS,
    MARKS = 3,
    ESCALATION_ROWS = 1,
};

enum action { ACQUIRE, CANCEL, RELEASE_ALL, MARK, RELEASE_TO, RENEW, ACTIONS };

struct op {
    unsigned char action, owner, name, mode, mark;
};

static bool is_row(unsigned name)
{
    return name >= FIRST_ROW && name < FIRST_OWNER;
}

static unsigned space_of(unsigned row)
{
    return (row - FIRST_ROW) / ROWS;
}

static void op_choose(struct random *random, void *out, void *arg)
{
    struct op *op = out;
    (void)arg;
    static const unsigned char actions[] = {ACQUIRE, ACQUIRE, ACQUIRE, ACQUIRE,     ACQUIRE,
                                            ACQUIRE, ACQUIRE, ACQUIRE, CANCEL,      MARK,
                                            MARK,    MARK,    RENEW,   RELEASE_ALL, RELEASE_TO};
    op->action = actions[random_below(random, sizeof(actions))];
    op->owner = (unsigned char)random_below(random, OWNERS);
    op->name = (unsigned char)random_below(random, NAMES);
    op->mode = (unsigned char)(1 + random_below(random, LOCK_EXCLUSIVE));
    op->mark = (unsigned char)random_below(random, MARKS);
}

/* Mostly rows, mostly shared, of few owners, so that there is something to escalate. */
static void op_choose_rows(struct random *random, void *out, void *arg)
{
    struct op *op = out;
    op_choose(random, out, arg);
    op->owner = (unsigned char)random_below(random, 3);
    if (random_below(random, 8) != 0)
        op->name = (unsigned char)(FIRST_ROW + random_below(random, SPACES * ROWS));
    if (is_row(op->name) && random_below(random, 4) != 0)
        op->mode = LOCK_INTENT_EXCLUSIVE; /* even: op_mode makes it shared */
}

/* The mode in which `owner` may ask for the operation's name. */
static enum lock_mode op_mode(const struct op *op)
{
    if (op->name >= FIRST_OWNER)
        return op->name == FIRST_OWNER + op->owner ? LOCK_EXCLUSIVE : LOCK_SHARED;
    if (is_row(op->name))
        return op->mode % 2 == 0 ? LOCK_SHARED : LOCK_EXCLUSIVE;
    return op->mode;
}

static void op_print(FILE *out, const void *memory, void *arg)
{
    static const char *const names[] = {"acquire", "cancel", "release all",
                                        "mark",    "return", "renew"};
    const struct op *op = memory;
    (void)arg;
    fprintf(out, "owner %u: %s", op->owner, names[op->action]);
    if (op->action == MARK || op->action == RELEASE_TO)
        fprintf(out, " %u", op->mark);
    if (op->action != ACQUIRE)
        return;
    const char *kind = op->name < FIRST_ROW ? "space" : is_row(op->name) ? "row" : "owner";
    fprintf(out, " %s (name %u) %s", kind, op->name, lock_mode_name(op_mode(op)));
}

/* The real thing. */

static struct lock_name real_name(const struct lock_fixture *f, unsigned name)
{
    if (name < FIRST_ROW)
        return lock_fixture_space(name);
    if (is_row(name))
        return lock_fixture_row(space_of(name), name);
    return lock_name_owner(lock_owner_id(f->owners[name - FIRST_OWNER]));
}

static void wake(void *arg)
{
    ++*(unsigned *)arg;
}

static void real_renew(struct lock_fixture *f, unsigned owner)
{
    lock_owner_delete(f->owners[owner]);
    if (lock_owner_new(f->table, &f->owners[owner]) != 0)
        abort();
    lock_owner_wake_set(f->owners[owner], wake, &f->woken[owner]);
}

static int real_do(struct lock_fixture *f, const struct op *op, const size_t *mark)
{
    struct lock_owner *owner = f->owners[op->owner];
    struct lock_name name = real_name(f, op->name);
    switch ((enum action)op->action) {
    case ACQUIRE:
        return lock_acquire(owner, &name, op_mode(op));
    case CANCEL:
        return (int)lock_wait_cancel(owner, op->mark == 0);
    case RELEASE_ALL:
        lock_release_all(owner);
        return 0;
    case RELEASE_TO:
        lock_release_to(owner, *mark);
        return 0;
    case RENEW:
        real_renew(f, op->owner);
        return 0;
    default:
        return 0;
    }
}

/* What lock_table_each shows. */
struct seen {
    const struct lock_fixture *f;
    enum lock_mode held[OWNERS][NAMES], waits[OWNERS][NAMES];
    bool blocked_by[OWNERS][OWNERS];
    bool wrong;
};

static unsigned owner_of(const struct lock_fixture *f, uint64_t id)
{
    for (unsigned o = 0; o < OWNERS; o++)
        if (lock_owner_id(f->owners[o]) == id)
            return o;
    return OWNERS;
}

static unsigned name_of(const struct lock_fixture *f, const struct lock_name *name)
{
    uint32_t row;
    switch (name->kind) {
    case LOCK_SPACE:
        return (unsigned)(name->space >> 32);
    case LOCK_ROW:
        memcpy(&row, name->key, sizeof(row));
        return row;
    default:
        return FIRST_OWNER + owner_of(f, name->space);
    }
}

static int see(const struct lock_view *view, void *arg)
{
    struct seen *seen = arg;
    unsigned o = owner_of(seen->f, view->owner_id), n = name_of(seen->f, &view->name);
    if (o == OWNERS || n >= NAMES) {
        seen->wrong = true;
        return 0;
    }
    if (!view->waiting) {
        seen->wrong |= seen->held[o][n] != LOCK_NONE;
        seen->held[o][n] = view->mode;
        return 0;
    }
    seen->wrong |= view->blocker_count == 0;
    for (unsigned other = 0; other < OWNERS; other++)
        seen->wrong |= seen->waits[o][other] != LOCK_NONE; /* one thing at a time */
    seen->waits[o][n] = view->mode;
    for (size_t i = 0; i < view->blocker_count; i++)
        seen->blocked_by[o][owner_of(seen->f, view->blockers[i])] = true;
    return 0;
}

static void look(const struct lock_fixture *f, struct seen *seen)
{
    memset(seen, 0, sizeof(*seen));
    seen->f = f;
    seen->wrong = lock_table_each(f->table, see, seen) != 0 || seen->wrong;
}

/* The model. */

struct queue {
    unsigned count, owners[OWNERS];
};

struct model {
    enum lock_mode held[OWNERS][NAMES];
    struct queue queues[NAMES];
    enum lock_wait state[OWNERS];
    unsigned wait_name[OWNERS];
    enum lock_mode wait_mode[OWNERS];
    unsigned age[OWNERS], ages, woken[OWNERS];
    unsigned asking; /* who sees for itself, or OWNERS */
    bool marked[OWNERS][MARKS];
    size_t marks[OWNERS][MARKS];
    enum lock_mode at_mark[OWNERS][MARKS][NAMES];
};

static void end_wait(struct model *m, unsigned o, enum lock_wait state)
{
    struct queue *queue = &m->queues[m->wait_name[o]];
    unsigned kept = 0;
    for (unsigned i = 0; i < queue->count; i++)
        if (queue->owners[i] != o)
            queue->owners[kept++] = queue->owners[i];
    queue->count = kept;
    m->state[o] = state;
    m->woken[o] += state != LOCK_WAIT_NONE && o != m->asking;
}

static bool may_have(const struct model *m, unsigned o, unsigned n, enum lock_mode mode,
                     unsigned in_front)
{
    for (unsigned other = 0; other < OWNERS; other++)
        if (other != o && !lock_mode_compatible(mode, m->held[other][n]))
            return false;
    for (unsigned i = 0; i < in_front; i++)
        if (!lock_mode_compatible(mode, m->wait_mode[m->queues[n].owners[i]]))
            return false;
    return true;
}

static void grant_waiters(struct model *m, unsigned n)
{
    struct queue *queue = &m->queues[n];
    for (unsigned i = 0; i < queue->count;) {
        unsigned o = queue->owners[i];
        if (!may_have(m, o, n, m->wait_mode[o], i)) {
            i++;
            continue;
        }
        if (n < FIRST_OWNER)
            m->held[o][n] = m->wait_mode[o];
        end_wait(m, o, LOCK_WAIT_GRANTED);
    }
}

static void grant_all(struct model *m)
{
    for (unsigned n = 0; n < NAMES; n++)
        grant_waiters(m, n);
}

/* The owner comes back: what it was, and what it is then. */
static enum lock_wait come_back(struct model *m, unsigned o)
{
    enum lock_wait state = m->state[o];
    if (state == LOCK_WAIT_GRANTED)
        m->state[o] = LOCK_WAIT_NONE;
    return state;
}

static enum lock_wait cancel(struct model *m, unsigned o)
{
    enum lock_wait state = come_back(m, o);
    if (state != LOCK_WAIT_QUEUED)
        return state;
    end_wait(m, o, LOCK_WAIT_NONE);
    grant_waiters(m, m->wait_name[o]);
    return state;
}

static void enqueue(struct model *m, unsigned o, unsigned n, enum lock_mode mode, unsigned at)
{
    struct queue *queue = &m->queues[n];
    for (unsigned i = queue->count++; i > at; i--)
        queue->owners[i] = queue->owners[i - 1];
    queue->owners[at] = o;
    m->state[o] = LOCK_WAIT_QUEUED;
    m->wait_name[o] = n;
    m->wait_mode[o] = mode;
}

static int acquire_one(struct model *m, unsigned o, unsigned n, enum lock_mode mode)
{
    struct queue *queue = &m->queues[n];
    if (lock_mode_covers(m->held[o][n], mode))
        return 0;
    mode = lock_mode_join(m->held[o][n], mode);
    if (m->state[o] == LOCK_WAIT_QUEUED) {
        if (m->wait_name[o] == n && lock_mode_covers(m->wait_mode[o], mode))
            return ERROR_WAIT;
        cancel(m, o);
    }
    unsigned at = queue->count;
    if (m->held[o][n] != LOCK_NONE)
        for (at = 0; at < queue->count && m->held[queue->owners[at]][n] != LOCK_NONE;)
            at++;
    if (!may_have(m, o, n, mode, at)) {
        enqueue(m, o, n, mode, at);
        return ERROR_WAIT;
    }
    if (n < FIRST_OWNER || mode == LOCK_EXCLUSIVE)
        m->held[o][n] = mode;
    return 0;
}

static int acquire(struct model *m, unsigned o, unsigned n, enum lock_mode mode)
{
    if (come_back(m, o) == LOCK_WAIT_VICTIM)
        return ERROR_DEADLOCK;
    if (is_row(n)) {
        unsigned space = space_of(n);
        int rc = acquire_one(m, o, space,
                             mode == LOCK_SHARED ? LOCK_INTENT_SHARED : LOCK_INTENT_EXCLUSIVE);
        if (rc != 0 || lock_mode_covers(m->held[o][space], mode))
            return rc;
    }
    return acquire_one(m, o, n, mode);
}

static void release_to(struct model *m, unsigned o, const enum lock_mode *to)
{
    cancel(m, o);
    for (unsigned n = 0; n < NAMES; n++)
        m->held[o][n] = to == NULL ? LOCK_NONE : to[n];
    if (to == NULL)
        memset(m->marked[o], 0, sizeof(m->marked[o]));
    if (to == NULL && m->state[o] == LOCK_WAIT_VICTIM)
        m->state[o] = LOCK_WAIT_NONE;
    grant_all(m);
}

static bool edge(const struct model *m, unsigned from, unsigned to)
{
    unsigned n = m->wait_name[from];
    if (m->state[from] != LOCK_WAIT_QUEUED || from == to)
        return false;
    if (!lock_mode_compatible(m->wait_mode[from], m->held[to][n]))
        return true;
    for (unsigned i = 0; m->queues[n].owners[i] != from; i++)
        if (m->queues[n].owners[i] == to)
            return !lock_mode_compatible(m->wait_mode[from], m->wait_mode[to]);
    return false;
}

/* Whether there is a way from one to the other, of at least one edge, over owners that are no
 * younger than `age`. */
static bool leads(const struct model *m, unsigned from, unsigned to, unsigned age)
{
    bool reached[OWNERS] = {0};
    for (unsigned round = 0; round <= OWNERS; round++)
        for (unsigned a = 0; a < OWNERS; a++)
            for (unsigned b = 0; b < OWNERS; b++)
                if ((a == from || reached[a]) && m->age[a] <= age && m->age[b] <= age &&
                    edge(m, a, b))
                    reached[b] = true;
    return reached[to];
}

static bool is_in_cycle(const struct model *m, unsigned o)
{
    return leads(m, o, o, UINT32_MAX);
}

/* Takes over whom the real thing has chosen among those who may be; a wrong choice is found when
 * states are compared. */
static bool victims_take(struct model *m, const struct lock_fixture *f, int rc,
                         struct model_report *report)
{
    bool victim[OWNERS] = {0};
    unsigned asking = m->asking;
    for (unsigned o = 0; o < OWNERS; o++) {
        bool chosen = lock_wait_state(f->owners[o]) == LOCK_WAIT_VICTIM ||
                      (o == asking && rc == ERROR_DEADLOCK);
        victim[o] = chosen && m->state[o] == LOCK_WAIT_QUEUED && leads(m, o, asking, m->age[o]) &&
                    leads(m, asking, o, m->age[o]);
    }
    for (unsigned o = 0; o < OWNERS; o++)
        if (victim[o])
            end_wait(m, o, LOCK_WAIT_VICTIM);
    grant_all(m);
    for (unsigned o = 0; o < OWNERS; o++)
        if (is_in_cycle(m, o))
            return model_differs(report, "owner %u is in a cycle that was not found", o);
    return true;
}

/* `rc` is what the real thing has said. */
static bool acquire_too(struct model *m, const struct lock_fixture *f, const struct op *op, int rc,
                        struct model_report *report)
{
    unsigned o = m->asking = op->owner;
    int expected = acquire(m, o, op->name, op_mode(op));
    if (expected == ERROR_WAIT) {
        if (!victims_take(m, f, rc, report))
            return false;
        enum lock_wait state = come_back(m, o);
        if (state == LOCK_WAIT_GRANTED) /* at once; for a row it may have been its space */
            return acquire_too(m, f, op, rc, report);
        if (state == LOCK_WAIT_VICTIM) {
            m->state[o] = LOCK_WAIT_NONE;
            expected = ERROR_DEADLOCK;
        }
    }
    m->asking = OWNERS;
    if (rc != expected)
        return model_differs(report, "acquire gives %s, expected %s", error_name(rc),
                             error_name(expected));
    return true;
}

static bool op_do(struct model *m, struct lock_fixture *f, const struct op *op,
                  struct model_report *report)
{
    unsigned o = op->owner, k = op->mark;
    switch ((enum action)op->action) {
    case ACQUIRE:
        return acquire_too(m, f, op, real_do(f, op, NULL), report);
    case CANCEL:
        if (real_do(f, op, NULL) != (int)cancel(m, o))
            return model_differs(report, "cancel gives another state");
        return true;
    case RELEASE_ALL:
        real_do(f, op, NULL);
        release_to(m, o, NULL);
        return true;
    case MARK:
        come_back(m, o);
        m->marks[o][k] = lock_mark(f->owners[o]);
        m->marked[o][k] = true;
        memcpy(m->at_mark[o][k], m->held[o], sizeof(m->held[o]));
        return true;
    case RELEASE_TO:
        if (!m->marked[o][k])
            return true;
        real_do(f, op, &m->marks[o][k]);
        release_to(m, o, m->at_mark[o][k]);
        for (unsigned i = 0; i < MARKS; i++)
            m->marked[o][i] = m->marked[o][i] && m->marks[o][i] <= m->marks[o][k];
        return true;
    default:
        real_do(f, op, NULL);
        release_to(m, o, NULL);
        m->age[o] = m->ages++;
        return true;
    }
}

static bool compare(const struct model *m, const struct lock_fixture *f,
                    struct model_report *report)
{
    struct seen seen;
    look(f, &seen);
    if (seen.wrong)
        return model_differs(report, "a view is wrong");
    for (unsigned o = 0; o < OWNERS; o++) {
        unsigned held = 0;
        if (lock_wait_state(f->owners[o]) != m->state[o])
            return model_differs(report, "owner %u has state %d, expected %d", o,
                                 lock_wait_state(f->owners[o]), m->state[o]);
        if (f->woken[o] != m->woken[o])
            return model_differs(report, "owner %u was woken %u times, expected %u", o, f->woken[o],
                                 m->woken[o]);
        for (unsigned n = 0; n < NAMES; n++) {
            bool waits = m->state[o] == LOCK_WAIT_QUEUED && m->wait_name[o] == n;
            held += m->held[o][n] != LOCK_NONE;
            if (seen.held[o][n] != m->held[o][n])
                return model_differs(report, "owner %u holds name %u %s, expected %s", o, n,
                                     lock_mode_name(seen.held[o][n]),
                                     lock_mode_name(m->held[o][n]));
            if (seen.waits[o][n] != (waits ? m->wait_mode[o] : LOCK_NONE))
                return model_differs(report, "owner %u waits for name %u %s", o, n,
                                     lock_mode_name(seen.waits[o][n]));
        }
        for (unsigned other = 0; other < OWNERS; other++)
            if (seen.blocked_by[o][other] && !edge(m, o, other))
                return model_differs(report, "owner %u does not wait for owner %u", o, other);
        if (lock_owner_idle(f->owners[o]) != (held == 0 && m->state[o] == LOCK_WAIT_NONE))
            return model_differs(report, "owner %u is idle or not, wrongly", o);
    }
    return true;
}

static bool end(struct lock_fixture *f, bool right, struct model_report *report)
{
    for (unsigned o = 0; o < OWNERS; o++)
        lock_release_all(f->owners[o]);
    struct lock_stats stats = lock_fixture_stats(f);
    if (right && (stats.held != 0 || stats.waiting != 0))
        right = model_differs(report, "something is left in the end");
    lock_fixture_close(f);
    return right;
}

static bool run(const void *memory, size_t count, struct model_report *report, void *arg)
{
    const struct op *ops = memory;
    struct lock_fixture f;
    struct model m = {.ages = OWNERS, .asking = OWNERS};
    bool right = true;
    (void)arg;
    lock_fixture_open_options(&f, OWNERS,
                              &(struct lock_table_options){.escalation_rows = UINT32_MAX});
    for (unsigned o = 0; o < OWNERS; o++)
        m.age[o] = o;
    for (size_t i = 0; right && i < count; i++)
        right = op_do(&m, &f, &ops[i], report) && compare(&m, &f, report);
    return end(&f, right, report);
}

/* With escalation: what each owner was promised. */

struct promises {
    enum lock_mode held[OWNERS][NAMES];
    bool marked[OWNERS][MARKS];
    size_t marks[OWNERS][MARKS];
    enum lock_mode at_mark[OWNERS][MARKS][NAMES];
};

static void promise_do(struct promises *p, struct lock_fixture *f, const struct op *op)
{
    unsigned o = op->owner, k = op->mark;
    if (op->action == RELEASE_TO && !p->marked[o][k])
        return;
    int rc = real_do(f, op, &p->marks[o][k]);
    if (op->action == ACQUIRE && rc == 0 && (op->name < FIRST_OWNER || op->name == FIRST_OWNER + o))
        p->held[o][op->name] = lock_mode_join(p->held[o][op->name], op_mode(op));
    if (op->action == MARK) {
        p->marks[o][k] = lock_mark(f->owners[o]);
        p->marked[o][k] = true;
        memcpy(p->at_mark[o][k], p->held[o], sizeof(p->held[o]));
    }
    if (op->action == RELEASE_TO) {
        memcpy(p->held[o], p->at_mark[o][k], sizeof(p->held[o]));
        for (unsigned i = 0; i < MARKS; i++)
            p->marked[o][i] = p->marked[o][i] && p->marks[o][i] <= p->marks[o][k];
    }
    if (op->action == RELEASE_ALL || op->action == RENEW) {
        memset(p->held[o], 0, sizeof(p->held[o]));
        memset(p->marked[o], 0, sizeof(p->marked[o]));
    }
}

static bool promises_kept(const struct promises *p, struct lock_fixture *f, unsigned o,
                          struct model_report *report)
{
    for (unsigned n = 0; n < NAMES; n++) {
        struct lock_name name = real_name(f, n);
        if (p->held[o][n] != LOCK_NONE && !lock_held(f->owners[o], &name, p->held[o][n]))
            return model_differs(report, "owner %u no longer holds name %u %s", o, n,
                                 lock_mode_name(p->held[o][n]));
        for (unsigned other = 0; other < OWNERS; other++)
            if (other != o && !lock_mode_compatible(p->held[o][n], p->held[other][n]))
                return model_differs(report, "owners %u and %u both have name %u", o, other, n);
    }
    return true;
}

static bool run_escalating(const void *memory, size_t count, struct model_report *report, void *arg)
{
    const struct op *ops = memory;
    uint64_t *escalations = arg;
    struct lock_fixture f;
    struct promises p = {0};
    struct seen seen;
    bool right = true;
    lock_fixture_open_options(&f, OWNERS,
                              &(struct lock_table_options){.escalation_rows = ESCALATION_ROWS});
    for (size_t i = 0; right && i < count; i++) {
        promise_do(&p, &f, &ops[i]);
        for (unsigned o = 0; right && o < OWNERS; o++)
            right = promises_kept(&p, &f, o, report);
        look(&f, &seen);
        for (unsigned pair = 0; right && pair < OWNERS * OWNERS; pair++) {
            unsigned a = pair / OWNERS, b = pair % OWNERS;
            for (unsigned n = 0; right && a != b && n < NAMES; n++)
                if (!lock_mode_compatible(seen.held[a][n], seen.held[b][n]))
                    right = model_differs(report, "owners %u and %u hold name %u", a, b, n);
        }
    }
    if (escalations != NULL)
        *escalations += lock_fixture_stats(&f).escalations;
    return end(&f, right, report);
}

static unsigned sequences(void)
{
    const char *text = getenv("LOCK_MODEL_ROUNDS");
    return text == NULL ? 400 : (unsigned)strtoul(text, NULL, 10);
}

static void owners_do_what_the_model_does(void **state)
{
    (void)state;
    struct model_test test = {.op_bytes = sizeof(struct op),
                              .op_choose = op_choose,
                              .run = run,
                              .op_print = op_print,
                              .apart = true};
    assert_true(model_check(&test, test_seed(), sequences(), 200));
}

static void what_was_granted_stays_granted_whatever_is_escalated(void **state)
{
    (void)state;
    struct model_test test = {.op_bytes = sizeof(struct op),
                              .op_choose = op_choose_rows,
                              .run = run_escalating,
                              .op_print = op_print,
                              .apart = true};
    assert_true(model_check(&test, test_seed(), sequences(), 200));
}

/* That the sequences come where they should: in one process, to be counted. */
static void random_sequences_do_escalate(void **state)
{
    (void)state;
    uint64_t escalations = 0;
    struct model_test test = {.op_bytes = sizeof(struct op),
                              .op_choose = op_choose_rows,
                              .run = run_escalating,
                              .op_print = op_print,
                              .arg = &escalations};
    assert_true(model_check(&test, 1, 50, 200));
    assert_true(escalations > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_do_what_the_model_does),
        cmocka_unit_test(what_was_granted_stays_granted_whatever_is_escalated),
        cmocka_unit_test(random_sequences_do_escalate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
