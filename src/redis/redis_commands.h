/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_COMMANDS_H
#define REDIS_REDIS_COMMANDS_H

/*
 * The functions that redis_table.c names, by the file that has them. Shared among the files of this
 * folder only.
 */
#include "redis/redis.h"

struct redis_value;

/* redis_string.c */
int redis__get(struct redis_call *call);
int redis__set(struct redis_call *call);
int redis__setnx(struct redis_call *call);
int redis__setex(struct redis_call *call);
int redis__psetex(struct redis_call *call);
int redis__getset(struct redis_call *call);
int redis__getdel(struct redis_call *call);
int redis__getex(struct redis_call *call);
int redis__append(struct redis_call *call);
int redis__strlen(struct redis_call *call);
int redis__getrange(struct redis_call *call);
int redis__incr(struct redis_call *call);
int redis__decr(struct redis_call *call);
int redis__incrby(struct redis_call *call);
int redis__decrby(struct redis_call *call);
int redis__mget(struct redis_call *call);
int redis__mset(struct redis_call *call);
int redis__msetnx(struct redis_call *call);
int redis__setrange(struct redis_call *call);
int redis__incrbyfloat(struct redis_call *call);

/* redis_lcs.c */
int redis__lcs(struct redis_call *call);

/* redis_bit.c */
int redis__setbit(struct redis_call *call);
int redis__getbit(struct redis_call *call);
int redis__bitcount(struct redis_call *call);
int redis__bitpos(struct redis_call *call);
int redis__bitop(struct redis_call *call);

/* redis_bitfield.c */
int redis__bitfield(struct redis_call *call);
int redis__bitfield_ro(struct redis_call *call);

/* redis_hll.c */
int redis__pfadd(struct redis_call *call);
int redis__pfcount(struct redis_call *call);
int redis__pfmerge(struct redis_call *call);
int redis__pfdebug(struct redis_call *call);
int redis__pfselftest(struct redis_call *call);

/* redis_key.c */
int redis__del(struct redis_call *call);
int redis__exists(struct redis_call *call);
int redis__type(struct redis_call *call);
int redis__expire(struct redis_call *call);
int redis__pexpire(struct redis_call *call);
int redis__expireat(struct redis_call *call);
int redis__pexpireat(struct redis_call *call);
int redis__ttl(struct redis_call *call);
int redis__pttl(struct redis_call *call);
int redis__expiretime(struct redis_call *call);
int redis__pexpiretime(struct redis_call *call);
int redis__persist(struct redis_call *call);

/* redis_move.c */
int redis__rename(struct redis_call *call);
int redis__renamenx(struct redis_call *call);
int redis__move(struct redis_call *call);
int redis__swapdb(struct redis_call *call);
int redis__copy(struct redis_call *call);

/* redis_object.c */
int redis__object(struct redis_call *call);
/* OBJECT ENCODING's word; NULL: an error, which is in the diagnostics. */
const char *redis__object_encoding(struct redis_call *call, const struct redis_value *value);
int redis__touch(struct redis_call *call);
int redis__randomkey(struct redis_call *call);

/* redis_restore.c */
int redis__dump(struct redis_call *call);
/* What DUMP makes of a key, to `out`; *value is what it holds: REDIS_TYPE_NONE when there is nothing. */
int redis__dump_of(struct redis_call *call, const struct redis_slice *name, struct mp_buffer *out,
                   struct redis_value *value);
/* How many bytes DUMP makes of argv[n]; 0: it is not there. */
int redis__dump_size(struct redis_call *call, unsigned n, size_t *size);
int redis__restore(struct redis_call *call);

/* redis_migrate.c */
int redis__migrate(struct redis_call *call);

/* redis_sort.c */
int redis__sort(struct redis_call *call);
int redis__sort_ro(struct redis_call *call);

/* redis_hash.c, redis_hash_expire.c */
int redis__hdel(struct redis_call *call);
int redis__hexists(struct redis_call *call);
int redis__hexpire(struct redis_call *call);
int redis__hexpireat(struct redis_call *call);
int redis__hexpiretime(struct redis_call *call);
int redis__hget(struct redis_call *call);
int redis__hgetall(struct redis_call *call);
int redis__hincrby(struct redis_call *call);
int redis__hincrbyfloat(struct redis_call *call);
int redis__hkeys(struct redis_call *call);
int redis__hlen(struct redis_call *call);
int redis__hmget(struct redis_call *call);
int redis__hmset(struct redis_call *call);
int redis__hpersist(struct redis_call *call);
int redis__hpexpire(struct redis_call *call);
int redis__hpexpireat(struct redis_call *call);
int redis__hpexpiretime(struct redis_call *call);
int redis__hpttl(struct redis_call *call);
int redis__hrandfield(struct redis_call *call);
int redis__hscan(struct redis_call *call);
int redis__hset(struct redis_call *call);
int redis__hsetnx(struct redis_call *call);
int redis__hstrlen(struct redis_call *call);
int redis__httl(struct redis_call *call);
int redis__hvals(struct redis_call *call);

/* redis_set.c, redis_set_algebra.c */
int redis__sadd(struct redis_call *call);
int redis__scard(struct redis_call *call);
int redis__sdiff(struct redis_call *call);
int redis__sdiffstore(struct redis_call *call);
int redis__sinter(struct redis_call *call);
int redis__sintercard(struct redis_call *call);
int redis__sinterstore(struct redis_call *call);
int redis__sismember(struct redis_call *call);
int redis__smembers(struct redis_call *call);
int redis__smismember(struct redis_call *call);
int redis__smove(struct redis_call *call);
int redis__spop(struct redis_call *call);
int redis__srandmember(struct redis_call *call);
int redis__srem(struct redis_call *call);
int redis__sscan(struct redis_call *call);
int redis__sunion(struct redis_call *call);
int redis__sunionstore(struct redis_call *call);
/* The word of OBJECT ENCODING. */
const char *redis__set_encoding(const struct redis_value *value);
/* redis_stream_entry.c */
int redis__xadd(struct redis_call *call);
int redis__xtrim(struct redis_call *call);
int redis__xlen(struct redis_call *call);
int redis__xrange(struct redis_call *call);
int redis__xrevrange(struct redis_call *call);
int redis__xdel(struct redis_call *call);
int redis__xsetid(struct redis_call *call);

/* redis_stream_read.c */
int redis__xread(struct redis_call *call);
int redis__xreadgroup(struct redis_call *call);

/* redis_stream_group.c */
int redis__xgroup(struct redis_call *call);
int redis__xack(struct redis_call *call);
int redis__xpending(struct redis_call *call);
int redis__xclaim(struct redis_call *call);
int redis__xautoclaim(struct redis_call *call);

/* redis_stream_info.c */
int redis__xinfo(struct redis_call *call);

/* redis_subcommand.c: a command whose first argument names another (REDIS_CONTAINER). _run: the one of
 * them that is named, which is there and has as many arguments as it takes. _unknown: what Redis says
 * of arguments that do not fit. */
struct redis_subcommand {
    const char *name; /* lower case; NULL behind the last */
    int (*run)(struct redis_call *call);
};
int redis__subcommand_run(struct redis_call *call, const struct redis_subcommand *subcommands);
int redis__subcommand_unknown(struct redis_call *call, const char *command);
int redis__help_reply(struct redis_call *call, const char *const *lines, size_t count);

/* redis_zset_add.c, redis_zset_read.c, redis_zset_pop.c, redis_zset_merge.c */
int redis__bzmpop(struct redis_call *call);
int redis__bzpopmax(struct redis_call *call);
int redis__bzpopmin(struct redis_call *call);
int redis__zadd(struct redis_call *call);
int redis__zcard(struct redis_call *call);
int redis__zcount(struct redis_call *call);
int redis__zdiff(struct redis_call *call);
int redis__zdiffstore(struct redis_call *call);
int redis__zincrby(struct redis_call *call);
int redis__zinter(struct redis_call *call);
int redis__zintercard(struct redis_call *call);
int redis__zinterstore(struct redis_call *call);
int redis__zlexcount(struct redis_call *call);
int redis__zmpop(struct redis_call *call);
int redis__zmscore(struct redis_call *call);
int redis__zpopmax(struct redis_call *call);
int redis__zpopmin(struct redis_call *call);
int redis__zrandmember(struct redis_call *call);
int redis__zrange(struct redis_call *call);
int redis__zrangebylex(struct redis_call *call);
int redis__zrangebyscore(struct redis_call *call);
int redis__zrangestore(struct redis_call *call);
int redis__zrank(struct redis_call *call);
int redis__zrem(struct redis_call *call);
int redis__zremrangebylex(struct redis_call *call);
int redis__zremrangebyrank(struct redis_call *call);
int redis__zremrangebyscore(struct redis_call *call);
int redis__zrevrange(struct redis_call *call);
int redis__zrevrangebylex(struct redis_call *call);
int redis__zrevrangebyscore(struct redis_call *call);
int redis__zrevrank(struct redis_call *call);
int redis__zscan(struct redis_call *call);
int redis__zscore(struct redis_call *call);
int redis__zunion(struct redis_call *call);
int redis__zunionstore(struct redis_call *call);

/* redis_geo.c, redis_geo_search.c */
int redis__geoadd(struct redis_call *call);
int redis__geodist(struct redis_call *call);
int redis__geohash(struct redis_call *call);
int redis__geopos(struct redis_call *call);
int redis__georadius(struct redis_call *call);
int redis__georadius_ro(struct redis_call *call);
int redis__georadiusbymember(struct redis_call *call);
int redis__georadiusbymember_ro(struct redis_call *call);
int redis__geosearch(struct redis_call *call);
int redis__geosearchstore(struct redis_call *call);

/* redis_publish.c */
int redis__publish(struct redis_call *call);
int redis__spublish(struct redis_call *call);

/* redis_keyspace.c */
int redis__keys(struct redis_call *call);
int redis__scan(struct redis_call *call);
int redis__dbsize(struct redis_call *call);
int redis__flushall(struct redis_call *call);
int redis__flushdb(struct redis_call *call);

/* redis_list_command.c */
int redis__lpush(struct redis_call *call);
int redis__rpush(struct redis_call *call);
int redis__lpushx(struct redis_call *call);
int redis__rpushx(struct redis_call *call);
int redis__lpop(struct redis_call *call);
int redis__rpop(struct redis_call *call);
int redis__llen(struct redis_call *call);
int redis__lindex(struct redis_call *call);
int redis__lrange(struct redis_call *call);
int redis__lpos(struct redis_call *call);
int redis__lset(struct redis_call *call);
int redis__linsert(struct redis_call *call);
int redis__lrem(struct redis_call *call);
int redis__ltrim(struct redis_call *call);

/* redis_list_move.c */
int redis__blpop(struct redis_call *call);
int redis__brpop(struct redis_call *call);
int redis__lmpop(struct redis_call *call);
int redis__blmpop(struct redis_call *call);
int redis__lmove(struct redis_call *call);
int redis__rpoplpush(struct redis_call *call);
int redis__blmove(struct redis_call *call);
int redis__brpoplpush(struct redis_call *call);

#endif
