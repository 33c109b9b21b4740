/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Gets of many keys. Keys are encoded some at a time, and what they will want is asked for before the first of these is got
 * (txn_gets_ahead):
 *
 *      keys ──► key, key, .. ──► txn_gets_ahead ──► get, get, ..
 *               └ ready ──┘      (what rows need from files, by the primary index)
 */
#include "db/space_gets.h"
#include "db/space_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

int space_gets_open(struct space_gets *gets, struct txn *txn, struct index *index, const char *keys)
{
    int rc = db__array_check(keys, "the list of keys");
    gets->count = 0;
    gets->txn = txn;
    gets->index = index;
    gets->rest_number = 1;
    gets->ready = gets->next = gets->fetched = 0;
    gets->ahead = (struct txn_gets){.begun = false};
    if (rc != 0)
        return rc;
    gets->count = mp_decode_array(&keys);
    gets->rest = keys;
    return 0;
}

/* The array that a key is, or whose only part it is; in the transaction's arena then. */
static int key_array(struct space_gets *gets, const char *key, const char *end, const char **out)
{
    size_t size = (size_t)(end - key);
    *out = key;
    if (mp_typeof(*key) == MP_ARRAY)
        return 0;
    if (mp_typeof(*key) == MP_MAP)
        return diag_set(ERROR_INVALID, "it is a map, not an array of parts, or the only part");
    char *copy = arena_alloc(txn_arena(gets->txn), size + 1);
    if (copy == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    copy[0] = (char)0x91;
    memcpy(copy + 1, key, size);
    *out = copy;
    return 0;
}

static int key_take(struct space_gets *gets)
{
    const char *key = gets->rest, *array;
    struct key_bytes bytes;
    mp_next(&gets->rest);
    int rc = key_array(gets, key, gets->rest, &array);
    if (rc == 0)
        rc = db__unique_key(gets->txn, gets->index, array, &bytes);
    if (rc != 0)
        return diag_add("key %u of %u", gets->rest_number, gets->count);
    gets->rest_number++;
    gets->keys[gets->ready++] = (struct engine_key){bytes.data, bytes.size};
    return 0;
}

/* The next batch; a key that is wrong fails before any of them is got. */
static int batch_take(struct space_gets *gets)
{
    uint32_t left = gets->count - (gets->rest_number - 1);
    gets->ready = gets->next = gets->fetched = 0;
    while (gets->ready < SPACE_GETS_BATCH && gets->ready < left) {
        int rc = key_take(gets);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int space_gets_next(struct space_gets *gets, struct tuple_ref *out)
{
    struct index *index = gets->index;
    int rc = gets->next == gets->ready ? batch_take(gets) : 0;
    *out = (struct tuple_ref){NULL, 0};
    if (rc != 0)
        return rc;
    if (gets->next == gets->fetched)
        gets->fetched +=
            index->id != 0 ? gets->ready
                           : txn_gets_ahead(gets->txn, index->space->head, gets->keys + gets->next,
                                            gets->ready - gets->next, &gets->ahead);
    const struct engine_key *key = &gets->keys[gets->next++];
    return db__get_key(gets->txn, index, key->data, key->size, out);
}
