/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The conformance test of the engine interface: every engine in the list passes the same battery,
 * each by what its flags promise. The model is a plain list of versions, looked through from end to
 * end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/engine.h"

enum { KEYS = 40, ROWS_MAX = 4000, ROUNDS = 60 };

struct model_row {
    unsigned key;
    uint64_t ts;
    char text[24]; /* empty: a tombstone */
};

struct model {
    struct model_row rows[ROWS_MAX];
    unsigned count;
};

/* Gives out model rows [from, count) in the order that absorb demands. */
struct source {
    struct engine_source base;
    struct model_row sorted[ROWS_MAX];
    unsigned count, next;
    unsigned char key[4];
};

/* A body on a disk of its own. */
struct place {
    struct disk *disk;
    struct io *io;
    _Atomic uint64_t next_file;
    struct body *body;
};

static struct body *place_open(struct place *place, const struct engine_vtab *engine)
{
    place->disk = disk_new(1);
    place->io = disk_io(place->disk);
    atomic_init(&place->next_file, 1);
    struct engine_options options = {
        .io = place->io, .space_id = 512, .incarnation = 3, .next_file = &place->next_file};
    assert_int_equal(body_open(engine, &options, &place->body), 0);
    return place->body;
}

static void place_close(struct place *place)
{
    body_close(place->body);
    io_delete(place->io);
    disk_delete(place->disk);
}

static void key_make(unsigned key, unsigned char out[4])
{
    out[0] = (unsigned char)(key % 3 == 0 ? 0 : 0xff); /* keys that differ early, and late */
    out[1] = 0;
    out[2] = (unsigned char)(key >> 8);
    out[3] = (unsigned char)key;
}

static int model_compare(const void *a_pointer, const void *b_pointer)
{
    const struct model_row *a = a_pointer, *b = b_pointer;
    unsigned char a_key[4], b_key[4];
    key_make(a->key, a_key);
    key_make(b->key, b_key);
    int order = memcmp(a_key, b_key, 4);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    if (source->next == source->count)
        return ERROR_END;
    const struct model_row *row = &source->sorted[source->next++];
    key_make(row->key, source->key);
    bool tombstone = row->text[0] == '\0';
    *out = (struct engine_row){source->key, 4, row->ts, tombstone ? NULL : row->text,
                               tombstone ? 0 : (uint32_t)strlen(row->text)};
    return 0;
}

static void source_make(struct source *source, const struct model *model, unsigned from)
{
    source->base.next = source_next;
    source->count = model->count - from;
    source->next = 0;
    memcpy(source->sorted, &model->rows[from], source->count * sizeof *source->sorted);
    qsort(source->sorted, source->count, sizeof *source->sorted, model_compare);
}

/* What the model shows at ts, or NULL. */
static const char *model_get(const struct model *model, unsigned key, uint64_t ts)
{
    const struct model_row *best = NULL;
    for (unsigned i = 0; i < model->count; i++)
        if (model->rows[i].key == key && model->rows[i].ts <= ts &&
            (best == NULL || model->rows[i].ts > best->ts))
            best = &model->rows[i];
    return best == NULL || best->text[0] == '\0' ? NULL : best->text;
}

static void assert_row(const struct engine_row *row, const char *text)
{
    assert_int_equal(row->size, strlen(text));
    assert_memory_equal(row->data, text, row->size);
}

static void check_gets(struct body_view *view, const struct model *model, uint64_t ts)
{
    struct arena arena;
    arena_create(&arena, 0);
    for (unsigned key = 0; key < KEYS + 1; key++) {
        unsigned char bytes[4];
        struct engine_row row;
        key_make(key, bytes);
        const char *text = model_get(model, key, ts);
        int rc = body_get(view, bytes, 4, ts, &arena, &row);
        assert_int_equal(rc, text == NULL ? ERROR_NOT_FOUND : 0);
        if (text != NULL)
            assert_row(&row, text);
    }
    arena_destroy(&arena);
}

static bool key_inside(const unsigned char *key, const struct engine_range *range)
{
    int low = range->lower == NULL ? 1 : memcmp(key, range->lower, 4);
    int high = range->upper == NULL ? -1 : memcmp(key, range->upper, 4);
    return (low > 0 || (low == 0 && range->lower_inclusive)) &&
           (high < 0 || (high == 0 && range->upper_inclusive));
}

static void check_range(struct body_view *view, const struct model *model, uint64_t ts,
                        const struct engine_range *range)
{
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned expected = 0, seen = 0;
    unsigned char previous[4];
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned char bytes[4];
        key_make(key, bytes);
        expected += key_inside(bytes, range) && model_get(model, key, ts) != NULL;
    }
    assert_int_equal(body_cursor_open(view, range, ts, &cursor), 0);
    while (body_cursor_next(cursor, &row) == 0) {
        assert_int_equal(row.key_size, 4);
        assert_true(key_inside(row.key, range));
        if (seen++ > 0)
            assert_true(range->backward ? memcmp(row.key, previous, 4) < 0
                                        : memcmp(row.key, previous, 4) > 0);
        memcpy(previous, row.key, 4);
        const char *text = model_get(model, (unsigned)row.key[2] << 8 | row.key[3], ts);
        assert_non_null(text);
        assert_row(&row, text);
    }
    assert_int_equal(seen, expected);
    body_cursor_close(cursor);
}

static void check_cursors(struct body_view *view, const struct model *model, uint64_t ts,
                          struct random *random)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned char lower[4], upper[4];
        key_make((unsigned)random_below(random, KEYS), lower);
        key_make((unsigned)random_below(random, KEYS), upper);
        struct engine_range range = {.lower = i & 1 ? lower : NULL,
                                     .upper = i & 2 ? upper : NULL,
                                     .lower_size = 4,
                                     .upper_size = 4,
                                     .lower_inclusive = random_below(random, 2) == 0,
                                     .upper_inclusive = random_below(random, 2) == 0,
                                     .backward = i & 4};
        check_range(view, model, ts, &range);
    }
}

static void model_grow(struct model *model, uint64_t *clock, struct random *random)
{
    for (uint64_t n = random_below(random, 30); n > 0; n--) {
        struct model_row *row = &model->rows[model->count++];
        row->key = (unsigned)random_below(random, KEYS);
        row->ts = ++*clock;
        row->text[0] = '\0';
        if (random_below(random, 4) != 0)
            snprintf(row->text, sizeof row->text, "value %llu", (unsigned long long)row->ts);
    }
}

/* Absorbs in rounds while snapshots and a view stay open; after each, every timestamp that somebody
 * may read at gives what the model gives. */
static void absorb_and_read(const struct engine_vtab *engine, uint64_t seed)
{
    struct random random;
    static struct model model;
    static struct source source;
    struct place place;
    struct body *body = place_open(&place, engine);
    struct body_view *old_view = NULL;
    uint64_t clock = 0, old_ts = 0, held[4] = {0};
    random_create(&random, seed);
    model.count = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned from = model.count;
        model_grow(&model, &clock, &random);
        if (random_below(&random, 3) == 0)
            held[random_below(&random, 4)] = clock;
        struct engine_snapshots snapshots = {held, 4};
        source_make(&source, &model, from);
        assert_int_equal(body_absorb(body, &source.base, clock, &snapshots), 0);
        if (random_below(&random, 4) == 0)
            assert_int_equal(body_compact(body, &snapshots), 0);
        struct engine_tidied done;
        assert_int_equal(body_tidy(body, &snapshots, random_below(&random, 500), &done), 0);
        assert_int_equal(body_verify(body), 0);
        struct body_view *view;
        assert_int_equal(body_view_open(body, &view), 0);
        check_gets(view, &model, clock);
        check_cursors(view, &model, clock, &random);
        for (unsigned i = 0; i < 4; i++)
            check_gets(view, &model, held[i]);
        if (old_view != NULL) {
            check_gets(old_view, &model, old_ts);
            body_view_close(old_view);
        }
        old_view = view;
        old_ts = clock;
    }
    body_view_close(old_view);
    place_close(&place);
}

static void what_was_absorbed_is_read_back_at_every_snapshot(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (unsigned n = 0; engine_at(n) != NULL; n++)
        if (engine_at(n)->flags & ENGINE_ABSORBS)
            absorb_and_read(engine_at(n), seed);
}

static void a_row_beyond_the_bound_is_refused_and_nothing_is_absorbed(void **state)
{
    (void)state;
    static struct model model = {{{1, 5, "inside"}, {2, 9, "beyond"}}, 2};
    static struct source source;
    struct engine_snapshots snapshots = {NULL, 0};
    for (unsigned n = 0; engine_at(n) != NULL; n++) {
        struct place place;
        struct body *body;
        struct body_view *view;
        struct engine_stats stats;
        if (!(engine_at(n)->flags & ENGINE_ABSORBS))
            continue;
        body = place_open(&place, engine_at(n));
        source_make(&source, &model, 0);
        assert_int_equal(body_absorb(body, &source.base, 8, &snapshots), ERROR_INVALID);
        body_stats(body, &stats);
        assert_int_equal(stats.rows, 0);
        assert_int_equal(body_view_open(body, &view), 0);
        check_gets(view, &(struct model){.count = 0}, UINT64_MAX - 1);
        body_view_close(view);
        place_close(&place);
    }
}

static void an_engine_that_absorbs_nothing_says_so_and_shows_nothing(void **state)
{
    (void)state;
    static struct source source;
    static struct model empty;
    struct engine_snapshots snapshots = {NULL, 0};
    for (unsigned n = 0; engine_at(n) != NULL; n++) {
        struct place place;
        struct body *body;
        struct body_view *view;
        if (engine_at(n)->flags & ENGINE_ABSORBS)
            continue;
        assert_true(engine_at(n)->flags & ENGINE_RESIDENT);
        body = place_open(&place, engine_at(n));
        source_make(&source, &empty, 0);
        assert_int_equal(body_absorb(body, &source.base, 1, &snapshots), ERROR_UNSUPPORTED);
        assert_int_equal(body_compact(body, &snapshots), 0);
        assert_int_equal(body_verify(body), 0);
        assert_int_equal(body_view_open(body, &view), 0);
        check_gets(view, &empty, 1);
        check_range(view, &empty, 1, &(struct engine_range){0});
        body_view_close(view);
        place_close(&place);
    }
}

static int file_note(const struct engine_file *file, void *arg)
{
    struct engine_file **next = arg;
    *(*next)++ = *file;
    return 0;
}

/* Closes, cuts the power and opens again with the files that the body had. */
static void place_reopen(struct place *place)
{
    const struct engine_vtab *engine = place->body->vtab;
    struct engine_file files[ROUNDS], *end = files;
    assert_int_equal(body_files(place->body, file_note, &end), 0);
    assert_int_equal(io_sync_dir(place->io), 0);
    body_close(place->body);
    io_delete(place->io);
    disk_cut(place->disk, 1);
    place->io = disk_io(place->disk);
    struct engine_options options = {.io = place->io,
                                     .space_id = 512,
                                     .incarnation = 3,
                                     .next_file = &place->next_file,
                                     .files = files,
                                     .file_count = (unsigned)(end - files)};
    assert_int_equal(body_open(engine, &options, &place->body), 0);
}

static void what_a_durable_body_has_absorbed_is_there_after_a_cut(void **state)
{
    (void)state;
    static struct model model;
    static struct source source;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned n = 0; engine_at(n) != NULL; n++) {
        if (!(engine_at(n)->flags & ENGINE_DURABLE))
            continue;
        struct place place;
        struct engine_snapshots snapshots = {NULL, 0};
        uint64_t clock = 0;
        place_open(&place, engine_at(n));
        model.count = 0;
        for (unsigned round = 0; round < 20; round++) {
            unsigned from = model.count;
            struct body_view *view;
            model_grow(&model, &clock, &random);
            source_make(&source, &model, from);
            assert_int_equal(body_absorb(place.body, &source.base, clock, &snapshots), 0);
            if (random_below(&random, 4) == 0)
                assert_int_equal(body_compact(place.body, &snapshots), 0);
            body_settle(place.body);
            place_reopen(&place);
            assert_int_equal(body_view_open(place.body, &view), 0);
            check_gets(view, &model, clock);
            body_view_close(view);
        }
        place_close(&place);
    }
}

static void what_was_not_settled_can_be_taken_back(void **state)
{
    (void)state;
    static struct model model = {{{1, 5, "first"}, {2, 6, "second"}, {1, 9, "third"}}, 2};
    static struct source source;
    for (unsigned n = 0; engine_at(n) != NULL; n++) {
        if (!(engine_at(n)->flags & ENGINE_DURABLE))
            continue;
        struct place place;
        struct engine_snapshots snapshots = {NULL, 0};
        struct body_view *view;
        place_open(&place, engine_at(n));
        model.count = 2;
        source_make(&source, &model, 0);
        assert_int_equal(body_absorb(place.body, &source.base, 8, &snapshots), 0);
        body_settle(place.body);
        uint64_t used = disk_used(place.disk);
        model.count = 3;
        source_make(&source, &model, 2);
        assert_int_equal(body_absorb(place.body, &source.base, 9, &snapshots), 0);
        assert_int_equal(body_compact(place.body, &snapshots), 0);
        body_revert(place.body, false);
        model.count = 2;
        assert_int_equal(body_view_open(place.body, &view), 0);
        check_gets(view, &model, 100);
        body_view_close(view);
        assert_int_equal(disk_used(place.disk), used);
        place_close(&place);
    }
}

static void engines_are_found_by_name(void **state)
{
    (void)state;
    for (unsigned n = 0; engine_at(n) != NULL; n++)
        assert_ptr_equal(engine_find(engine_at(n)->name, strlen(engine_at(n)->name)), engine_at(n));
    assert_ptr_equal(engine_find("memtx", 5), engine_find("memory", 6));
    assert_null(engine_find("memor", 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_absorbed_is_read_back_at_every_snapshot),
        cmocka_unit_test(a_row_beyond_the_bound_is_refused_and_nothing_is_absorbed),
        cmocka_unit_test(an_engine_that_absorbs_nothing_says_so_and_shows_nothing),
        cmocka_unit_test(what_a_durable_body_has_absorbed_is_there_after_a_cut),
        cmocka_unit_test(what_was_not_settled_can_be_taken_back),
        cmocka_unit_test(engines_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
