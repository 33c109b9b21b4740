/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DDL_H
#define DB_DDL_H

/*
 * Changes of the catalog. Each is a transaction of its own, alone in the gate (invariants 21 and
 * 24), committed and in force for every worker when it returns; the worker has no transaction.
 * Definitions are MessagePack maps, as they come from Lua; unknown options are errors that name
 * them. ERROR_EXISTS, ERROR_NOT_FOUND, ERROR_SCHEMA, ERROR_DUPLICATE (a unique index over rows that
 * are not), with diagnostics. *ts, when not NULL: what a reply must wait for.
 */
#include "db/catalog.h"
#include "db/db.h"

/*
 * A schema transaction: between begin and commit the changes below, and statements of the same
 * worker in the transaction *out (db_catalog gives the picture after the change before; older ones
 * stay valid until the end). It is alone in the gate from beginning to end, reads the latest, and
 * cannot be parked. All of it is in force, and durable, when ddl_commit returns 0; else nothing is.
 * Instead of txn_commit, txn_rollback and txn_rollback_to come these. `given` (may be NULL): whose
 * it is. Outside of one each change is such a transaction of its own.
 */
int ddl_begin(struct db_worker *worker, const struct txn_options *given, struct txn **out);
bool ddl_active(const struct db_worker *worker);
int ddl_commit(struct db_worker *worker);
void ddl_rollback(struct db_worker *worker);
void ddl_rollback_to(struct db_worker *worker, struct txn_savepoint savepoint);

/* options: {id, engine, owner, if_not_exists, format = [{name, type, ..} | [name, type] ..],
 * field_count, constraint, foreign_key, view, temporary, is_local, and those of its engine that
 * db/body_options.h tells}. *id is the space's. */
int ddl_space_create(struct db_worker *worker, const char *name, size_t name_size,
                     const char *options, uint32_t *id);
int ddl_space_drop(struct db_worker *worker, uint32_t id);
int ddl_space_format(struct db_worker *worker, uint32_t id, const char *format);

/* options: {name, format, field_count, constraint, foreign_key, run_triggers, and those of its engine}:
 * what is given takes the place of what was. Rows must fit. */
int ddl_space_alter(struct db_worker *worker, uint32_t id, const char *options);
int ddl_space_truncate(struct db_worker *worker, uint32_t id);

/*
 * Changes that look at rows: of a space that has many, and not within a schema transaction, they do so
 * while others write, in slices. The functions with _begin return after the first gate with what is
 * left of the change in *job, or NULL: it has been made. ddl_job_step goes on for about a millisecond:
 * ERROR_WAIT, there is more to do; 0, it is made; else it has failed and nothing of it is left; the
 * job has then ended. Between two steps the worker is free for anything. ddl_job_cancel ends it early.
 * Neither within a transaction. The functions without _begin go all the way.
 */
struct ddl_job;
int ddl_space_format_begin(struct db_worker *worker, uint32_t id, const char *format,
                           struct ddl_job **job);
int ddl_space_alter_begin(struct db_worker *worker, uint32_t id, const char *options,
                          struct ddl_job **job);
int ddl_index_create_begin(struct db_worker *worker, uint32_t space_id, const char *name,
                           size_t name_size, const char *options, uint32_t *id,
                           struct ddl_job **job);

/* Verification of a space and its indexes, in the same slices (ddl_verify.c); it changes nothing, and
 * the space may be changed meanwhile. The job's end is ERROR_CORRUPT when something is wrong, naming
 * space, index and row: the first that was found. For who may read and alter the space. */
int ddl_verify_begin(struct db_worker *worker, uint32_t id, struct ddl_job **job);

/* ddl_job_waits: others work for it, and whoever steps may as well come back after some milliseconds. _tells: true at
 * most every quarter of a second, and how far it is, for people: `name` and `doing` are a sentence, and live as
 * long as the job. */
struct ddl_progress {
    const char *name, *doing;
    uint64_t rows, total; /* done, of about so many */
};
int ddl_job_step(struct ddl_job *job);
bool ddl_job_tells(struct ddl_job *job, struct ddl_progress *out);
bool ddl_job_waits(const struct ddl_job *job);
void ddl_job_cancel(struct ddl_job *job);

/* options: {type = 'tree', unique, if_not_exists, parts = [field | [field, type] | {field, type,
 * is_nullable} ..]}, fields by number from 1 or by name. The first index of a space is its primary
 * key. */
int ddl_index_create(struct db_worker *worker, uint32_t space_id, const char *name,
                     size_t name_size, const char *options, uint32_t *id);

/* Makes an index again of the rows, whatever has become of it. Readers have the old one until the new one takes its
 * place at once; an error leaves it. ERROR_UNSUPPORTED for a primary index, which has the rows; ERROR_DUPLICATE
 * when two rows have one key of a unique index, naming one of them. */
int ddl_index_rebuild_begin(struct db_worker *worker, uint32_t space_id, uint32_t index_id,
                            struct ddl_job **job);
int ddl_index_rebuild(struct db_worker *worker, uint32_t space_id, uint32_t index_id);
int ddl_index_rename(struct db_worker *worker, uint32_t space_id, uint32_t index_id,
                     const char *name, size_t name_size);
int ddl_index_drop(struct db_worker *worker, uint32_t space_id, uint32_t index_id);

/* options: {body or module, if_not_exists, replace, isolation, readonly, transaction, setuid, args,
 * returns, timeout_ms, memory, rows_max, comment, is_deterministic, language}. What is replaced stays
 * as a former version; to restore one makes a new version of it. */
int ddl_func_create(struct db_worker *worker, const char *name, size_t name_size,
                    const char *options);
int ddl_func_drop(struct db_worker *worker, const char *name, size_t name_size);
int ddl_func_rename(struct db_worker *worker, const char *name, size_t name_size, const char *to,
                    size_t to_size);
/* Puts the former versions that are kept, an array of [version, owner, body, options], the newest last,
 * into `out`, which it empties first. */
int ddl_func_former(struct db_worker *worker, const char *name, size_t name_size,
                    struct mp_buffer *out);
int ddl_func_restore(struct db_worker *worker, const char *name, size_t name_size,
                     uint32_t version);

/*
 * Rows of the system spaces that catalog_kind_of knows, and of _module_file and _migration: a
 * checked MessagePack array. `fresh`: ERROR_EXISTS when the key, or the name among rows of its
 * kind, is taken; with nil as the first field the row gets the next free number, from `id_min` on,
 * and *id (may be NULL) is set. Else it takes the place of the row with its key, and *id is its
 * first field. What the fields mean is not looked at but for their number and types.
 */
int ddl_record_put(struct db_worker *worker, uint32_t space_id, const char *tuple, bool fresh,
                   uint32_t id_min, uint32_t *id);
int ddl_record_delete(struct db_worker *worker, uint32_t space_id, const char *key);

/* A condition on tuples of the space, as those of partial indexes are given: {field, operator,
 * value}, or a list of them; checked MessagePack. *out lives in the arena. ERROR_INVALID or
 * ERROR_MEMORY, with diagnostics. Changes nothing. */
int ddl_condition_read(struct arena *arena, const struct space *space, const char *data,
                       struct condition *out);

#endif
