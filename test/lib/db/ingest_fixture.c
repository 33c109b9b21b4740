/* SPDX-License-Identifier: Apache-2.0 */
#include "db/ingest_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "db/checkpoint_private.h"
#include "db/ddl.h"

struct db_fixture ingest_f;

const char *const ingest_plain = "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}";
const char *const ingest_unique =
    "{\"parts\": [{\"field\": 3, \"type\": \"unsigned\", \"is_nullable\": true}]}";

static void settings(void)
{
    ingest_f.db->build_sort_bytes = 0; /* the least */
}

int ingest_start(void)
{
    int rc = db_fixture_start(&ingest_f, false);
    if (rc == 0)
        settings();
    return rc;
}

void ingest_reopen(void)
{
    db_fixture_reopen(&ingest_f);
    settings();
}

int ingest_open(void **state)
{
    (void)state;
    memset(&ingest_f, 0, sizeof ingest_f);
    ingest_f.engine = "lsm";
    ingest_f.disk = disk_new(1);
    must(ingest_start());
    must(make_space(&ingest_f, "s", NULL));
    must(make_index(&ingest_f, "s", "pk", NULL));
    return 0;
}

int ingest_close(void **state)
{
    (void)state;
    db_fixture_close(&ingest_f);
    return 0;
}

struct ingest *ingest_begin(void)
{
    struct ingest *ingest;
    must(ingest_new(ingest_f.workers[0], space_of(&ingest_f, NULL, "s")->id, &ingest));
    return ingest;
}

int ingest_add_json(struct ingest *ingest, const char *json)
{
    size_t size;
    const char *tuple = mp_of(json, &size);
    return ingest_add(ingest, tuple, size);
}

int ingest_end(struct ingest *ingest)
{
    struct ddl_job *job;
    int rc = ingest_run(ingest, &job);
    if (rc != 0 || job == NULL)
        return rc;
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    return rc;
}

/* Tuples one behind the other, ended by NULL. */
int ingest_take(const char *first, ...)
{
    va_list tuples;
    struct ingest *ingest = ingest_begin();
    va_start(tuples, first);
    for (const char *tuple = first; tuple != NULL; tuple = va_arg(tuples, const char *))
        must(ingest_add_json(ingest, tuple));
    va_end(tuples);
    return ingest_end(ingest);
}

const char *ingest_all(const char *index)
{
    return select_by(&ingest_f, NULL, "s", index, ITERATOR_ALL, NULL);
}

void ingest_assert_whole(void)
{
    struct ddl_job *job;
    int rc;
    must(ddl_verify_begin(ingest_f.workers[0], space_of(&ingest_f, NULL, "s")->id, &job));
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    must(rc);
    struct store *store = space_of(&ingest_f, NULL, "s")->head->arg;
    must(body_verify(store->body));
}

/* Files of bodies on the disk. */
static int file_count(const char *name, uint64_t size, void *arg)
{
    (void)size;
    size_t length = strlen(name);
    *(unsigned *)arg += length > 4 && strcmp(name + length - 4, ".run") == 0;
    return 0;
}

/* No file is there that is of no body. */
void ingest_assert_no_file_left(void)
{
    unsigned there = 0, named = 0;
    db__checkpoint_wait_idle(ingest_f.db);
    must(io_list(ingest_f.io, file_count, &there));
    for (unsigned i = 0; i < ingest_f.db->checkpoint->manifest.tree_count; i++)
        named += ingest_f.db->checkpoint->manifest.trees[i].file_count;
    assert_int_equal(there, named);
}
