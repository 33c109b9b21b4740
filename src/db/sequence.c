/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sequences.
 *
 * Numbers are reserved ahead, `cache` of them at a time: the row of _sequence_data says up to where
 * numbers may have been given, and is committed before the first of them is. So whoever has got a
 * number has got it after that commit, and whatever rests on it (a commit of his own, a reply) comes
 * after it in the log, of which a crash takes a suffix only: he waits for nothing but the timestamp of
 * the reservation, which his reply waits for anyhow. After a crash a sequence goes on behind what was
 * reserved; when the database is closed in order, what was not given is given back.
 *
 *      _sequence_data  [id, last, incarnation, started]
 *
 * The reservation is a transaction of its own, on a worker of its own (txn_worker_set_apart), since
 * the thread that wants a number has mostly a transaction going on, which may even own the gate. It
 * does not pass the gate: it could wait there for the owner, and the owner for the transaction that
 * wants the number. Nobody else writes these rows, and all of this happens under one mutex.
 *
 * A sequence that was dropped and one that got its id later are told apart by their incarnation, a
 * random number in the definition: data of another incarnation counts as none.
 */
#include "db/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "db/db_private.h"

enum { SEQUENCE_BUCKETS = 64, CACHE_DEFAULT = 128 };

/* How far a sequence is. */
struct sequence {
    struct sequence *next; /* of the same bucket */
    uint32_t id;
    uint64_t incarnation;
    bool started;
    int64_t last;     /* given last */
    int64_t high;     /* up to where they are reserved, when some are */
    uint64_t left;    /* numbers behind it that are reserved */
    int64_t step;     /* by which they are apart */
    uint64_t seen_ts; /* of the last reservation */
};

struct sequences {
    pthread_mutex_t mutex;
    struct txn_worker *worker;
    struct head *head;
    struct sequence *buckets[SEQUENCE_BUCKETS];
};

/* ------------------------------------------------------------------------------- definitions */

static bool is(const char *name, uint32_t size, const char *text)
{
    return strlen(text) == size && memcmp(name, text, size) == 0;
}

struct options {
    bool min, max, start;
};

static bool option_read(struct sequence_def *def, struct options *given, const char *name,
                        uint32_t size, const char *value)
{
    if (is(name, size, "start"))
        return (given->start = mp_read_int(&value, &def->start));
    if (is(name, size, "min"))
        return (given->min = mp_read_int(&value, &def->min));
    if (is(name, size, "max"))
        return (given->max = mp_read_int(&value, &def->max));
    if (is(name, size, "step"))
        return mp_read_int(&value, &def->step);
    if (is(name, size, "cache"))
        return mp_read_uint(&value, &def->cache);
    if (is(name, size, "incarnation"))
        return mp_read_uint(&value, &def->incarnation);
    if (is(name, size, "cycle") && mp_typeof(*value) != MP_BOOL)
        return false;
    if (is(name, size, "cycle"))
        def->cycle = mp_decode_bool(&value);
    return true;
}

static int options_read(const char *data, struct sequence_def *def)
{
    struct options given = {false, false, false};
    def->step = 1;
    def->min = INT64_MIN;
    def->max = INT64_MAX;
    if (mp_typeof(*data) != MP_MAP)
        return diag_set(ERROR_INVALID, "options of a sequence are a map");
    for (uint32_t n = mp_decode_map(&data); n > 0; n--) {
        uint32_t size = 0;
        const char *name = "";
        if (mp_typeof(*data) == MP_STR)
            name = mp_decode_str(&data, &size);
        else
            mp_next(&data);
        if (mp_typeof(*data) != MP_NIL && !option_read(def, &given, name, size, data))
            return diag_set(ERROR_INVALID, "option \"%.*s\" of a sequence is of another type",
                            (int)size, name);
        mp_next(&data);
    }
    if (!given.min && def->step > 0)
        def->min = 1;
    if (!given.max && def->step < 0)
        def->max = -1;
    if (!given.start)
        def->start = def->step > 0 ? def->min : def->max;
    if (def->cache == 0)
        def->cache = CACHE_DEFAULT;
    return 0;
}

int sequence_read(const char *tuple, struct sequence_def *out)
{
    uint64_t id = 0;
    const char *data = mp_array_at(tuple, 0), *name = mp_array_at(tuple, 2),
               *options = mp_array_at(tuple, 3);
    *out = (struct sequence_def){.cycle = false};
    if (options == NULL || !mp_read_uint(&data, &id) || id > UINT32_MAX ||
        mp_typeof(*name) != MP_STR)
        return diag_set(ERROR_INVALID, "a row of \"_sequence\" is not as expected");
    out->id = (uint32_t)id;
    out->name = mp_decode_str(&name, &out->name_size);
    int rc = options_read(options, out);
    if (rc == 0 && out->step == 0)
        rc = diag_set(ERROR_INVALID, "the step of a sequence is not 0");
    if (rc == 0 && (out->min >= out->max || out->start < out->min || out->start > out->max))
        rc = diag_set(ERROR_INVALID, "of a sequence min is below max, and start between them");
    return rc;
}

int sequence_find(const struct catalog *catalog, uint32_t id, struct sequence_def *out)
{
    uint32_t low = 0, high = catalog_record_count(catalog, CATALOG_SEQUENCE);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const char *tuple = catalog_record_at(catalog, CATALOG_SEQUENCE, middle)->tuple;
        const char *field = mp_array_at(tuple, 0);
        uint64_t found = field == NULL ? 0 : mp_decode_uint(&field);
        if (found == id)
            return sequence_read(tuple, out);
        if (found < id)
            low = middle + 1;
        else
            high = middle;
    }
    return diag_set(ERROR_NOT_FOUND, "there is no sequence with id %u", id);
}

/* ------------------------------------------------------------------------- reading and writing */

int db__sequences_open(struct db *db)
{
    struct sequences *sequences = calloc(1, sizeof *sequences);
    if (sequences == NULL)
        return diag_set(ERROR_MEMORY, "no memory for sequences");
    int rc = txn_worker_open(db->txn, &sequences->worker);
    if (rc != 0) {
        free(sequences);
        return rc;
    }
    txn_worker_set_apart(sequences->worker);
    pthread_mutex_init(&sequences->mutex, NULL);
    sequences->head = &db__store_find(db, SPACE_ID_SEQUENCE_DATA, 0)->head;
    db->sequences = sequences;
    return 0;
}

struct row_args {
    struct sequences *sequences;
    struct sequence *sequence;
    bool read, remove; /* else it is written */
    int64_t last;
    bool started;
};

static void row_read(struct sequence *sequence, const char *tuple)
{
    const char *value = mp_array_at(tuple, 1), *incarnation = mp_array_at(tuple, 2),
               *started = mp_array_at(tuple, 3);
    uint64_t number;
    if (started == NULL || mp_typeof(*started) != MP_BOOL || !mp_read_uint(&incarnation, &number) ||
        number != sequence->incarnation)
        return;
    sequence->started = mp_read_int(&value, &sequence->last) && mp_decode_bool(&started);
}

static int row_run(struct txn *txn, void *arg)
{
    struct row_args *args = arg;
    struct sequence *sequence = args->sequence;
    unsigned char key[16];
    size_t key_size = (size_t)(key_encode_uint(key, sequence->id) - key);
    const struct version *version;
    if (args->read) {
        int rc = txn_get(txn, args->sequences->head, key, key_size, &version);
        if (rc == 0 && version != NULL)
            row_read(sequence, version->bytes);
        return rc;
    }
    if (args->remove)
        return txn_delete(txn, args->sequences->head, key, key_size);
    char tuple[40], *end = mp_encode_array(tuple, 4);
    end = mp_encode_uint(end, sequence->id);
    end = args->last >= 0 ? mp_encode_uint(end, (uint64_t)args->last)
                          : mp_encode_int(end, args->last);
    end = mp_encode_uint(end, sequence->incarnation);
    end = mp_encode_bool(end, args->started);
    return txn_put(txn, args->sequences->head, key, key_size, tuple, (uint32_t)(end - tuple), NULL,
                   NULL);
}

/* Under the mutex. */
static int row_do(struct row_args *args)
{
    struct txn_options options = {.level = TXN_SNAPSHOT};
    int rc = txn_run(args->sequences->worker, &options, row_run, args);
    if (rc == 0 && !args->read)
        args->sequence->seen_ts = txn_worker_seen_ts(args->sequences->worker);
    return rc;
}

/* The last number that counts as given becomes `last`. */
static int row_write(struct sequences *sequences, struct sequence *sequence, int64_t last,
                     bool started)
{
    struct row_args args = {
        .sequences = sequences, .sequence = sequence, .last = last, .started = started};
    return row_do(&args);
}

/* The state of a sequence: made, and read from its row, when it is asked for first. */
static int sequence_take(struct sequences *sequences, const struct sequence_def *def,
                         struct sequence **out)
{
    struct sequence **link = &sequences->buckets[def->id % SEQUENCE_BUCKETS];
    while (*link != NULL && (*link)->id != def->id)
        link = &(*link)->next;
    struct sequence *sequence = *link;
    if (sequence != NULL && sequence->incarnation == def->incarnation) {
        *out = sequence;
        return 0;
    }
    struct sequence fresh = {.id = def->id, .incarnation = def->incarnation};
    struct row_args args = {.sequences = sequences, .sequence = &fresh, .read = true};
    int rc = row_do(&args);
    if (rc != 0)
        return rc;
    if (sequence == NULL && (sequence = calloc(1, sizeof *sequence)) == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a sequence");
    fresh.next = *link == NULL ? NULL : sequence->next;
    *sequence = fresh;
    *link = sequence;
    *out = sequence;
    return 0;
}

void db__sequences_close(struct db *db)
{
    struct sequences *sequences = db->sequences;
    if (sequences == NULL)
        return;
    for (unsigned i = 0; i < SEQUENCE_BUCKETS; i++)
        for (struct sequence *sequence = sequences->buckets[i], *next; sequence != NULL;
             sequence = next) {
            next = sequence->next;
            if (sequence->left > 0) /* gives them back; if that fails they are missing */
                row_write(sequences, sequence, sequence->last, true);
            free(sequence);
        }
    txn_worker_close(sequences->worker);
    pthread_mutex_destroy(&sequences->mutex);
    free(sequences);
    db->sequences = NULL;
}

/* --------------------------------------------------------------------------------- operations */

/* The number behind `last`, false when there is none. */
static bool follows(const struct sequence_def *def, int64_t last, int64_t *out)
{
    return !__builtin_add_overflow(last, def->step, out) && *out >= def->min && *out <= def->max;
}

/* How many numbers from `first` on, at most `cache`, the sequence has; *last is the last of them. */
static uint64_t reservable(const struct sequence_def *def, int64_t first, int64_t *last)
{
    uint64_t room =
        def->step > 0 ? (uint64_t)def->max - (uint64_t)first : (uint64_t)first - (uint64_t)def->min;
    uint64_t step = def->step > 0 ? (uint64_t)def->step : 0 - (uint64_t)def->step;
    uint64_t count = room / step;
    count = count < def->cache - 1 ? count : def->cache - 1;
    *last = (int64_t)((uint64_t)first + count * (uint64_t)def->step);
    return count + 1;
}

static int advance(struct sequences *sequences, const struct sequence_def *def,
                   struct sequence *sequence)
{
    int64_t number = def->start, last;
    if (sequence->started && !follows(def, sequence->last, &number)) {
        if (!def->cycle)
            return diag_set(ERROR_INVALID, "sequence \"%.*s\" has come to its end",
                            (int)def->name_size, def->name);
        number = def->step > 0 ? def->min : def->max;
        sequence->left = 0;
    }
    if (sequence->left == 0 || sequence->step != def->step) {
        uint64_t count = reservable(def, number, &last);
        int rc = MUTATION(SEQUENCE_UNRESERVED) ? 0 : row_write(sequences, sequence, last, true);
        if (rc != 0)
            return rc;
        sequence->left = count;
        sequence->high = last;
        sequence->step = def->step;
    }
    sequence->left--;
    sequence->last = number;
    sequence->started = true;
    return 0;
}

static uint64_t distance(int64_t from, int64_t to)
{
    return from < to ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
}

/* A number that somebody has chosen: those up to it are not given any more. */
static int pass(struct sequences *sequences, const struct sequence_def *def,
                struct sequence *sequence, int64_t number)
{
    bool up = def->step > 0;
    uint64_t step = up ? (uint64_t)def->step : 0 - (uint64_t)def->step;
    if (number < def->min || number > def->max ||
        (sequence->started && (up ? number <= sequence->last : number >= sequence->last)))
        return 0;
    bool reserved = sequence->left > 0 && sequence->step == def->step &&
                    (up ? number <= sequence->high : number >= sequence->high);
    if (!reserved) {
        int64_t high;
        reservable(def, number, &high);
        int rc = row_write(sequences, sequence, high, true);
        if (rc != 0)
            return rc;
        sequence->high = high;
        sequence->step = def->step;
    }
    sequence->left = distance(number, sequence->high) / step;
    sequence->last = number;
    sequence->started = true;
    return 0;
}

enum operation {
    OPERATION_NEXT,
    OPERATION_CURRENT,
    OPERATION_SET,
    OPERATION_RESET,
    OPERATION_PASS
};

static int operate(struct sequences *sequences, const struct sequence_def *def,
                   struct sequence *sequence, enum operation operation, int64_t *number)
{
    int rc;
    switch (operation) {
    case OPERATION_NEXT:
        rc = advance(sequences, def, sequence);
        *number = sequence->last;
        return rc;
    case OPERATION_CURRENT:
        *number = sequence->last;
        return sequence->started ? 0
                                 : diag_set(ERROR_INVALID, "sequence \"%.*s\" is not started",
                                            (int)def->name_size, def->name);
    case OPERATION_PASS:
        return pass(sequences, def, sequence, *number);
    default:
        if (operation == OPERATION_SET && (*number < def->min || *number > def->max))
            return diag_set(ERROR_INVALID, "%lld is not within the bounds of sequence \"%.*s\"",
                            (long long)*number, (int)def->name_size, def->name);
        rc = row_write(sequences, sequence, *number, operation == OPERATION_SET);
        if (rc != 0)
            return rc;
        sequence->left = 0;
        sequence->last = *number;
        sequence->started = operation == OPERATION_SET;
        return 0;
    }
}

static int locked(struct db *db, const struct sequence_def *def, enum operation operation,
                  int64_t *number, uint64_t *ts)
{
    struct sequences *sequences = db->sequences;
    struct sequence *sequence = NULL;
    pthread_mutex_lock(&sequences->mutex);
    int rc = sequence_take(sequences, def, &sequence);
    if (rc == 0)
        rc = operate(sequences, def, sequence, operation, number);
    if (rc == 0 && ts != NULL)
        *ts = sequence->seen_ts;
    pthread_mutex_unlock(&sequences->mutex);
    return rc;
}

int sequence_next(struct db *db, const struct sequence_def *def, int64_t *out, uint64_t *ts)
{
    return locked(db, def, OPERATION_NEXT, out, ts);
}

int sequence_current(struct db *db, const struct sequence_def *def, int64_t *out)
{
    return locked(db, def, OPERATION_CURRENT, out, NULL);
}

int sequence_set(struct db *db, const struct sequence_def *def, int64_t last, uint64_t *ts)
{
    return locked(db, def, OPERATION_SET, &last, ts);
}

int sequence_reset(struct db *db, const struct sequence_def *def, uint64_t *ts)
{
    int64_t number = def->start;
    return locked(db, def, OPERATION_RESET, &number, ts);
}

int sequence_forget(struct db *db, uint32_t id)
{
    struct sequences *sequences = db->sequences;
    struct sequence gone = {.id = id};
    struct row_args args = {.sequences = sequences, .sequence = &gone, .remove = true};
    pthread_mutex_lock(&sequences->mutex);
    struct sequence **link = &sequences->buckets[id % SEQUENCE_BUCKETS];
    while (*link != NULL && (*link)->id != id)
        link = &(*link)->next;
    struct sequence *sequence = *link;
    if (sequence != NULL) {
        *link = sequence->next;
        free(sequence);
    }
    int rc = row_do(&args);
    pthread_mutex_unlock(&sequences->mutex);
    return rc;
}

/* ------------------------------------------------------------------------------------ spaces */

int db__sequence_fill(struct txn *txn, const struct space *space, struct tuple_ref *tuple)
{
    const char *data = tuple->data, *end = tuple->data + tuple->size;
    if (mp_typeof(*data) != MP_ARRAY)
        return 0; /* the check says so */
    uint32_t count = mp_decode_array(&data), field = space->sequence_field;
    if (field > count)
        return 0;
    const char *from = data;
    for (uint32_t i = 0; i < field; i++)
        mp_next(&from);
    const char *rest = from;
    struct store *store = space->head->arg;
    int64_t number;
    uint64_t ts;
    if (field < count && mp_typeof(*from) != MP_NIL)
        return mp_read_int(&rest, &number)
                   ? locked(store->db, space->sequence, OPERATION_PASS, &number, NULL)
                   : 0;
    if (field < count)
        mp_next(&rest);
    int rc = sequence_next(store->db, space->sequence, &number, &ts);
    if (rc != 0)
        return rc;
    txn_see(txn, ts);
    char *filled = arena_alloc(txn_arena(txn), (size_t)tuple->size + 16);
    if (filled == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a tuple");
    char *p = mp_encode_array(filled, field < count ? count : count + 1);
    memcpy(p, data, (size_t)(from - data));
    p += from - data;
    p = number >= 0 ? mp_encode_uint(p, (uint64_t)number) : mp_encode_int(p, number);
    memcpy(p, rest, (size_t)(end - rest));
    *tuple = (struct tuple_ref){filled, (uint32_t)(p + (end - rest) - filled)};
    return 0;
}
