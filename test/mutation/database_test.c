/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that are kept around transactions: by blocks of the log (invariant 5), by statements on
 * spaces (invariants 14 and 21), by commands (25) and by scripts (27); by indexes that are being
 * built (29), by foreign keys (30), by triggers (31), by sequences (32) and by rows that are ingested (36). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "db/db_fixture.h"
#include "db/db_private.h"
#include "db/ingest_private.h"
#include "db/sequence.h"
#include "lua/internal.h"
#include "lua/lua_fixture.h"
#include "mutation/scene.h"
#include "redis/redis_spread.h"

static struct db_fixture f;

static void open_space(void)
{
    db_fixture_open(&f);
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
}

/* ------------------------------------------------------------------------------------- rule 5 */

/* Changes each text that stands in a segment of the log. */
static int segment_spoil(const char *name, uint64_t size, void *arg)
{
    static char bytes[1 << 20];
    struct io_file *file;
    (void)arg;
    if (strstr(name, ".log") == NULL)
        return 0;
    assert_int_equal(io_open(f.io, name, IO_READ | IO_WRITE, &file), 0);
    int64_t got = io_read(file, bytes, size < sizeof bytes ? size : sizeof bytes, 0);
    for (int64_t i = 0; i + 6 <= got; i++)
        if (memcmp(bytes + i, "before", 6) == 0)
            assert_int_equal(io_write(file, "behind", 6, (uint64_t)i), 0);
    io_close(file);
    return 0;
}

static const char *what_the_disk_has_changed_is_not_taken_for_what_was_written(void)
{
    open_space();
    assert_int_equal(insert(&f, NULL, "s", "[1, \"before\"]"), 0);
    assert_int_equal(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))), 0);
    assert_int_equal(io_list(f.io, segment_spoil, NULL), 0);
    db_fixture_stop(&f);
    if (db_fixture_start(&f, false) != 0) /* damage, or the end of the log */
        return NULL;
    const char *row = space_of(&f, NULL, "s") == NULL ? NULL : get_by(&f, NULL, "s", "pk", "[1]");
    SCENE_EXPECT(row == NULL || strstr(row, "behind") == NULL,
                 "a record that the disk has changed was replayed");
    db_fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 14 */

static void other_collects(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    txn_collect(db_worker_txn(f.workers[0]), SIZE_MAX);
}

/* The entry of "x" is there, for an old version that is about to go. */
static const char *an_entry_is_not_swept_before_its_new_version_is_there(void)
{
    open_space();
    assert_int_equal(
        make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]], \"unique\": false}"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, \"x\"]"), 0);
    assert_int_equal(replace(&f, NULL, "s", "[1, \"y\"]"), 0);
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    scene_at(MUTATION_AT_STATEMENT_WRITES, other_collects);
    assert_int_equal(replace(&f, txn, "s", "[1, \"x\"]"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[1]"), "[1,\"x\"]");
    const char *found = select_by(&f, NULL, "s", "text", ITERATOR_EQ, "[\"x\"]");
    SCENE_EXPECT(strcmp(found, "[1,\"x\"]") == 0, "an index has lost a row");
    db_fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 21 */

static const char *a_row_written_under_an_old_catalog_is_missing_in_no_index(void)
{
    open_space();
    struct txn *reader = begin_readonly(&f, 2); /* holds the old picture and what it leads to */
    struct space *old = space_of(&f, reader, "s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    struct txn *writer = begin(&f, 1, TXN_SNAPSHOT);
    size_t size;
    const char *tuple = mp_of("[1, \"x\"]", &size);
    struct tuple_ref out;
    assert_int_equal(space_insert(writer, old, tuple, size, &out), 0);
    txn_commit(writer);
    txn_rollback(reader);
    const char *by_key = get_by(&f, NULL, "s", "pk", "[1]");
    const char *by_text = get_by(&f, NULL, "s", "text", "[\"x\"]");
    SCENE_EXPECT((by_key == NULL) == (by_text == NULL), "a row is in one index and not in another");
    db_fixture_close(&f);
    return NULL;
}

static const char *what_was_truncated_does_not_come_back(void)
{
    enum mutation of_replay = mutation_active;
    mutation_active = MUTATION_NONE;
    open_space();
    assert_int_equal(insert(&f, NULL, "s", "[1, \"x\"]"), 0);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[2, \"y\"]"), 0);
    mutation_active = of_replay;
    db_fixture_reopen(&f);
    SCENE_EXPECT(get_by(&f, NULL, "s", "pk", "[1]") == NULL, "a truncated row has come back");
    assert_non_null(get_by(&f, NULL, "s", "pk", "[2]"));
    db_fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 25 */

static struct lua_fixture lua;
static struct db_worker *second_worker;
static struct lua_runtime *second;

static void other_sets(void)
{
    struct mp_buffer result;
    mp_buffer_create(&result);
    const char text[] = "redis.call('SET', 'a', 'other')";
    struct lua_request request = {.level = TXN_SERIALIZABLE};
    uint64_t ts;
    assert_int_equal(lua_runtime_eval(second, &request, text, sizeof text - 1, NULL, &result, &ts),
                     0);
    mp_buffer_destroy(&result);
}

static const char *a_command_on_several_rows_overwrites_nothing_that_it_has_not_seen(void)
{
    lua_fixture_create(&lua, true, 0, 0);
    lua_fixture_second(&lua, &second_worker, &second);
    scene_at(MUTATION_AT_ROW_FOUND, other_sets);
    bool set = strcmp(lua_fixture_eval(&lua, "return redis.call('MSETNX', 'a', 'new', 'b', 'new')"),
                      "[1]") == 0;
    bool there =
        strcmp(lua_fixture_eval(&lua, "return redis.call('GET', 'a')"), "[\"other\"]") == 0;
    SCENE_EXPECT(!set && there,
                 "what another had set was overwritten by a command that sets what is "
                 "absent");
    lua_runtime_delete(second);
    db_worker_close(second_worker);
    lua_fixture_destroy(&lua);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 27 */

static struct clock_manual clock_of_script;

static void time_passes(void)
{
    clock_manual_advance_ms(&clock_of_script, 1000);
}

static void first_command(void)
{
    scene_at(MUTATION_AT_SCRIPT_COMMAND, time_passes);
}

static const char *a_key_does_not_expire_between_two_commands_of_a_script(void)
{
    lua_fixture_create(&lua, true, 0, 0);
    clock_manual_create(&clock_of_script, 1000000);
    struct clock *system = lua.runtime->clock;
    lua.runtime->clock = &clock_of_script.base;
    lua_fixture_do(&lua, "redis.call('SET', 'k', 'v', 'PX', 100)");
    scene_at(MUTATION_AT_SCRIPT_COMMAND, first_command);
    const char *both = lua_fixture_eval(
        &lua, "return box.atomic(function()"
              " return redis.call('EXISTS', 'k') == redis.call('EXISTS', 'k') end)");
    assert_int_equal(scene_passed(), 1);
    SCENE_EXPECT(strcmp(both, "[true]") == 0, "a key was there and was not, in one run");
    lua.runtime->clock = system;
    lua_fixture_destroy(&lua);
    return NULL;
}

/* Takes an element out of the hash "k" of two, in a transaction that stays open. */
static struct redis_call element_take(unsigned worker, const char *element)
{
    static const struct redis_slice NAME = {"k", 1};
    struct redis_call call = {.worker = f.workers[worker], .config = redis_config_default()};
    struct redis_key key;
    struct redis_value value;
    assert_int_equal(txn_begin(db_worker_txn(call.worker),
                               &(struct txn_options){.level = TXN_READ_COMMITTED}, &call.txn),
                     0);
    assert_int_equal(redis_open_for_update(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_int_equal(redis_element_delete(&call, value.id, REDIS_ELEMENT, element, 1), 0);
    assert_int_equal(redis_spread_shrunk(&call, &key, &value, REDIS_ELEMENT, element, 1, NULL), 0);
    return call;
}

static void elements_put(void)
{
    static const struct redis_slice NAME = {"k", 1}, NIL = {"\xc0", 1}, NOTHING = {NULL, 0};
    struct redis_call call = {.worker = f.workers[0], .config = redis_config_default()};
    struct redis_key key;
    uint64_t id;
    call.txn = begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(redis_key_encode(&call, &NAME, &key), 0);
    assert_int_equal(redis_spread_new(&call, &id), 0);
    assert_int_equal(redis_value_put_spread(&call, &key, REDIS_TYPE_HASH, 0, id, NOTHING), 0);
    assert_int_equal(redis_element_put(&call, id, REDIS_ELEMENT, "a", 1, NIL, 0), 0);
    assert_int_equal(redis_element_put(&call, id, REDIS_ELEMENT, "b", 1, NIL, 0), 0);
    assert_int_equal(txn_commit(call.txn), 0);
}

/* Two take the last two elements, each while the other's is still there. */
static const char *a_key_ends_with_the_last_of_its_elements(void)
{
    open_space();
    elements_put();
    struct redis_call first = element_take(0, "a"), behind = element_take(1, "b");
    assert_int_equal(txn_commit(first.txn), 0);
    if (txn_commit(behind.txn) != 0) {
        behind = element_take(1, "b");
        assert_int_equal(txn_commit(behind.txn), 0);
    }
    bool ended = txn_head_rows(db_redis_head(f.db, 0)) == 0;
    db_fixture_close(&f);
    SCENE_EXPECT(ended, "a key without elements was left");
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 29 */

static void end(struct txn *txn, int rc)
{
    if (rc == 0)
        txn_commit(txn);
    else
        txn_rollback(txn);
}

static void other_inserts_behind(void)
{
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(insert(&f, txn, "s", "[0, \"x\"]"), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void first_slice_is_filled(void)
{
    scene_at(MUTATION_AT_BUILD_SLICE, other_inserts_behind);
}

/* A row comes in where the filling has been. */
static const char *a_row_that_is_written_while_an_index_is_built_is_in_it(void)
{
    open_space();
    f.db->online_rows_min = 1;
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= 300; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, \"a\"]", i);
        assert_int_equal(insert(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    scene_at(MUTATION_AT_BUILD_SLICE, first_slice_is_filled);
    assert_int_equal(
        make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]], \"unique\": false}"), 0);
    const char *found = select_by(&f, NULL, "s", "text", ITERATOR_EQ, "[\"x\"]");
    SCENE_EXPECT(strcmp(found, "[0,\"x\"]") == 0, "an index has not got a row");
    db_fixture_close(&f);
    return NULL;
}

static void replace_by(unsigned worker, const char *tuple)
{
    struct txn *txn = begin(&f, worker, TXN_SNAPSHOT);
    assert_int_equal(replace(&f, txn, "s", tuple), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void its_writer_collects(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    txn_collect(db_worker_txn(f.workers[1]), SIZE_MAX);
}

static void newest_is_filled(void)
{
    scene_at(MUTATION_AT_ENTRY_FILLING, its_writer_collects);
}

/* An old version has been found, and goes before its entry is there. */
static const char *an_entry_does_not_outlive_a_version_that_went_meanwhile(void)
{
    open_space();
    f.db->online_rows_min = 1;
    replace_by(1, "[1, \"x\"]");
    replace_by(1, "[1, \"y\"]");
    scene_at(MUTATION_AT_ENTRY_FILLING, newest_is_filled);
    assert_int_equal(
        make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]], \"unique\": false}"), 0);
    SCENE_EXPECT(tree_count(index_of(&f, NULL, "s", "text")->scan.tree) == 1,
                 "an entry is left that nobody will remove");
    db_fixture_close(&f);
    return NULL;
}

static void other_inserts_a_text(void)
{
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    end(txn, insert(&f, txn, "s", "[0, \"x\"]"));
}

static void first_slice_is_looked_at(void)
{
    scene_at(MUTATION_AT_BUILD_SLICE, other_inserts_a_text);
}

/* A row comes in where the look has been. */
static const char *a_row_that_is_written_while_a_space_is_altered_fits(void)
{
    open_space();
    f.db->online_rows_min = 1;
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= 300; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, 1]", i);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    scene_at(MUTATION_AT_BUILD_SLICE, first_slice_is_looked_at);
    assert_int_equal(format_space(&f, "s", "[[\"id\", \"unsigned\"], [\"value\", \"unsigned\"]]"),
                     0);
    SCENE_EXPECT(get_by(&f, NULL, "s", "pk", "[0]") == NULL, "a row does not fit the format");
    db_fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 30 */

static void open_referring(void)
{
    open_space();
    assert_int_equal(
        make_space(&f, "c",
                   "{\"format\": [\"id\", \"up\"], \"foreign_key\": {\"k\": {\"space\": "
                   "\"s\", \"field\": [[1, 0]]}}}"),
        0);
    assert_int_equal(make_index(&f, "c", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "c", "up", "{\"unique\": false, \"parts\": [\"up\"]}"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1]"), 0);
}

/* Closes the database; says whether a row refers to nothing. */
static const char *dangling(void)
{
    bool child = get_by(&f, NULL, "c", "pk", "[1]") != NULL;
    bool parent = get_by(&f, NULL, "s", "pk", "[1]") != NULL;
    SCENE_EXPECT(!child || parent, "a row refers to one that is not there");
    db_fixture_close(&f);
    return NULL;
}

static void other_deletes(void)
{
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    end(txn, delete_by(&f, txn, "s", "pk", "[1]"));
}

static const char *what_is_referred_to_does_not_go_between_the_look_and_the_write(void)
{
    open_referring();
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    scene_at(MUTATION_AT_STATEMENT_WRITES, other_deletes);
    end(txn, insert(&f, txn, "c", "[1, 1]"));
    return dangling();
}

static const char *nothing_refers_to_a_row_that_another_is_deleting(void)
{
    open_referring();
    struct txn *other = begin(&f, 1, TXN_SNAPSHOT), *txn = begin(&f, 0, TXN_SERIALIZABLE);
    int deleted = delete_by(&f, other, "s", "pk", "[1]");
    end(txn, insert(&f, txn, "c", "[1, 1]"));
    end(other, deleted);
    return dangling();
}

static const char *nothing_refers_to_a_row_that_only_its_snapshot_shows(void)
{
    open_referring();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    other_deletes();
    end(txn, insert(&f, txn, "c", "[1, 1]"));
    return dangling();
}

static const char *who_deletes_a_row_meets_what_is_about_to_refer_to_it(void)
{
    open_referring();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    int written = insert(&f, txn, "c", "[1, 1]");
    other_deletes();
    end(txn, written);
    return dangling();
}

/* ------------------------------------------------------------------------------------ rule 31 */

static void open_triggered(const char *body)
{
    char text[512];
    lua_fixture_create(&lua, false, 0, 0);
    snprintf(text, sizeof text,
             "box.schema.space.create('s'):create_index('pk') "
             "box.schema.space.create('t'):create_index('pk') box.space.t:insert{1, 0} "
             "box.space.s:create_trigger('x', {event = 'on_replace', body = [[%s]]})",
             body);
    lua_fixture_do(&lua, text);
}

/* Closes the database; says whether both have the same number of rows. */
static const char *halves(void)
{
    bool same = strcmp(lua_fixture_eval(&lua, "box.space.s:count() == box.space.t:count() - 1"),
                       "[true]") == 0;
    SCENE_EXPECT(same, "a statement has happened by half");
    lua_fixture_destroy(&lua);
    return NULL;
}

static const char *a_statement_whose_trigger_fails_changes_nothing(void)
{
    open_triggered("if new[1] > 1 then error('no') end box.space.t:insert{new[1] + 1, 0}");
    lua_fixture_do(&lua, "box.atomic(function() box.space.s:insert{1} pcall(box.space.s.insert, "
                         "box.space.s, {2}) end)");
    return halves();
}

static const char *a_trigger_takes_back_only_what_it_has_done_itself(void)
{
    open_triggered("pcall(box.rollback_to_savepoint, box.func.keep()) "
                   "box.space.t:insert{new[1] + 1, 0}");
    lua_fixture_do(&lua,
                   "box.schema.func.create('keep', {body = 'function(p) kept = p or kept return "
                   "kept end'}) box.atomic(function() box.func.keep(box.savepoint()) "
                   "box.space.s:insert{1} end)");
    return halves();
}

/* ------------------------------------------------------------------------------------ rule 32 */

/* A row that has a number is durable; the power fails. */
static const char *a_number_that_a_row_has_is_not_given_again(void)
{
    size_t size;
    uint32_t id = 0;
    struct sequence_def def;
    int64_t number = 0;
    open_space();
    assert_int_equal(0, ddl_record_put(f.workers[0], SPACE_ID_SEQUENCE,
                                       mp_of("[null, 1, \"q\", {}]", &size), true, 1, &id));
    assert_int_equal(0, sequence_find(db_catalog(f.workers[0]), id, &def));
    assert_int_equal(0, sequence_next(f.db, &def, &number, NULL));
    assert_int_equal(1, number);
    assert_int_equal(0, insert(&f, NULL, "s", "[1, \"has it\"]"));
    assert_int_equal(0, wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    disk_cut(f.disk, 1);
    db_fixture_stop(&f);
    assert_int_equal(0, db_fixture_start(&f, false));
    assert_string_equal("[1,\"has it\"]", get_by(&f, NULL, "s", "pk", "[1]"));
    assert_int_equal(0, sequence_find(db_catalog(f.workers[0]), id, &def));
    assert_int_equal(0, sequence_next(f.db, &def, &number, NULL));
    SCENE_EXPECT(number != 1, "a number was given twice");
    db_fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 36 */

static int row_try(const char *json)
{
    struct ingest *ingest;
    struct ddl_job *job;
    size_t size;
    const char *tuple = mp_of(json, &size);
    int rc;
    assert_int_equal(ingest_new(f.workers[0], space_of(&f, NULL, "s")->id, &ingest), 0);
    assert_int_equal(ingest_add(ingest, tuple, size), 0);
    assert_int_equal(ingest_run(ingest, &job), 0);
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    return rc;
}

static void row_ingest(const char *json)
{
    assert_int_equal(row_try(json), 0);
}

static void open_lsm(void)
{
    db_fixture_open(&f);
    assert_int_equal(make_space(&f, "s", "{\"engine\": \"lsm\"}"), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
}

static int publisher_nice;

/* On the thread of the rows, in front of the gate. */
static void other_inserts(void)
{
    publisher_nice = getpriority(PRIO_PROCESS, 0); /* of the calling thread */
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(insert(&f, txn, "s", "[2, \"written\"]"), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static const char *what_was_written_before_rows_came_is_not_lost(void)
{
    open_lsm();
    scene_at(MUTATION_AT_INGEST_PUBLISHES, other_inserts);
    row_ingest("[1, \"ingested\"]");
    assert_int_equal(publisher_nice, getpriority(PRIO_PROCESS, 0)); /* everybody waits for it */
    assert_int_equal(db_checkpoint(f.db), 0);
    db_fixture_reopen(&f);
    const char *rows = select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL);
    SCENE_EXPECT(strcmp(rows, "[1,\"ingested\"] [2,\"written\"]") == 0, "a row was lost");
    db_fixture_close(&f);
    return NULL;
}

static void other_inserts_the_same(void)
{
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(insert(&f, txn, "s", "[1, \"before\"]"), 0);
    assert_int_equal(txn_commit(txn), 0);
}

/* A reader from before holds the row in the head. */
static const char *a_row_that_came_hides_what_the_head_had(void)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *held;
    open_lsm();
    assert_int_equal(txn_open(db_worker_txn(f.workers[2]), &options, &held), 0);
    txn_park(held);
    scene_at(MUTATION_AT_INGEST_PUBLISHES, other_inserts_the_same);
    row_ingest("[1, \"ingested\"]");
    const char *row = get_by(&f, NULL, "s", "pk", "[1]");
    SCENE_EXPECT(strcmp(row, "[1,\"ingested\"]") == 0, "a row is read that was replaced");
    assert_int_equal(txn_resume(held), 0);
    txn_rollback(held);
    db_fixture_close(&f);
    return NULL;
}

static void it_is_cancelled(void)
{
    pthread_mutex_lock(&f.db->checkpoint->mutex);
    store_relaxed(&f.db->checkpoint->ingests->cancelled, true);
    pthread_mutex_unlock(&f.db->checkpoint->mutex);
}

static const char *what_is_cancelled_in_the_gate_is_not_taken_in(void)
{
    open_lsm();
    scene_at(MUTATION_AT_INGEST_LOOKS, it_is_cancelled);
    int rc = row_try("[1, \"ingested\"]");
    SCENE_EXPECT(rc == ERROR_CANCELLED, "what was cancelled goes on, and everybody waits for it");
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL), "");
    row_ingest("[1, \"again\"]");
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL), "[1,\"again\"]");
    db_fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(what_the_disk_has_changed_is_not_taken_for_what_was_written, RECORDS_NOT_SUMMED),
        SCENE(an_entry_is_not_swept_before_its_new_version_is_there, ENTRY_FIRST),
        SCENE(a_row_written_under_an_old_catalog_is_missing_in_no_index, CATALOG_NOT_CHECKED),
        SCENE(what_was_truncated_does_not_come_back, INCARNATION_IGNORED),
        SCENE(a_command_on_several_rows_overwrites_nothing_that_it_has_not_seen,
              SEVERAL_ROWS_WEAKLY),
        SCENE(a_key_ends_with_the_last_of_its_elements, SPREAD_WEAKLY),
        SCENE(a_key_does_not_expire_between_two_commands_of_a_script, NOW_TAKEN_TWICE),
        SCENE(a_row_that_is_written_while_an_index_is_built_is_in_it, BUILD_UNSEEN),
        SCENE(a_row_that_is_written_while_a_space_is_altered_fits, ALTER_UNSEEN),
        SCENE(an_entry_does_not_outlive_a_version_that_went_meanwhile, FILLED_ONCE),
        SCENE(what_is_referred_to_does_not_go_between_the_look_and_the_write, FOREIGN_LOOKED_FIRST),
        SCENE(nothing_refers_to_a_row_that_another_is_deleting, FOREIGN_PARENT_UNSEEN),
        SCENE(nothing_refers_to_a_row_that_only_its_snapshot_shows, FOREIGN_SNAPSHOT_READ),
        SCENE(who_deletes_a_row_meets_what_is_about_to_refer_to_it, FOREIGN_CHILD_UNSEEN),
        SCENE(a_statement_whose_trigger_fails_changes_nothing, TRIGGER_ERROR_KEEPS),
        SCENE(a_trigger_takes_back_only_what_it_has_done_itself, TRIGGER_GOES_BACK),
        SCENE(a_number_that_a_row_has_is_not_given_again, SEQUENCE_UNRESERVED),
        SCENE(what_was_written_before_rows_came_is_not_lost, INGESTED_UNABSORBED),
        SCENE(a_row_that_came_hides_what_the_head_had, REPLACED_ROW_STAYS),
        SCENE(what_is_cancelled_in_the_gate_is_not_taken_in, INGEST_END_UNSEEN),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
