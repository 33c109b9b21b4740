/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_DB_INGEST_FIXTURE_H
#define TEST_DB_INGEST_FIXTURE_H

/*
 * What tests of ingesting rows stand on: one database with a space `s` of lsm, which has a primary index `pk`.
 */
#include "db/db_fixture.h"
#include "db/ingest.h"

extern struct db_fixture ingest_f;

/* Options of indexes over the second field, and, where nil may be, the third, which is unique. */
extern const char *const ingest_plain, *const ingest_unique;

/* For cmocka; and what it is made of, once more on the same disk. Memory for sorting is the least. */
int ingest_open(void **state);
int ingest_close(void **state);
int ingest_start(void);
void ingest_reopen(void);

/* Into s: one row; to its end; tuples one behind the other, ended by NULL. */
struct ingest *ingest_begin(void);
int ingest_add_json(struct ingest *ingest, const char *json);
int ingest_end(struct ingest *ingest);
int ingest_take(const char *first, ...);

/* What an index of s has. */
const char *ingest_all(const char *index);

/* Fail the test unless s and its files are whole; if there is a file that is of no body. */
void ingest_assert_whole(void);
void ingest_assert_no_file_left(void);

#endif
