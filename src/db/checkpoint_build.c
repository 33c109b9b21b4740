/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Indexes over rows that have left the head (invariant 29).
 *
 *      gate          writers and checkpoints maintain the index: from the next K on, each key that a
 *                    row gets has its entry in the head, and in the body
 *      checkpoint    at K1, behind the gate; its picture of the body is held        VIEW_WANTED, _COMING
 *      thread        goes over the rows in that picture, as they are at K1 and at each snapshot from
 *                    before that is held, and sorts their keys (run_sort.h)           VIEW_TAKEN
 *      checkpoints   put these into the body, a part each                             SORTED, ABSORBING
 *      .. at K2      the last part is there; looks at the rows written since          ABSORBED
 *      thread        goes over the index at K2 for keys that two rows have            DONE
 *      gate          keys that were in doubt; the index is one as any other           (ddl_build.c)
 *
 * A checkpoint that is asked for meanwhile is kept by one part only, whatever the space's size, and in
 * memory are one batch of keys and what writers add.
 *
 * That no entry is missing. A key that a version has was either gained after K1: then the checkpoint that
 * has the version puts it, as of any index, since the version before, which is the body's, lacks it; or the
 * row has it since K1 or before: then the version at K1 has it, which the thread meets. It puts it at that
 * version's timestamp, so those find it who see the version. Who reads below K1, and comes to know
 * the index in spite of that, has held his snapshot when the picture was taken: his versions are gone over as
 * well. There may be entries too many, of keys that a row has lost: an entry only says that a row
 * had the key once (txn_body.c).
 *
 * The thread writes no tombstones. In the body its entries come behind those that checkpoints have
 * made since K1, and an engine may take what came later for what is newer: a tombstone would hide a key
 * that the row has got again, while an entry at most leads to a row that has the key no more. Of an index
 * of the same number that is no more the body may have tombstones: one at the same timestamp gives way to
 * what comes later, a newer one is of a newer version of the row, which there is not.
 *
 * Uniqueness. Two rows with one key at K1 are met while the sorted keys are read for the first time, so what
 * can't be is seen before anything is written. Two at K2 are met by the thread that goes over the index. Of a
 * pair of which one came after K2, its writer meets the other in the picture at K2 or a later one; or he
 * has looked before that was published, and then, since he adds first and looks second, his version is met
 * by the checkpoint, which publishes and then goes over the head before there is another picture, for which
 * his row might leave it. What is not decided by then is looked at in the last gate.
 *
 * An index that is made again (ddl_rebuild.c) has its number and its entries here from before. They stay, since
 * those that lead to nothing are passed over by every reader, and get company: as they are put later, they count
 * for more than what is there of the same timestamp. Checkpoints derive what is between two versions once, for the
 * one that readers have.
 *
 * A crash leaves entries of an index that the catalog forgets at the next start; an index of the same number
 * passes over them. Files of the sort have no names.
 */
#include "db/checkpoint_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"
#include "storage/run/run_sort.h"

enum { BATCH_ROWS = 256, NICE = 10, LIVE = 1, HAS_NIL = 2 };

enum state {
    VIEW_WANTED, /* a checkpoint is to come */
    VIEW_COMING, /* it is being made */
    VIEW_TAKEN,
    SORTED,    /* checkpoints are to come */
    ABSORBING, /* one is being made */
    ABSORBED,
    DONE,
    FAILED
};

struct body_build {
    struct body_build *next;       /* of the checkpoint's list; under its mutex */
    struct body_build *round_next; /* of those that the present checkpoint works for */
    struct checkpoint *checkpoint;
    _Atomic uint32_t references;
    struct store *store; /* with a reference */
    struct index *index; /* of the job's picture */
    uint32_t index_id;
    unsigned char number;
    bool unique, again;
    pthread_t thread;
    _Atomic bool cancelled;
    _Atomic uint64_t rows;
    enum state state; /* under the mutex */
    int rc;           /* why it has failed */
    char failure[DIAG_MESSAGE_MAX];
    /* Of whom the state says: thread or checkpoint. */
    struct body_view *view; /* at k */
    uint64_t k;
    uint64_t *snapshots; /* held then, and below it */
    unsigned snapshot_count;
    struct run_sort *sort;
    struct engine_row row; /* the next one that the body gets */
    bool has_row, ended;
    uint64_t given; /* bytes, to the present checkpoint */
    bool begun;     /* it has asked for the first */
    bool served;    /* the body has been given what there is for it in this one */
    struct arena kept;
    struct build_suspect *suspects;
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to build an index");
}

static bool cancelled(const struct body_build *build)
{
    return load_relaxed(&build->cancelled) || load_relaxed(&build->checkpoint->stop);
}

static int going_on(const struct body_build *build)
{
    return cancelled(build) ? diag_set(ERROR_CANCELLED, "the build of an index was ended") : 0;
}

static void tell_test(const struct body_build *build, enum checkpoint_build_stage stage)
{
    void (*at_build)(enum checkpoint_build_stage) = load_acquire(&build->checkpoint->at_build);
    if (at_build != NULL)
        at_build(stage);
}

static void view_drop(struct body_build *build)
{
    if (build->view != NULL)
        body_view_close(build->view);
    build->view = NULL;
}

static void release(struct body_build *build, struct db_worker *worker)
{
    if (atomic_fetch_sub(&build->references, 1) != 1)
        return;
    view_drop(build);
    run_sort_delete(build->sort);
    free(build->snapshots);
    arena_destroy(&build->kept);
    db__store_release(build->store, txn_worker_thread(worker->txn));
    free(build);
}

/* With the mutex. */
static void state_set(struct body_build *build, enum state state)
{
    build->state = state;
    pthread_cond_broadcast(&build->checkpoint->built);
    pthread_cond_signal(&build->checkpoint->wake);
}

/* With the mutex: the code, and the message in the diagnostics. */
static void fail(struct body_build *build, int rc)
{
    build->rc = rc;
    snprintf(build->failure, sizeof build->failure, "%s", diag_message_for(rc));
    state_set(build, FAILED);
}

static void go_on(struct body_build *build, int rc, enum state state)
{
    pthread_mutex_lock(&build->checkpoint->mutex);
    if (rc != 0)
        fail(build, rc);
    else
        state_set(build, state);
    pthread_mutex_unlock(&build->checkpoint->mutex);
}

/* ------------------------------------------------------------------------- the thread: rows to keys */

/* A cursor over the rows as they are at one time. */
struct walk {
    struct body_cursor *cursor;
    struct engine_row row;
    bool has_row;
};

static int walk_next(struct walk *walk)
{
    int rc = body_cursor_next(walk->cursor, &walk->row);
    walk->has_row = rc == 0;
    return rc == ERROR_END ? 0 : rc;
}

static int walk_open(const struct body_build *build, uint64_t ts, struct walk *walk)
{
    static const unsigned char lower = 0, upper = 1; /* the number of the primary index */
    static const struct engine_range rows = {.lower = &lower,
                                             .lower_size = 1,
                                             .lower_inclusive = true,
                                             .upper = &upper,
                                             .upper_size = 1};
    int rc = body_cursor_open(build->view, &rows, ts, &walk->cursor);
    return rc != 0 ? rc : walk_next(walk);
}

static int key_add(struct body_build *build, struct arena *arena, const struct key_bytes *key,
                   const struct engine_row *from, bool live)
{
    if (key->size > BODY_KEY_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE, "an index key of %zu bytes is above the limit of %d",
                        key->size, BODY_KEY_SIZE_MAX);
    char data[1 + BODY_ENTRY_SIZE_MAX] = {(char)((live ? LIVE : 0) | (key->has_nil ? HAS_NIL : 0))};
    unsigned char *bytes = arena_alloc(arena, key->size + 1);
    if (bytes == NULL)
        return no_memory();
    bytes[0] = build->number;
    memcpy(bytes + 1, key->data, key->size);
    uint64_t expires_ms = txn_expires_ms(&build->store->head, from->data);
    struct engine_row row = {.key = bytes, .key_size = key->size + 1, .ts = from->ts, .data = data};
    row.size = 1 + (uint32_t)txn_body_entry_put(data + 1, key->parts_size, expires_ms);
    return run_sort_add(build->sort, &row);
}

/* Of an index that is made again the body may have what it should not: a tombstone hides what is below it,
 * so who reads at K1 or above gets an entry of K1. Those who read below have the version's own. */
static int key_put(struct body_build *build, struct arena *arena, const struct key_bytes *key,
                   const struct engine_row *from, bool live)
{
    struct engine_row row = *from;
    bool only = live && build->again && build->snapshot_count == 0;
    if (only)
        row.ts = build->k;
    int rc = key_add(build, arena, key, &row, live);
    if (rc != 0 || !live || !build->again || row.ts == build->k)
        return rc;
    row.ts = build->k;
    return key_add(build, arena, key, &row, false);
}

/* Only the version at K1 must be one that the index can have. What nobody sees any more needs no entry. */
static int row_add(struct body_build *build, struct arena *arena, const struct engine_row *row,
                   bool live)
{
    struct key_list keys;
    if (txn_expired_for_all(&build->store->head, row->data))
        return 0;
    int rc = live ? db__keys_of_tuple(arena, build->index, row->data, &keys)
                  : db__keys_quietly(arena, build->index, row->data, &keys);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
        rc = key_put(build, arena, &keys.keys[i], row, live);
    return rc;
}

static int key_order(const struct engine_row *a, const struct engine_row *b)
{
    size_t common = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order = memcmp(a->key, b->key, common);
    return order != 0 ? order : (a->key_size > b->key_size) - (a->key_size < b->key_size);
}

/* The versions of the row that comes next, the first walk being that at K1. ERROR_END. */
static int step(struct body_build *build, struct arena *arena, struct walk *walks, unsigned count)
{
    const struct walk *next = NULL;
    for (unsigned i = 0; i < count; i++)
        if (walks[i].has_row && (next == NULL || key_order(&walks[i].row, &next->row) < 0))
            next = &walks[i];
    if (next == NULL)
        return ERROR_END;
    struct engine_row at = next->row;
    at.key = arena_copy(arena, at.key, at.key_size);
    if (at.key == NULL)
        return no_memory();
    uint64_t seen = 0; /* the later a snapshot, the newer its version, or the same */
    for (unsigned i = 0; i < count; i++) {
        struct walk *walk = &walks[i];
        if (!walk->has_row || key_order(&walk->row, &at) != 0)
            continue;
        int rc = walk->row.ts == seen ? 0 : row_add(build, arena, &walk->row, i == 0);
        seen = walk->row.ts;
        if (rc == 0)
            rc = walk_next(walk);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int rows_sort(struct body_build *build)
{
    unsigned count = build->snapshot_count + 1, opened = 0;
    struct walk *walks = calloc(count, sizeof *walks);
    struct arena arena;
    uint64_t breathed_ns = 0;
    int rc = walks == NULL ? no_memory() : 0;
    arena_create(&arena, 1 << 16);
    for (; rc == 0 && opened < count; opened++)
        rc =
            walk_open(build, opened == 0 ? build->k : build->snapshots[opened - 1], &walks[opened]);
    while (rc == 0 && (rc = step(build, &arena, walks, count)) == 0) {
        arena_reset(&arena);
        store_relaxed(&build->rows, load_relaxed(&build->rows) + 1);
        if (load_relaxed(&build->rows) % BATCH_ROWS == 0)
            checkpoint__step_aside(&breathed_ns);
        rc = going_on(build);
    }
    for (unsigned i = 0; i < opened; i++)
        if (walks[i].cursor != NULL)
            body_cursor_close(walks[i].cursor);
    arena_destroy(&arena);
    free(walks);
    return rc == ERROR_END ? 0 : rc;
}

/* ------------------------------------------------------------------------ the thread: two of one key */

static size_t parts_of(const char *data)
{
    size_t size = 0;
    for (unsigned i = 0; i < BODY_ENTRY_SIZE; i++)
        size = size << 8 | (unsigned char)data[i];
    return size;
}

/* What the picture has of the row that an entry leads to; NULL: nothing. */
static int row_of(const struct body_build *build, struct arena *arena, const unsigned char *key,
                  size_t key_size, size_t parts_size, const char **out)
{
    struct engine_row row;
    size_t size = key_size - parts_size; /* the number of the primary index before it */
    unsigned char *primary = arena_copy(arena, key + parts_size, size);
    *out = NULL;
    if (primary == NULL)
        return no_memory();
    primary[0] = 0;
    int rc = body_get(build->view, primary, size, build->k, arena, &row);
    if (rc == 0)
        *out = row.data;
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

/* Of entries with the same parts, one behind the other. */
struct group {
    struct arena arena; /* of the bytes */
    unsigned char *key; /* of the first one, with the number before it; NULL: none yet */
    size_t key_size, parts_size;
    bool looked; /* at the row of the first one */
    bool held;   /* by one so far */
    bool nil;    /* so it is unique whoever has it */
};

static bool group_has(const struct group *group, const unsigned char *key, size_t parts_size)
{
    return group->key != NULL && group->parts_size == parts_size &&
           memcmp(group->key, key, parts_size + 1) == 0;
}

static int group_begin(struct group *group, const unsigned char *key, size_t key_size,
                       size_t parts_size)
{
    arena_reset(&group->arena);
    group->key = arena_copy(&group->arena, key, key_size);
    group->key_size = key_size;
    group->parts_size = parts_size;
    group->looked = group->held = group->nil = false;
    return group->key == NULL ? no_memory() : 0;
}

/* Reads the sorted keys: two rows that have one at K1. */
static int sorted_check(struct body_build *build, struct group *group)
{
    struct engine_row row;
    int rc;
    while ((rc = run_sort_next(build->sort, &row)) == 0 && !cancelled(build)) {
        size_t parts_size = parts_of(row.data + 1);
        const char *tuple;
        if ((row.data[0] & (LIVE | HAS_NIL)) != LIVE)
            continue;
        if (!group_has(group, row.key, parts_size)) {
            rc = group_begin(group, row.key, row.key_size, parts_size);
            if (rc != 0)
                return rc;
            continue;
        }
        rc = row_of(build, &group->arena, row.key, row.key_size, parts_size, &tuple);
        return rc != 0 ? rc : db__duplicate_row(build->index, tuple);
    }
    return rc == ERROR_END ? 0 : rc;
}

/* Whether the row has the key at K2; *nil: and there is nil in it. */
static int entry_holds(struct body_build *build, struct arena *arena, const unsigned char *key,
                       size_t key_size, size_t parts_size, const char **tuple, bool *holds,
                       bool *nil)
{
    struct key_list keys;
    *holds = *nil = false;
    int rc = row_of(build, arena, key, key_size, parts_size, tuple);
    if (rc != 0 || *tuple == NULL || txn_expired_for_all(&build->store->head, *tuple))
        return rc;
    rc = db__keys_quietly(arena, build->index, *tuple, &keys);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
        if (keys.keys[i].size == key_size - 1 &&
            memcmp(keys.keys[i].data, key + 1, key_size - 1) == 0) {
            *holds = true;
            *nil = keys.keys[i].has_nil;
        }
    return rc;
}

/* One more entry with the parts of the group. */
static int group_add(struct body_build *build, struct group *group, const struct engine_row *row)
{
    const char *tuple;
    bool holds;
    int rc = 0;
    if (!group->looked)
        rc = entry_holds(build, &group->arena, group->key, group->key_size, group->parts_size,
                         &tuple, &group->held, &group->nil);
    group->looked = true;
    if (rc != 0 || group->nil)
        return rc;
    struct arena_mark mark = arena_mark(&group->arena);
    rc = entry_holds(build, &group->arena, row->key, row->key_size, group->parts_size, &tuple,
                     &holds, &group->nil);
    if (rc == 0 && holds && !group->nil && group->held)
        rc = db__duplicate_row(build->index, tuple);
    group->held = group->held || holds;
    arena_rewind(&group->arena, mark);
    return rc;
}

static int index_check(struct body_build *build, struct group *group)
{
    const unsigned char lower = build->number, upper = build->number + 1;
    const struct engine_range range = {.lower = &lower,
                                       .lower_size = 1,
                                       .lower_inclusive = true,
                                       .upper = &upper,
                                       .upper_size = 1};
    struct body_cursor *cursor;
    struct engine_row row;
    uint64_t breathed_ns = 0, n = 0;
    int rc = body_cursor_open(build->view, &range, build->k, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = body_cursor_next(cursor, &row)) == 0 && !cancelled(build)) {
        size_t parts_size;
        uint64_t expires_ms;
        if (!txn_body_entry_get(row.data, row.size, &parts_size, &expires_ms) ||
            parts_size >= row.key_size)
            rc = diag_set(ERROR_CORRUPT, "an entry of an index in a body is damaged");
        else if (group_has(group, row.key, parts_size))
            rc = group_add(build, group, &row);
        else
            rc = group_begin(group, row.key, row.key_size, parts_size);
        if (rc != 0)
            break;
        if (++n % BATCH_ROWS == 0)
            checkpoint__step_aside(&breathed_ns);
    }
    body_cursor_close(cursor);
    return rc == ERROR_END ? 0 : rc;
}

static int check(struct body_build *build,
                 int (*entries)(struct body_build *build, struct group *group))
{
    struct group group = {.key = NULL};
    if (!build->unique)
        return 0;
    arena_create(&group.arena, 1 << 16);
    int rc = entries(build, &group);
    arena_destroy(&group.arena);
    return rc == 0 ? going_on(build) : rc;
}

/* --------------------------------------------------------------------------------------- the thread */

/* False: it has failed, or was cancelled. */
static bool wait_for(struct body_build *build, enum state state)
{
    struct checkpoint *checkpoint = build->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    while (build->state < state && !cancelled(build))
        pthread_cond_wait(&checkpoint->built, &checkpoint->mutex);
    bool reached = build->state == state && !cancelled(build);
    pthread_mutex_unlock(&checkpoint->mutex);
    return reached;
}

static int keys_make(struct body_build *build)
{
    struct db *db = build->checkpoint->db;
    const struct run_sort_options options = {.io = db->io,
                                             .space_id = build->store->head.id,
                                             .incarnation = build->store->head.incarnation,
                                             .next_file = &db->next_file,
                                             .memory_bytes = db->build_sort_bytes,
                                             .stop = &build->cancelled};
    tell_test(build, BUILD_WALKS);
    int rc = run_sort_new(&options, &build->sort);
    if (rc == 0)
        rc = rows_sort(build);
    if (rc == 0)
        rc = run_sort_begin(build->sort);
    if (rc == 0)
        rc = check(build, sorted_check);
    view_drop(build);
    if (rc == 0)
        rc = run_sort_begin(build->sort);
    if (rc == 0)
        crash_point("index.body.sorted");
    tell_test(build, BUILD_SORTED);
    return rc;
}

static void *thread_main(void *arg)
{
    struct body_build *build = arg;
    log_thread_name("index build");
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    if (wait_for(build, VIEW_TAKEN))
        go_on(build, keys_make(build), SORTED);
    if (wait_for(build, ABSORBED)) {
        tell_test(build, BUILD_LOOKS);
        int rc = check(build, index_check);
        view_drop(build);
        go_on(build, rc, DONE);
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------- the checkpoint */

/* With the mutex. */
bool checkpoint__builds_wait(const struct checkpoint *checkpoint)
{
    for (const struct body_build *build = checkpoint->builds; build != NULL; build = build->next)
        if (build->state == VIEW_WANTED || build->state == SORTED)
            return true;
    return false;
}

void checkpoint__builds_begin(struct round *round)
{
    struct checkpoint *checkpoint = round->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    for (struct body_build *build = checkpoint->builds; build != NULL; build = build->next) {
        if (build->state != VIEW_WANTED && build->state != SORTED)
            continue;
        build->state = build->state == SORTED ? ABSORBING : VIEW_COMING;
        build->given = 0;
        build->begun = build->served = false;
        build->round_next = round->builds;
        round->builds = build;
        atomic_fetch_add(&build->references, 1);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
}

struct store *checkpoint__builds_store(const struct round *round, struct body_build **at)
{
    *at = *at == NULL ? round->builds : (*at)->round_next;
    while (*at != NULL && ((*at)->state != ABSORBING || (*at)->served))
        *at = (*at)->round_next;
    return *at == NULL ? NULL : (*at)->store;
}

struct body_build *checkpoint__build_serve(const struct round *round, const struct store *store)
{
    struct body_build *build = round->builds;
    while (build != NULL && (build->state != ABSORBING || build->store != store))
        build = build->round_next;
    if (build != NULL)
        build->served = true;
    return build;
}

int checkpoint__build_peek(struct body_build *build, const struct engine_row **out)
{
    *out = NULL;
    if (!build->begun)
        tell_test(build, BUILD_ABSORBS);
    build->begun = true;
    if (!build->has_row && !build->ended) {
        int rc = run_sort_next(build->sort, &build->row);
        if (rc != 0 && rc != ERROR_END)
            return rc;
        if (rc == 0) {
            build->row.data++; /* without what only sorting wants to know */
            build->row.size--;
        }
        build->has_row = rc == 0;
        build->ended = rc == ERROR_END;
    }
    if (build->has_row && !cancelled(build) &&
        build->given < build->checkpoint->db->build_round_bytes)
        *out = &build->row;
    return 0;
}

void checkpoint__build_take(struct body_build *build)
{
    build->given += build->row.key_size + build->row.size;
    build->has_row = false;
}

static int view_take(struct body_build *build, uint64_t k)
{
    build->k = k;
    return body_view_open(build->store->body, &build->view);
}

/* Those below K1; who begins from now on reads at it or above. */
static int snapshots_keep(struct body_build *build, const struct engine_snapshots *held)
{
    build->snapshots = malloc((held->count + 1) * sizeof *build->snapshots);
    if (build->snapshots == NULL)
        return no_memory();
    for (unsigned i = held->count; i-- > 0;) /* the newest first */
        if (held->ts[i] < build->k && (build->snapshot_count == 0 ||
                                       build->snapshots[build->snapshot_count - 1] != held->ts[i]))
            build->snapshots[build->snapshot_count++] = held->ts[i];
    return 0;
}

/* ---------------------------------------------------------------------- rows that were written since */

struct look {
    struct body_build *build;
    struct checkpoint *checkpoint;
    struct index *index;
    struct arena arena;
    struct row *row;
    const struct version *at_k;
};

static int suspect_add(struct body_build *build, const struct key_bytes *key)
{
    struct build_suspect *suspect = arena_alloc(&build->kept, sizeof *suspect);
    unsigned char *bytes = arena_copy(&build->kept, key->data, key->parts_size);
    if (suspect == NULL || bytes == NULL)
        return no_memory();
    *suspect = (struct build_suspect){build->suspects, {bytes, key->parts_size}};
    build->suspects = suspect;
    return 0;
}

static int newest_take(const struct version *version, enum txn_version_state state, void *arg)
{
    if (state != TXN_VERSION_NEWEST)
        return 0;
    *(const struct version **)arg = version;
    return ERROR_END;
}

static int key_look(struct look *look, const struct version *version, const struct key_bytes *key,
                    bool newest)
{
    const struct engine_key prefix = {key->data, key->parts_size},
                            own = {look->row->key, look->row->key_size};
    struct engine_key holder;
    enum txn_holder found;
    if (key->has_nil)
        return 0;
    int rc = txn_body_holder(&look->index->scan, &prefix, &own, &look->arena, &found, &holder);
    if (rc != 0 || found == TXN_HOLDER_NONE)
        return rc;
    const struct version *now = NULL;
    txn_row_each(look->row, newest_take, &now);
    return newest && found == TXN_HOLDER_COMMITTED && now == version
               ? db__duplicate_row(look->index, version->bytes)
               : suspect_add(look->build, key);
}

/* What was there at K2 is met by the thread. */
static int version_look(const struct version *version, enum txn_version_state state, void *arg)
{
    struct look *look = arg;
    struct key_list keys;
    if (state == TXN_VERSION_OLD || version == look->at_k ||
        txn_expired_for_all(&look->build->store->head, version->bytes))
        return 0;
    int rc = db__keys_quietly(&look->arena, look->index, version->bytes, &keys);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
        rc = key_look(look, version, &keys.keys[i], state == TXN_VERSION_NEWEST);
    return rc;
}

static int batch_look(struct look *look, struct engine_key *after, struct arena *kept)
{
    const struct space *space = look->index->space;
    struct txn_worker *worker = look->checkpoint->worker->txn;
    struct tree_cursor cursor;
    struct item *item = NULL;
    int rc = 0;
    txn_worker_enter(worker);
    tree_cursor_create(&cursor, space->head->tree, after->data, after->size, false, false);
    for (unsigned n = 0; rc == 0 && n < BATCH_ROWS; n++) {
        uint64_t ts;
        if ((item = tree_cursor_next(&cursor, NULL)) == NULL) {
            rc = ERROR_END;
            break;
        }
        look->row = (struct row *)item;
        look->at_k = txn_row_at(look->row, look->build->k, &ts);
        rc = txn_row_each(look->row, version_look, look);
        arena_reset(&look->arena);
    }
    if (rc == 0) {
        arena_reset(kept);
        after->data = arena_copy(kept, item->key, item->key_size);
        after->size = item->key_size;
        rc = after->data == NULL ? no_memory() : 0;
    }
    txn_worker_leave(worker);
    return rc;
}

/* Of the newest picture of the catalog; NULL: it is being built no more. */
static struct index *index_now(const struct body_build *build)
{
    const struct store *store = build->store;
    const struct space *space =
        catalog_space_by_id(db_catalog(build->checkpoint->worker), store->head.id);
    return space != NULL && space->head == &store->head && space->building != NULL &&
                   space->building->id == build->index_id
               ? space->building
               : NULL;
}

static int head_look(struct body_build *build)
{
    struct look look = {.build = build, .checkpoint = build->checkpoint, .index = index_now(build)};
    struct engine_key after = {NULL, 0};
    struct arena kept;
    int rc = 0;
    if (look.index == NULL)
        return 0;
    arena_create(&look.arena, 1 << 16);
    arena_create(&kept, 1 << 12);
    txn_fill_fence(build->checkpoint->worker->txn);
    while (rc == 0 && !cancelled(build)) {
        rc = batch_look(&look, &after, &kept);
        checkpoint__breathe(build->checkpoint);
    }
    arena_destroy(&kept);
    arena_destroy(&look.arena);
    return rc == ERROR_END ? 0 : rc;
}

/* -------------------------------------------------------------------------- the end of a checkpoint */

static int absorbed(struct body_build *build, uint64_t k, enum state *state)
{
    const struct engine_row *row;
    int rc = checkpoint__build_peek(build, &row);
    *state = SORTED;
    if (rc != 0 || build->has_row)
        return rc;
    *state = ABSORBED;
    crash_point("index.body.absorbed");
    struct engine_stats stats;
    body_stats(build->store->body, &stats);
    if (stats.files > 0 && load_relaxed(&build->store->published.k) < k)
        return diag_set(ERROR_MEMORY, "a body could not be shown to those who write");
    rc = view_take(build, k);
    return rc == 0 && build->unique ? head_look(build) : rc;
}

void checkpoint__builds_end(struct round *round, int rc)
{
    for (struct body_build *build = round->builds, *next; build != NULL; build = next) {
        enum state state = VIEW_TAKEN;
        int own = rc;
        next = build->round_next;
        if (own == 0 && build->state == ABSORBING) {
            own = absorbed(build, round->k, &state);
        } else if (own == 0) {
            own = view_take(build, round->k);
            if (own == 0)
                own = snapshots_keep(build, &round->snapshots);
            crash_point("index.body.viewed");
        }
        go_on(build, own, state);
        release(build, round->checkpoint->worker);
    }
    round->builds = NULL;
}

void checkpoint__builds_fail(struct checkpoint *checkpoint, int rc)
{
    pthread_mutex_lock(&checkpoint->mutex);
    for (struct body_build *build = checkpoint->builds; build != NULL; build = build->next)
        if (build->state == VIEW_WANTED || build->state == SORTED)
            fail(build, rc);
    pthread_mutex_unlock(&checkpoint->mutex);
}

/* ------------------------------------------------------------------------------------------ the job */

static void unlink_from(struct body_build *build)
{
    struct checkpoint *checkpoint = build->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    store_relaxed(&build->cancelled, true);
    for (struct body_build **at = &checkpoint->builds; *at != NULL; at = &(*at)->next)
        if (*at == build) {
            *at = build->next;
            break;
        }
    pthread_cond_broadcast(&checkpoint->built);
    pthread_mutex_unlock(&checkpoint->mutex);
}

int db__body_build_begin(struct db_worker *worker, struct index *index, struct body_build **out)
{
    struct checkpoint *checkpoint = worker->db->checkpoint;
    struct body_build *build = calloc(1, sizeof *build);
    if (build == NULL)
        return no_memory();
    build->checkpoint = checkpoint;
    atomic_init(&build->references, 1);
    build->store = index->space->head->arg;
    atomic_fetch_add(&build->store->references, 1);
    build->index = index;
    build->index_id = index->id;
    build->number = index->scan.number;
    build->unique = index->unique;
    build->again = index->again;
    arena_create(&build->kept, 0);
    if (pthread_create(&build->thread, NULL, thread_main, build) != 0) {
        release(build, worker);
        return diag_set(ERROR_MEMORY, "no thread to build an index");
    }
    pthread_mutex_lock(&checkpoint->mutex);
    build->next = checkpoint->builds;
    checkpoint->builds = build;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
    *out = build;
    return 0;
}

int db__body_build_wait(struct body_build *build, uint64_t ns)
{
    struct checkpoint *checkpoint = build->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    if (build->state < DONE)
        checkpoint__wait_ns(checkpoint, &checkpoint->built, ns);
    int rc = build->state < DONE      ? ERROR_WAIT
             : build->state == FAILED ? diag_set(build->rc, "%s", build->failure)
                                      : 0;
    pthread_mutex_unlock(&checkpoint->mutex);
    return rc;
}

uint64_t db__body_build_rows(const struct body_build *build)
{
    return load_relaxed(&build->rows);
}

const struct build_suspect *db__body_build_suspects(const struct body_build *build)
{
    return build->suspects;
}

void db__body_build_end(struct body_build *build, struct db_worker *worker)
{
    unlink_from(build);
    pthread_join(build->thread, NULL);
    release(build, worker);
}
