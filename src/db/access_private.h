/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_ACCESS_PRIVATE_H
#define DB_ACCESS_PRIVATE_H

/* What access.c, which makes the picture, and access_ddl.c, which changes what it is made of, share:
 * the picture itself. */
#include "db/access.h"
#include "db/db_private.h"

/* What a user can do, worked out. Of two entries one is for an object, one for all of a type. */
struct access_effective {
    uint16_t of_type[ACCESS_OBJECTS]; /* [ACCESS_UNIVERSE]: on everything */
    uint32_t count;
    struct access_grant *grants; /* on single objects, in order of type and id, each once */
};

struct access {
    uint64_t version; /* of the catalog that it was made from */
    struct arena arena;
    bool written; /* the rows of the four are there */
    bool counted; /* the admin's row has `last_id` among its flags: */
    uint32_t last_id;
    uint32_t count;
    struct access_user *users;           /* in order of id */
    struct access_effective **effective; /* of each, NULL until it is asked for */
};

/* Of a catalog that the caller holds. */
int access__make(const struct catalog *catalog, struct access **out);
void access__delete(struct access *access);

#endif
