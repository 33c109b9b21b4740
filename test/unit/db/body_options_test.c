/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Options of bodies: what rows of _space say of them, also rows of before there were any, and that
 * the bodies work by them however they were opened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/body_options.h"
#include "db/checkpoint_fixture.h"
#include "db/db_private.h"
#include "storage/btree/btree_internal.h"

static const struct engine_vtab *engine(const char *name)
{
    return engine_find(name, strlen(name));
}

static struct body *body_of(const char *space)
{
    return ((struct store *)space_of(&f, NULL, space)->head->arg)->body;
}

static struct lsm_options lsm_of(const char *space)
{
    struct lsm_options options;
    lsm_options_get(body_of(space), &options);
    return options;
}

static uint32_t page_bytes_of(const char *space)
{
    return ((struct btree_body *)body_of(space))->page_bytes;
}

static void space_make(const char *name, const char *options)
{
    assert_int_equal(make_space(&f, name, options), 0);
    assert_int_equal(make_index(&f, name, "pk", "{}"), 0);
}

static int alter(const char *name, const char *options)
{
    return ddl_space_alter(f.workers[0], space_of(&f, NULL, name)->id, mp_of(options, NULL));
}

/* ------------------------------------------------------------------------------------------ values */

static int read(const char *engine_name, const char *options, struct body_options *out)
{
    struct body_option_values values;
    body_options_find(mp_of(options, NULL), &values);
    return body_options_read(engine(engine_name), &values, out);
}

static void without_values_an_engine_does_what_it_does_by_itself(void **state)
{
    (void)state;
    struct body_options options, otherwise;
    body_options_default(&otherwise);
    assert_int_equal(read("lsm", "{\"incarnation\": 4}", &options), 0);
    assert_true(body_options_equal(&options, &otherwise));
    assert_int_equal(read("btree", "{}", &options), 0);
    assert_true(body_options_equal(&options, &otherwise));
    assert_int_equal(options.page_bytes, BTREE_PAGE_MIN);
    assert_false(body_options_any(engine("memory")));
    assert_true(body_options_any(engine("lsm")));
    assert_true(body_options_any(engine("btree")));
}

static void what_is_read_is_written_so_that_it_reads_the_same(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"lsm",
         "{\"page_size\":8192,\"compaction\":\"levelled\",\"compression\":\"lz4\","
         "\"dictionary\":false,\"bloom_bits\":10,\"filter\":\"bloom\",\"run_count_per_level\":2,"
         "\"range_size\":1048576,\"run_size_ratio\":100,\"level_size\":1099511627776}"},
        {"lsm", "{\"page_size\":4097,\"compaction\":\"time-window\",\"compaction_window\":77,"
                "\"compression\":[\"none\",\"snappy\",\"zstd\"],\"dictionary\":true,"
                "\"bloom_bits\":0,\"run_count_per_level\":32,\"range_size\":17179869184}"},
        {"lsm", "{\"page_size\":65536,\"compaction\":\"universal\",\"compression\":"
                "[\"none\",\"none\",\"none\",\"none\",\"none\",\"none\",\"lz4\"],"
                "\"dictionary\":false,\"bloom_bits\":32,\"filter\":\"ribbon\"}"},
        {"btree", "{\"page_size\":16384}"},
    };
    static const uint32_t sizes[] = {10, 9, 8, 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct body_options options;
        struct mp_buffer out;
        mp_buffer_create(&out);
        assert_int_equal(read(cases[i][0], cases[i][1], &options), 0);
        body_options_put(engine(cases[i][0]), &options, &out);
        const char *map = out.data;
        assert_true(mp_check_limited(&map, out.data + out.size) && map == out.data + out.size);
        struct body_option_values values;
        struct body_options again;
        body_options_find(out.data, &values);
        assert_int_equal(body_options_read(engine(cases[i][0]), &values, &again), 0);
        assert_true(body_options_equal(&options, &again));
        map = out.data;
        assert_int_equal(mp_decode_map(&map), sizes[i]);
        mp_buffer_destroy(&out);
    }
}

static void options_differ_when_any_of_them_does(void **state)
{
    (void)state;
    static const char *const others[] = {
        "{\"compaction\": \"universal\"}",
        "{\"compression\": \"zstd\"}",
        "{\"compression\": [\"none\", \"lz4\"]}",
        "{\"page_size\": 4096}",
        "{\"bloom_bits\": 9}",
        "{\"filter\": \"ribbon\"}",
        "{\"run_count_per_level\": 3}",
        "{\"range_size\": 1048577}",
        "{\"run_size_ratio\": 9}",
        "{\"level_size\": 1048577}",
        "{\"compaction\": \"time-window\"}",
        "{\"compaction\": \"time-window\", \"compaction_window\": 9}",
        "{\"compression\": \"zstd\", \"dictionary\": true}"};
    enum { OTHERS = sizeof others / sizeof *others };
    struct body_options options[OTHERS + 1];
    body_options_default(&options[OTHERS]);
    for (size_t i = 0; i < OTHERS; i++)
        assert_int_equal(read("lsm", others[i], &options[i]), 0);
    for (size_t i = 0; i <= OTHERS; i++)
        for (size_t n = 0; n <= OTHERS; n++)
            assert_int_equal(body_options_equal(&options[i], &options[n]), i == n);
}

/* -------------------------------------------------------------------------------------- databases */

static void rows_without_options_are_those_of_older_versions(void **state)
{
    (void)state;
    struct lsm_options otherwise;
    lsm_options_default(&otherwise);
    space_make("s", "{\"engine\": \"lsm\"}");
    space_make("t", "{\"engine\": \"btree\"}");
    const char *flags = mp_array_at(space_of(&f, NULL, "s")->row_version->bytes, 5);
    assert_int_equal(mp_decode_map(&flags), 1); /* the incarnation alone, as ever */
    for (unsigned round = 0; round < 3; round++) {
        struct lsm_options now = lsm_of("s");
        assert_int_equal(now.strategy, otherwise.strategy);
        assert_int_equal(now.block_bytes, otherwise.block_bytes);
        assert_int_equal(now.filter_bits, otherwise.filter_bits);
        assert_int_equal(now.filter_kind, RUN_FILTER_BLOOM);
        assert_memory_equal(now.compression, otherwise.compression, sizeof now.compression);
        assert_non_null(now.space);
        assert_int_equal(page_bytes_of("t"), BTREE_PAGE_MIN);
        assert_int_equal(replace(&f, NULL, "s", "[1]"), 0);
        assert_int_equal(replace(&f, NULL, "t", "[1]"), 0);
        if (round == 1)
            checkpoint();
        db_fixture_reopen(&f);
    }
}

static void bodies_work_by_their_options_whatever_a_start_has_found(void **state)
{
    (void)state;
    space_make(
        "s",
        "{\"engine\": \"lsm\", \"compaction\": \"universal\", \"compression\": "
        "[\"none\", \"zstd\"], \"bloom_bits\": 3, \"filter\": \"ribbon\", \"page_size\": 6000}");
    space_make("t", "{\"engine\": \"btree\", \"page_size\": 32768}");
    /* The log alone; a manifest with bodies that have no files; files; others after an emptying. */
    for (unsigned round = 0; round < 6; round++) {
        if (round == 1)
            assert_int_equal(make_space(&f, "other", "{}"), 0);
        if (round == 2 || round == 5) {
            assert_int_equal(replace(&f, NULL, "s", "[1, \"text\"]"), 0);
            assert_int_equal(replace(&f, NULL, "t", "[1, \"text\"]"), 0);
        }
        if (round == 4) {
            assert_int_equal(truncate_space(&f, "s"), 0);
            assert_int_equal(truncate_space(&f, "t"), 0);
        }
        if (round > 0)
            checkpoint();
        db_fixture_reopen(&f);
        struct lsm_options now = lsm_of("s");
        assert_int_equal(now.strategy, LSM_UNIVERSAL);
        assert_int_equal(now.compression[0], COMPRESS_NONE);
        assert_int_equal(now.compression[1], COMPRESS_ZSTD);
        assert_int_equal(now.compression[LSM_LEVEL_LAST], COMPRESS_ZSTD);
        assert_int_equal(now.filter_bits, 3);
        assert_int_equal(now.filter_kind, RUN_FILTER_RIBBON);
        assert_int_equal(now.block_bytes, 6000);
        assert_int_equal(page_bytes_of("t"), 32768);
    }
    assert_string_equal(get_by(&f, NULL, "t", "pk", "[1]"), "[1,\"text\"]");
    assert_int_equal(body_verify(body_of("t")), 0);
}

static void a_change_is_in_force_when_it_is_durable_and_only_then(void **state)
{
    (void)state;
    struct txn *txn;
    space_make("s", "{\"engine\": \"lsm\"}");
    assert_int_equal(replace(&f, NULL, "s", "[1]"), 0);
    checkpoint();
    assert_int_equal(alter("s", "{\"compaction\": \"size-tiered\", \"bloom_bits\": 0}"), 0);
    assert_int_equal(lsm_of("s").strategy, LSM_TIERED);
    assert_int_equal(lsm_of("s").filter_bits, 0);
    assert_int_equal(
        ddl_begin(f.workers[0], &(struct txn_options){.level = TXN_SERIALIZABLE}, &txn), 0);
    assert_int_equal(alter("s", "{\"compaction\": \"universal\", \"bloom_bits\": 5}"), 0);
    assert_int_equal(space_of(&f, NULL, "s")->options->lsm.filter_bits, 5);
    assert_int_equal(lsm_of("s").strategy, LSM_TIERED);
    ddl_rollback(f.workers[0]);
    assert_int_equal(space_of(&f, NULL, "s")->options->lsm.filter_bits, 0);
    assert_int_equal(lsm_of("s").strategy, LSM_TIERED);
    assert_int_equal(alter("s", "{\"compaction\": \"elsewhere\"}"), ERROR_INVALID);
    assert_int_equal(alter("s", "{\"filter\": \"cuckoo\"}"), ERROR_INVALID);
    assert_int_equal(alter("s", "{\"filter\": \"ribbon\"}"), 0);
    assert_int_equal(lsm_of("s").filter_kind, RUN_FILTER_RIBBON);
    assert_int_equal(alter("s", "{\"run_size_ratio\": 3}"), ERROR_INVALID);
    assert_int_equal(alter("s", "{\"compaction\": \"levelled\", \"run_size_ratio\": 3, "
                                "\"level_size\": 2000000, \"range_size\": 3000000}"),
                     0);
    assert_int_equal(lsm_of("s").size_ratio, 3);
    assert_int_equal(lsm_of("s").level_bytes, 2000000);
    assert_int_equal(lsm_of("s").file_bytes, 3000000);
    assert_int_equal(alter("s", "{\"compaction\": \"size-tiered\", \"run_count_per_level\": 7}"),
                     0);
    assert_int_equal(lsm_of("s").l0_files, 7);
    assert_int_equal(lsm_of("s").size_ratio, 10); /* went with what it was of */
    assert_int_equal(lsm_of("s").file_bytes, 3000000);
    assert_int_equal(alter("s", "{\"name\": \"t\"}"), 0); /* another change takes them along */
    db_fixture_reopen(&f);
    assert_int_equal(lsm_of("t").strategy, LSM_TIERED);
    assert_int_equal(lsm_of("t").filter_bits, 0);
    assert_int_equal(lsm_of("t").filter_kind, RUN_FILTER_RIBBON);
    assert_int_equal(lsm_of("t").l0_files, 7);
    assert_int_equal(lsm_of("t").file_bytes, 3000000);
}

static void options_that_no_version_has_written_are_damage(void **state)
{
    (void)state;
    struct txn *txn;
    space_make("s", "{\"engine\": \"lsm\", \"compression\": \"zstd\"}");
    struct space *space = space_of(&f, NULL, "s");
    const struct version *row = space->row_version;
    char *copy = malloc(row->size);
    memcpy(copy, row->bytes, row->size);
    char *method = memmem(copy, row->size, "zstd", 4);
    assert_non_null(method);
    memcpy(method, "zsdt", 4);
    txn = begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(
        db__space_replace(txn, catalog_space_by_id(db_catalog(f.workers[0]), SPACE_ID_SPACE), copy,
                          row->size),
        0);
    assert_int_equal(txn_commit(txn), 0);
    free(copy);
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "_space"));
    assert_non_null(strstr(diag_message(), "not 'zsdt'"));
    disk_delete(f.disk); /* nothing is open */
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, checkpoint_setup, checkpoint_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_values_an_engine_does_what_it_does_by_itself),
        cmocka_unit_test(what_is_read_is_written_so_that_it_reads_the_same),
        cmocka_unit_test(options_differ_when_any_of_them_does),
        TEST(rows_without_options_are_those_of_older_versions),
        TEST(bodies_work_by_their_options_whatever_a_start_has_found),
        TEST(a_change_is_in_force_when_it_is_durable_and_only_then),
        cmocka_unit_test_setup(options_that_no_version_has_written_are_damage, checkpoint_setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
