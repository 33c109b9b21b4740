/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lists with a timestamp at each number. A transaction sees the beginning of a list up to its
 * snapshot; an append takes the list for its transaction until the end; a commit takes the next
 * timestamp, checks what was read, and puts its numbers behind. A list that is long is given up for
 * a new one, so that there are always some that are absent.
 */
#include "history/append_model.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/random.h"

enum {
    SESSIONS = 5,
    ACTIVE_LISTS = 4,
    LISTS_MAX = 4096,
    LIST_MAX = 12,
    ROOM = 64, /* numbers in a list at most */
    OPS_MAX = 4,
    STALE_MAX = 6
};

struct list {
    uint32_t count, values[ROOM];
    uint64_t times[ROOM];
    int owner; /* session, -1 none */
};

struct session {
    struct append_history history;
    bool open;
    enum append_level level;
    unsigned left; /* operations to go */
    uint64_t snapshot;
    struct {
        uint32_t key, value, seen; /* value 0: a read that saw so many numbers of others */
    } ops[OPS_MAX];
    unsigned op_count;
    unsigned to_show; /* appends of a torn commit that are still to be shown */
};

struct model {
    struct append_model options;
    struct random random;
    struct list lists[LISTS_MAX];
    uint32_t active[ACTIVE_LISTS], list_count, next_value;
    uint64_t clock, steps;
    unsigned begun;
    struct session sessions[SESSIONS];
};

static void list_new(struct model *m, unsigned active)
{
    ASSERT(m->list_count < LISTS_MAX);
    m->lists[m->list_count].owner = -1;
    m->active[active] = m->list_count++;
}

/* A number at the end of a list; one that is long enough is replaced. */
static void list_extend(struct model *m, uint32_t key, uint32_t value)
{
    struct list *list = &m->lists[key];
    ASSERT(list->count < ROOM);
    list->values[list->count] = value;
    list->times[list->count++] = m->clock;
    for (unsigned a = 0; a < ACTIVE_LISTS; a++)
        if (m->active[a] == key && list->count >= LIST_MAX)
            list_new(m, a);
}

/* Numbers of the list that the session's snapshot shows. */
static uint32_t shown(const struct model *m, const struct session *s, const struct list *list)
{
    bool latest =
        s->level <= APPEND_READ_COMMITTED || m->options.defect == APPEND_MODEL_SNAPSHOT_MOVES;
    uint32_t count = 0;
    while (count < list->count && (latest || list->times[count] <= s->snapshot))
        count++;
    return count;
}

/* Adds the appends of a session to a list, committed or not. */
static uint32_t with_own(const struct session *s, uint32_t key, uint32_t *values, uint32_t count)
{
    for (unsigned i = 0; i < s->op_count; i++)
        if (s->ops[i].value != 0 && s->ops[i].key == key)
            values[count++] = s->ops[i].value;
    return count;
}

static void do_read(struct model *m, struct session *s, uint32_t key)
{
    const struct list *list = &m->lists[key];
    uint32_t values[ROOM + SESSIONS * OPS_MAX], count = shown(m, s, list), seen = count;
    bool dirty =
        s->level == APPEND_READ_UNCOMMITTED || m->options.defect == APPEND_MODEL_DIRTY_READS;
    for (uint32_t i = 0; i < count; i++)
        values[i] = list->values[i];
    if (dirty && list->owner >= 0 && &m->sessions[list->owner] != s)
        count = with_own(&m->sessions[list->owner], key, values, count);
    count = with_own(s, key, values, count);
    append_read(&s->history, key, values, count, random_below(&m->random, 2));
    s->ops[s->op_count].key = key;
    s->ops[s->op_count].value = 0;
    s->ops[s->op_count++].seen = seen;
}

static void leave(struct model *m, struct session *s, enum append_status status)
{
    append_end(&s->history, status, ++m->steps);
    for (uint32_t i = 0; i < m->list_count; i++)
        if (m->lists[i].owner == s - m->sessions)
            m->lists[i].owner = -1;
    s->open = false;
}

static void do_append(struct model *m, struct session *s, uint32_t key)
{
    struct list *list = &m->lists[key];
    int number = (int)(s - m->sessions);
    bool newer = s->level >= APPEND_SNAPSHOT && list->count > 0 &&
                 list->times[list->count - 1] > s->snapshot;
    append_value(&s->history, key, ++m->next_value);
    if ((newer && m->options.defect != APPEND_MODEL_NO_FIRST_UPDATER) ||
        (list->owner >= 0 && list->owner != number &&
         m->options.defect != APPEND_MODEL_DIRTY_WRITES)) {
        leave(m, s, APPEND_ABORTED);
        return;
    }
    if (m->options.defect == APPEND_MODEL_DIRTY_WRITES) { /* there for all to see, and to stay */
        m->clock++;
        list_extend(m, key, m->next_value);
        return;
    }
    list->owner = number;
    s->ops[s->op_count].key = key;
    s->ops[s->op_count++].value = m->next_value;
}

static bool valid(const struct model *m, const struct session *s)
{
    if (s->level != APPEND_SERIALIZABLE || m->options.defect == APPEND_MODEL_NO_VALIDATION)
        return true;
    bool writes = false;
    for (unsigned i = 0; i < s->op_count; i++)
        writes |= s->ops[i].value != 0;
    for (unsigned i = 0; writes && i < s->op_count; i++) {
        if (s->ops[i].value != 0 ||
            (s->ops[i].seen == 0 && m->options.defect == APPEND_MODEL_NO_ABSENT_VALIDATION))
            continue;
        if (m->lists[s->ops[i].key].count != s->ops[i].seen)
            return false;
    }
    return true;
}

static void show_one(struct model *m, struct session *s)
{
    unsigned i = s->op_count - s->to_show--;
    uint32_t key = s->ops[i].key;
    bool lost =
        m->options.defect == APPEND_MODEL_LOSES_APPENDS && random_below(&m->random, 20) == 0;
    if (s->ops[i].value == 0 || lost)
        return;
    list_extend(m, key, s->ops[i].value);
}

static void do_commit(struct model *m, struct session *s)
{
    if (s->to_show == 0 && !valid(m, s)) {
        leave(m, s, APPEND_ABORTED);
        return;
    }
    bool torn = m->options.defect == APPEND_MODEL_TORN_COMMITS;
    if (s->to_show == 0) {
        s->to_show = s->op_count;
        m->clock++;
    } else if (torn) {
        m->clock++;
    }
    while (s->to_show > 0) {
        show_one(m, s);
        if (torn && s->to_show > 0)
            return; /* the rest at the next step */
    }
    /* A client may not learn of it. */
    leave(m, s, random_below(&m->random, 30) == 0 ? APPEND_UNKNOWN : APPEND_COMMITTED);
}

static void do_begin(struct model *m, struct session *s)
{
    s->open = true;
    s->level = m->options.mixed ? (enum append_level)random_below(&m->random, APPEND_LEVELS)
                                : m->options.level;
    s->left = 1 + (unsigned)random_below(&m->random, OPS_MAX);
    s->op_count = s->to_show = 0;
    s->snapshot = m->clock;
    if (m->options.defect == APPEND_MODEL_STALE_SNAPSHOT) {
        uint64_t back = random_below(&m->random, STALE_MAX);
        s->snapshot -= back < s->snapshot ? back : 0;
    }
    append_begin(&s->history, (uint32_t)(s - m->sessions), s->level, ++m->steps);
    m->begun++;
}

static void step(struct model *m)
{
    struct session *s = &m->sessions[random_below(&m->random, SESSIONS)];
    m->steps++;
    if (!s->open) {
        if (m->begun < m->options.txns)
            do_begin(m, s);
        return;
    }
    uint32_t key = m->active[random_below(&m->random, ACTIVE_LISTS)];
    if (s->left == 0) {
        if (s->to_show == 0 && random_below(&m->random, 12) == 0)
            leave(m, s, APPEND_ABORTED);
        else
            do_commit(m, s);
        return;
    }
    s->left--;
    if (random_below(&m->random, 2))
        do_read(m, s, key);
    else
        do_append(m, s, key);
}

/* One that comes after all and reads all. */
static void read_all(struct model *m, struct append_history *history)
{
    append_begin(history, SESSIONS, APPEND_SERIALIZABLE, ++m->steps);
    for (uint32_t key = 0; key < m->list_count; key++)
        append_read(history, key, m->lists[key].values, m->lists[key].count, false);
    append_end(history, APPEND_COMMITTED, ++m->steps);
}

void append_model_run(const struct append_model *options, uint64_t seed,
                      struct append_history *history)
{
    struct model *m = calloc(1, sizeof *m);
    ASSERT(m != NULL);
    m->options = *options;
    random_create(&m->random, seed);
    for (unsigned i = 0; i < ACTIVE_LISTS; i++)
        list_new(m, i);
    for (bool going = true; going;) {
        step(m);
        going = m->begun < options->txns;
        for (unsigned i = 0; i < SESSIONS; i++)
            going |= m->sessions[i].open;
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        append_history_join(history, &m->sessions[i].history);
        append_history_destroy(&m->sessions[i].history);
    }
    read_all(m, history);
    free(m);
}
