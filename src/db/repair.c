/* SPDX-License-Identifier: Apache-2.0 */

/*
 *      runs, block by block ──► rows ───────┐
 *                                           ├─► a database without files, opened on an empty log
 *      log, block by block ──► transactions ┘     ──► checkpoint
 *
 * Rows and transactions are handed over as records of a log, in any order: the newest timestamp of a
 * key counts (invariant 3). Nothing is passed over for being in a run already, so what a damaged
 * block has lost comes back from the log where that still has it.
 *
 * Everything is read twice: first to find what is lost, the largest timestamp, and the definitions of
 * spaces and indexes; then, while the database opens, for the rows. Definitions that rest on lost
 * ones would keep it from opening: an index whose space, or whose space's primary index, is not
 * there.
 *
 * If the manifest is lost all runs are taken that are there. A merge may have replaced some of them
 * and left out what was deleted; so deleted rows may be back, and rows be there that were being ingested.
 */
#include "db/repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "codec/mp.h"
#include "db/catalog.h"
#include "db/checkpoint.h"
#include "db/db_private.h"
#include "io/io_readonly.h"
#include "storage/btree/btree_salvage.h"
#include "storage/manifest.h"
#include "storage/memory/memory.h"
#include "storage/run/run_salvage.h"
#include "wal/wal_tools.h"

enum { VARINT_BYTES = 10, VARINTS = 4 };

/* A version of a row of _space or _index: which space it is about, and which index. */
struct definition {
    uint32_t space_id, index_id;
    bool index;
    uint64_t ts;
    bool exists;
    bool leaves; /* the rows of this space leave the head */
    uint32_t incarnation;
};

/* How many versions of rows there are of a space. */
struct tally {
    uint32_t space_id, incarnation;
    uint64_t rows;
};

struct repairing {
    const struct repair_options *options;
    struct repair_report *report;
    struct io *io; /* read only */
    struct manifest manifest;
    char (*runs)[ENGINE_FILE_NAME_MAX + 1];
    size_t run_count, run_capacity;
    uint64_t first_segment;
    uint64_t clock;

    struct definition *definitions; /* first of all versions, then sorted and the newest of each */
    size_t definition_count, definition_capacity;
    struct tally *tallies;
    size_t tally_count, tally_capacity;

    const char *file; /* that is being read */
    const struct run_info *info;
    bool leaves;         /* this run is of a body that has entries of indexes as well */
    uint64_t gaps, rows; /* of this run */
    uint64_t entries;
    uint64_t *told; /* places that were told */
    size_t told_count, told_capacity;
    bool telling; /* the first time */

    wal_replay_fn each;
    void *each_arg;
    unsigned char *record; /* memory for one */
    size_t record_bytes;
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to repair a database");
}

static int grow(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return 0;
    size_t wanted = 2 * *capacity + 64;
    void *grown = realloc(*items, wanted * size);
    if (grown == NULL)
        return no_memory();
    *items = grown;
    *capacity = wanted;
    return 0;
}

/* Each is told once, though everything is read twice: the second time a disk may fail elsewhere. */
static bool told_before(struct repairing *repairing, const char *file, uint64_t offset)
{
    uint64_t place = (uint64_t)crc32c(0, file, strlen(file)) << 32 ^ offset;
    for (size_t i = 0; i < repairing->told_count; i++)
        if (repairing->told[i] == place)
            return true;
    if (grow((void **)&repairing->told, repairing->told_count, &repairing->told_capacity,
             sizeof *repairing->told) == 0)
        repairing->told[repairing->told_count++] = place;
    return false;
}

static void tell(struct repairing *repairing, const struct repair_loss *loss)
{
    if (told_before(repairing, loss->file, loss->offset))
        return;
    repairing->report->losses++;
    if (repairing->options->lost != NULL)
        repairing->options->lost(loss, repairing->options->arg);
}

static void progress(struct repairing *repairing, const char *what, size_t done)
{
    const struct db_progress *to = &repairing->options->progress;
    if (to->tell != NULL)
        to->tell(to->arg, what, done, repairing->run_count + 1);
}

/* ------------------------------------------------------------------------------------ definitions
 */

static bool engine_leaves(const char *name, size_t size)
{
    const struct engine_vtab *engine = engine_find(name, size);
    return engine != NULL && !(engine->flags & ENGINE_RESIDENT);
}

/* The first two numbers of a row of _space or _index, and for _space the engine and the incarnation;
 * false when it is not as expected. */
static bool definition_read(const char *data, size_t size, bool index, struct definition *out)
{
    const char *end = data;
    uint64_t first, second;
    if (size == 0 || mp_typeof(*data) != MP_ARRAY || !mp_check_limited(&end, data + size) ||
        end != data + size || mp_decode_array(&data) < 6 || !mp_read_uint(&data, &first) ||
        !mp_read_uint(&data, &second))
        return false;
    out->space_id = (uint32_t)first;
    out->index_id = index ? (uint32_t)second : 0;
    if (index)
        return true;
    mp_next(&data);
    if (mp_typeof(*data) != MP_STR)
        return false;
    uint32_t engine_size;
    const char *engine = mp_decode_str(&data, &engine_size);
    out->leaves = engine_leaves(engine, engine_size);
    mp_next(&data);
    if (mp_typeof(*data) != MP_MAP)
        return false;
    for (uint32_t count = mp_decode_map(&data); count > 0; count--) {
        uint32_t name_size = 0;
        const char *name =
            mp_typeof(*data) == MP_STR ? mp_decode_str(&data, &name_size) : (mp_next(&data), "");
        uint64_t value;
        const char *at = data;
        if (name_size == 11 && memcmp(name, "incarnation", 11) == 0 && mp_read_uint(&at, &value))
            out->incarnation = (uint32_t)value;
        mp_next(&data);
    }
    return true;
}

/* A tombstone says by its key alone what it is about. */
static bool definition_of_key(const unsigned char *key, size_t size, bool index,
                              struct definition *out)
{
    char parts[512], *to = parts;
    const unsigned char *end = key + size;
    uint64_t first, second = 0;
    if (size > 20 || key_part_decode(&key, end, &to) != 0 ||
        (index && key_part_decode(&key, end, &to) != 0))
        return false;
    const char *at = parts;
    if (!mp_read_uint(&at, &first) || (index && !mp_read_uint(&at, &second)))
        return false;
    out->space_id = (uint32_t)first;
    out->index_id = (uint32_t)second;
    return true;
}

static int definition_add(struct repairing *repairing, uint64_t ts, const struct txn_redo *row)
{
    struct definition found = {
        .index = row->head_id == SPACE_ID_INDEX, .ts = ts, .exists = row->data != NULL};
    bool known = row->data != NULL
                     ? definition_read(row->data, row->size, found.index, &found)
                     : definition_of_key(row->key, row->key_size, found.index, &found);
    if (!known)
        return 0;
    int rc = grow((void **)&repairing->definitions, repairing->definition_count,
                  &repairing->definition_capacity, sizeof *repairing->definitions);
    if (rc == 0)
        repairing->definitions[repairing->definition_count++] = found;
    return rc;
}

static int tally_add(struct repairing *repairing, const struct txn_redo *row)
{
    for (size_t i = repairing->tally_count; i-- > 0;) {
        struct tally *tally = &repairing->tallies[i];
        if (tally->space_id == row->head_id && tally->incarnation == row->head_incarnation) {
            tally->rows++;
            return 0;
        }
    }
    int rc = grow((void **)&repairing->tallies, repairing->tally_count, &repairing->tally_capacity,
                  sizeof *repairing->tallies);
    if (rc == 0)
        repairing->tallies[repairing->tally_count++] =
            (struct tally){row->head_id, row->head_incarnation, 1};
    return rc;
}

/* The same definition behind one another, the newest first. */
static int by_definition(const void *a, const void *b)
{
    const struct definition *x = a, *y = b;
    if (x->index != y->index)
        return x->index ? 1 : -1;
    if (x->space_id != y->space_id)
        return x->space_id < y->space_id ? -1 : 1;
    if (x->index_id != y->index_id)
        return x->index_id < y->index_id ? -1 : 1;
    return x->ts > y->ts ? -1 : x->ts < y->ts;
}

static const struct definition *definition_find(const struct repairing *repairing, bool index,
                                                uint32_t space_id, uint32_t index_id)
{
    for (size_t i = 0; i < repairing->definition_count; i++) {
        const struct definition *one = &repairing->definitions[i];
        if (one->index == index && one->space_id == space_id && one->index_id == index_id)
            return one->exists ? one : NULL;
    }
    return NULL;
}

/* An index needs its space, and the primary one besides. */
static bool index_is_defined(const struct repairing *repairing, uint32_t space_id)
{
    return definition_find(repairing, false, space_id, 0) != NULL &&
           definition_find(repairing, true, space_id, 0) != NULL;
}

static void definitions_settle(struct repairing *repairing)
{
    size_t kept = 0;
    struct definition *all = repairing->definitions;
    if (repairing->definition_count > 0)
        qsort(all, repairing->definition_count, sizeof *all, by_definition);
    for (size_t i = 0; i < repairing->definition_count; i++) {
        const struct definition *last = kept == 0 ? NULL : &all[kept - 1];
        if (last == NULL || last->index != all[i].index || last->space_id != all[i].space_id ||
            last->index_id != all[i].index_id)
            all[kept++] = all[i];
    }
    repairing->definition_count = kept;
    for (size_t i = 0; i < kept; i++)
        if (all[i].index && all[i].exists && !index_is_defined(repairing, all[i].space_id))
            repairing->report->indexes_dropped++;
    for (size_t i = 0; i < repairing->tally_count; i++) {
        const struct tally *tally = &repairing->tallies[i];
        const struct definition *space = definition_find(repairing, false, tally->space_id, 0);
        if (tally->space_id >= SPACE_ID_USER_MIN &&
            (space == NULL || space->incarnation != tally->incarnation ||
             definition_find(repairing, true, tally->space_id, 0) == NULL))
            repairing->report->rows_undefined += tally->rows;
    }
}

/* -------------------------------------------------------------------------------------- records
 */

/* Looks at, or hands over, one row. */
static int row_take(struct repairing *repairing, uint64_t ts, const struct txn_redo *row)
{
    if (repairing->each != NULL)
        return 0;
    repairing->report->ts = ts > repairing->report->ts ? ts : repairing->report->ts;
    int rc = tally_add(repairing, row);
    if (rc == 0 && (row->head_id == SPACE_ID_SPACE || row->head_id == SPACE_ID_INDEX))
        rc = definition_add(repairing, ts, row);
    return rc;
}

static unsigned char *varint_put(unsigned char *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (unsigned char)(value | 0x80);
    *out++ = (unsigned char)value;
    return out;
}

/* Whether a row is one of _index whose space is not there. */
static bool row_is_dropped(const struct repairing *repairing, const struct txn_redo *row)
{
    struct definition found = {.index = true};
    return row->head_id == SPACE_ID_INDEX && row->data != NULL &&
           (!definition_read(row->data, row->size, true, &found) ||
            !index_is_defined(repairing, found.space_id));
}

/* Hands a row over as a record of its own. */
static int row_hand(struct repairing *repairing, uint64_t ts, const struct txn_redo *row)
{
    size_t room = VARINTS * VARINT_BYTES + row->key_size + row->size;
    if (row_is_dropped(repairing, row))
        return 0;
    if (room > repairing->record_bytes) {
        free(repairing->record);
        repairing->record_bytes = 0;
        repairing->record = malloc(2 * room);
        if (repairing->record == NULL)
            return no_memory();
        repairing->record_bytes = 2 * room;
    }
    unsigned char *to = varint_put(repairing->record, row->head_id);
    to = varint_put(to, row->head_incarnation);
    to = varint_put(to, row->key_size);
    to = varint_put(to, row->data == NULL ? 0 : (uint64_t)row->size + 1);
    memcpy(to, row->key, row->key_size);
    to += row->key_size;
    if (row->data != NULL) {
        memcpy(to, row->data, row->size);
        to += row->size;
    }
    return repairing->each(ts, repairing->record, (size_t)(to - repairing->record),
                           repairing->each_arg);
}

static int row_use(struct repairing *repairing, uint64_t ts, const struct txn_redo *row)
{
    return repairing->each == NULL ? row_take(repairing, ts, row) : row_hand(repairing, ts, row);
}

/* ------------------------------------------------------------------------------------------- runs
 */

/*
 * The keys of a body whose rows leave the head are behind the number of their index, 0 for rows. Where
 * a gap has an entry at one end, that is the end of the rows.
 */
static void bound_strip(const struct repairing *repairing, const unsigned char **key, size_t *size)
{
    if (!repairing->leaves || *key == NULL || *size == 0)
        return;
    bool row = **key == 0;
    *key = row ? *key + 1 : NULL;
    *size = row ? *size - 1 : 0;
}

static void on_gap(const struct run_gap *gap, void *arg)
{
    struct repairing *repairing = arg;
    struct repair_loss loss = {.file = repairing->file,
                               .offset = gap->offset,
                               .bytes = gap->bytes,
                               .check = gap->check,
                               .run = true,
                               .space_id = repairing->info->space_id,
                               .incarnation = repairing->info->incarnation,
                               .after = gap->after,
                               .before = gap->before,
                               .after_size = gap->after_size,
                               .before_size = gap->before_size,
                               .rows = repairing->info->rows == UINT64_MAX ? UINT64_MAX : 0};
    repairing->gaps++;
    bound_strip(repairing, &loss.after, &loss.after_size);
    bound_strip(repairing, &loss.before, &loss.before_size);
    tell(repairing, &loss);
}

/* A run of which nothing can be used. */
static int run_lose(struct repairing *repairing, const struct manifest_tree *tree,
                    const struct engine_file *file, const char *check)
{
    struct repair_loss loss = {.file = repairing->file,
                               .check = check,
                               .run = true,
                               .rows = file == NULL ? UINT64_MAX : file->rows,
                               .bytes = file == NULL ? 0 : file->bytes};
    if (tree != NULL) {
        loss.space_id = tree->space_id;
        loss.incarnation = tree->incarnation;
    }
    tell(repairing, &loss);
    return 0;
}

static void run_count_check(struct repairing *repairing)
{
    const struct run_info *info = repairing->info;
    if (repairing->gaps == 0 || info->rows == UINT64_MAX || info->rows <= repairing->rows)
        return;
    struct repair_loss loss = {.file = repairing->file,
                               .offset = info->file_bytes,
                               .check = "rows of all gaps of this file together",
                               .run = true,
                               .space_id = info->space_id,
                               .incarnation = info->incarnation,
                               .rows = info->rows - repairing->rows};
    if (repairing->telling && repairing->options->lost != NULL)
        repairing->options->lost(&loss, repairing->options->arg);
}

static const struct manifest_tree *tree_of(const struct repairing *repairing, const char *name,
                                           const struct engine_file **file)
{
    const struct manifest *manifest = &repairing->manifest;
    *file = NULL;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            if (strcmp(manifest->trees[i].files[n].name, name) == 0) {
                *file = &manifest->trees[i].files[n];
                return &manifest->trees[i];
            }
    return NULL;
}

/* Whether rows lie behind the number of their index. Without a manifest the definition of the space
 * tells, which is known the second time. */
static bool rows_leave(const struct repairing *repairing, const struct manifest_tree *tree,
                       uint32_t space_id)
{
    if (tree != NULL)
        return engine_leaves(tree->engine, strlen(tree->engine));
    const struct definition *space = definition_find(repairing, false, space_id, 0);
    return space != NULL && space->leaves;
}

/* Indexes are made anew of the rows. */
static int body_row_use(struct repairing *repairing, uint32_t space_id, uint32_t incarnation,
                        const struct engine_row *row)
{
    bool behind = repairing->leaves && row->key_size > 0;
    const struct txn_redo redo = {.head_id = space_id,
                                  .head_incarnation = incarnation,
                                  .key = row->key + behind,
                                  .key_size = row->key_size - behind,
                                  .data = row->data,
                                  .size = row->size};
    repairing->rows++;
    if (!behind || row->key[0] == 0)
        return row_use(repairing, row->ts, &redo);
    repairing->entries++;
    return 0;
}

static int salvaged_row(const struct engine_row *row, void *arg)
{
    struct repairing *repairing = arg;
    return body_row_use(repairing, repairing->info->space_id, repairing->info->incarnation, row);
}

/* A file whose rows lie in pages that are written again. */
static int pages_read(struct repairing *repairing, const struct manifest_tree *tree,
                      const struct engine_file *file)
{
    struct btree_salvage_info info;
    struct btree_salvage_calls calls = {salvaged_row, on_gap, repairing};
    int rc = btree_salvage_look(repairing->io, repairing->file, file, &info);
    if (rc == ERROR_NOT_FOUND || rc == ERROR_IO || rc == ERROR_INVALID)
        return run_lose(repairing, tree, file,
                        rc == ERROR_NOT_FOUND ? "the file is missing" : "the file cannot be read");
    if (rc != 0)
        return rc;
    const struct run_info said = {.space_id = info.space_id,
                                  .incarnation = info.incarnation,
                                  .rows = file != NULL ? file->rows : info.rows,
                                  .file_bytes = info.bytes};
    repairing->info = &said;
    repairing->leaves = true;
    if (info.timestamp > repairing->clock)
        repairing->clock = info.timestamp;
    rc = btree_salvage(repairing->io, repairing->file, file, &calls);
    if (rc == ERROR_CORRUPT)
        return run_lose(repairing, tree, file, "nothing of the file can be read");
    if (repairing->telling)
        repairing->report->run_rows += repairing->rows - repairing->entries;
    if (rc == 0)
        run_count_check(repairing);
    repairing->info = NULL;
    return rc;
}

static bool changes_files(const char *name)
{
    size_t length = strlen(name);
    return length > 6 && length <= ENGINE_FILE_NAME_MAX && strcmp(name + length - 6, ".btree") == 0;
}

static int run_read(struct repairing *repairing, const char *name)
{
    const struct engine_file *file;
    const struct manifest_tree *tree = tree_of(repairing, name, &file);
    struct run_salvage *salvage;
    struct engine_row row;
    repairing->file = name;
    repairing->gaps = repairing->rows = repairing->entries = 0;
    if (changes_files(name))
        return pages_read(repairing, tree, file);
    int rc = run_salvage_open(repairing->io, name, on_gap, repairing, &salvage);
    if (rc == ERROR_CORRUPT || rc == ERROR_NOT_FOUND || rc == ERROR_IO)
        return run_lose(repairing, tree, file,
                        rc == ERROR_NOT_FOUND ? "the file is missing" : "header of the run");
    if (rc != 0)
        return rc;
    const struct run_info *info = repairing->info = run_salvage_info(salvage);
    repairing->leaves = rows_leave(repairing, tree, info->space_id);
    if (!memory_run_has_name(info, name)) {
        run_salvage_close(salvage);
        return run_lose(repairing, tree, file, "it is another run than its name says");
    }
    if (info->up_to_ts != UINT64_MAX && info->up_to_ts > repairing->clock)
        repairing->clock = info->up_to_ts;
    while (rc == 0 && (rc = run_salvage_next(salvage, &row)) == 0)
        rc = body_row_use(repairing, info->space_id, info->incarnation, &row);
    if (repairing->telling)
        repairing->report->run_rows += repairing->rows - repairing->entries;
    run_count_check(repairing);
    run_salvage_close(salvage);
    return rc == ERROR_END ? 0 : rc;
}

static int run_note(struct repairing *repairing, const char *name)
{
    int rc = grow((void **)&repairing->runs, repairing->run_count, &repairing->run_capacity,
                  sizeof *repairing->runs);
    if (rc == 0)
        snprintf(repairing->runs[repairing->run_count++], sizeof *repairing->runs, "%s", name);
    return rc;
}

static int run_find(const char *name, uint64_t size, void *arg)
{
    size_t length = strlen(name);
    (void)size;
    if ((length <= 4 || length > ENGINE_FILE_NAME_MAX || strcmp(name + length - 4, ".run") != 0) &&
        !changes_files(name))
        return 0;
    return run_note(arg, name);
}

static int runs_of_manifest(struct repairing *repairing)
{
    const struct manifest *manifest = &repairing->manifest;
    int rc = 0;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; rc == 0 && n < manifest->trees[i].file_count; n++)
            rc = run_note(repairing, manifest->trees[i].files[n].name);
    return rc;
}

/* Which runs there are, and where the log begins. */
static int manifest_read(struct repairing *repairing)
{
    int rc = manifest_load(repairing->io, &repairing->manifest);
    repairing->clock = repairing->manifest.clock;
    if (rc == 0) {
        repairing->first_segment = repairing->manifest.first_segment;
        return runs_of_manifest(repairing);
    }
    if (rc != ERROR_CORRUPT && rc != ERROR_NOT_FOUND && rc != ERROR_IO)
        return rc;
    bool missing = rc == ERROR_NOT_FOUND;
    repairing->first_segment = WAL_FIRST_FOUND;
    rc = io_list(repairing->io, run_find, repairing);
    if (rc != 0 || (missing && repairing->run_count == 0))
        return rc; /* no checkpoint was ever made */
    repairing->report->manifest_lost = true;
    struct repair_loss loss = {.file = MANIFEST_NAME,
                               .check =
                                   missing ? "the file is missing" : "the manifest is damaged"};
    repairing->telling = true;
    tell(repairing, &loss);
    return 0;
}

/* ---------------------------------------------------------------------------------------- the log
 */

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct repairing *repairing = arg;
    const char *data = body, *end = data + size;
    struct txn_redo redo;
    int rc;
    while ((rc = txn_redo_next(&data, end, &redo)) == 0)
        if ((rc = row_use(repairing, ts, &redo)) != 0)
            return rc;
    return rc == ERROR_END ? 0 : rc;
}

static void on_lost(const struct wal_loss *lost, void *arg)
{
    char name[WAL_FILE_NAME_BYTES];
    wal_file_name(lost->segment, name);
    const struct repair_loss loss = {.file = name,
                                     .offset = lost->offset,
                                     .check = lost->check,
                                     .blocks = lost->blocks,
                                     .after_ts = lost->after_ts,
                                     .through_ts = lost->through_ts};
    tell(arg, &loss);
}

static int log_read(struct repairing *repairing)
{
    const struct wal_salvage_options options = {.io = repairing->io,
                                                .first_segment = repairing->first_segment,
                                                .past_gaps = repairing->options->past_gaps,
                                                .each = on_record,
                                                .lost = on_lost,
                                                .arg = repairing};
    struct wal_salvage_stats stats;
    int rc = wal_salvage(&options, &stats);
    struct repair_report *report = repairing->report;
    report->records = stats.records;
    report->blocks_left = stats.blocks_left;
    report->records_left = stats.records_left;
    report->left_after_ts = stats.left_after_ts;
    report->left_through_ts = stats.left_through_ts;
    repairing->clock = stats.clock > repairing->clock ? stats.clock : repairing->clock;
    return rc;
}

static int all_read(struct repairing *repairing, const char *doing)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < repairing->run_count; i++) {
        progress(repairing, doing, i);
        rc = run_read(repairing, repairing->runs[i]);
    }
    if (rc == 0)
        rc = log_read(repairing);
    progress(repairing, doing, repairing->run_count + 1);
    return rc;
}

/* ------------------------------------------------------------------------------- the new database
 */

static int on_open(wal_replay_fn each, void *each_arg, void *arg)
{
    struct repairing *repairing = arg;
    repairing->each = each;
    repairing->each_arg = each_arg;
    return all_read(repairing, "save");
}

static void spaces_count(struct db *db, struct repair_report *report)
{
    const struct catalog *catalog = db->catalog;
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++) {
        const struct space *space = catalog_space_at(catalog, i);
        if (!space->system || space_id_is_redis(space->id))
            report->rows +=
                txn_head_rows(space->head); /* it has all of them until the checkpoint */
        report->spaces += !space->system;
    }
}

static int target_make(struct repairing *repairing)
{
    const struct db_source source = {.replay = on_open, .arg = repairing};
    const struct db_options options = {.io = repairing->options->target,
                                       .clock = repairing->options->clock,
                                       .durability = WAL_DURABILITY_COMMIT,
                                       .worker_max = 1,
                                       .expressions = repairing->options->expressions,
                                       .source = &source};
    struct db_open_stats stats;
    struct db *db;
    int rc = wal_log_create(options.io, 1, repairing->clock);
    if (rc == 0)
        rc = db_open(&options, &stats, &db);
    if (rc != 0)
        return rc;
    spaces_count(db, repairing->report);
    rc = db_checkpoint(db);
    if (rc != 0) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        (void)db_close(db);
        return diag_set(rc, "%s", message);
    }
    wal_release_wait(db_wal(db)); /* so that nothing is left over */
    return db_close(db);
}

static int any_file(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size, (void)arg;
    return ERROR_EXISTS;
}

static int repair(struct repairing *repairing)
{
    int rc = io_list(repairing->options->target, any_file, NULL);
    if (rc == ERROR_EXISTS)
        return diag_set(rc, "the folder to repair into must be empty: nothing is overwritten");
    if (rc == 0)
        rc = manifest_read(repairing);
    repairing->telling = true;
    if (rc == 0)
        rc = all_read(repairing, "read");
    if (rc != 0)
        return rc;
    repairing->telling = false;
    definitions_settle(repairing);
    return target_make(repairing);
}

int db_repair(const struct repair_options *options, struct repair_report *report)
{
    struct repairing repairing = {.options = options, .report = report};
    struct io *dirs[] = {options->io};
    memset(report, 0, sizeof *report);
    manifest_create(&repairing.manifest);
    int rc = io_readonly_new(dirs, 1, NULL, NULL, &repairing.io);
    if (rc != 0)
        return rc;
    rc = repair(&repairing);
    manifest_destroy(&repairing.manifest);
    free(repairing.runs);
    free(repairing.told);
    free(repairing.definitions);
    free(repairing.tallies);
    free(repairing.record);
    io_delete(repairing.io);
    return rc;
}
