# SPDX-License-Identifier: Apache-2.0
"""The commands of each type, as templates (generate.py says how they are written). `3*`: thrice as often."""

# Read at the end of a sequence, for each key.
PROBES = {
    'string': ('GET <k>', 'PTTL <k>', 'OBJECT ENCODING <k>'),
    'bit': ('GET <k>', 'TYPE <k>'),
    'hash': ('HGETALL <k>', 'PTTL <k>', 'OBJECT ENCODING <k>'),
    'list': ('LRANGE <k> 0 -1', 'PTTL <k>', 'OBJECT ENCODING <k>'),
    'set': ('SMEMBERS <k>', 'PTTL <k>', 'OBJECT ENCODING <k>'),
    'zset': ('ZRANGE <k> 0 -1 WITHSCORES', 'PTTL <k>', 'OBJECT ENCODING <k>'),
    'stream': ('XRANGE <k> - +', 'XLEN <k>', 'XINFO STREAM <k> FULL'),
    'hll': ('PFCOUNT <k>', 'GET <k>'),
    'geo': ('ZRANGE <k> 0 -1 WITHSCORES',),
    'keys': ('TYPE <k>', 'PTTL <k>', 'OBJECT ENCODING <k>', 'GET <k>'),
    'multi': ('GET <k>', 'TYPE <k>'),
    'script': ('TYPE <k>', 'GET <k>'),
}

TYPES = {}

TYPES['string'] = '''
3* GET <k>
5* SET <k> <v>
2* SET <k> <v> [NX|XX] [GET] [EX|PX <ttl>]
SET <k> <v> [EXAT|PXAT <at>] [KEEPTTL] [XX|NX] [GET]
SETNX <k> <v>
SETEX|PSETEX <k> <ttl> <v>
GETSET <k> <v>
GETDEL <k>
GETEX <k> [EX|PX <ttl>] [PERSIST]
GETEX <k> [EXAT|PXAT <at>]
2* APPEND <k> <v>
STRLEN <k>
2* GETRANGE|SUBSTR <k> <i> <i>
2* SETRANGE <k> <off> <v>
INCR|DECR <k>
2* INCRBY|DECRBY <k> <int>
2* INCRBYFLOAT <k> <float>
MGET {<k>}
MSET {<k> <v>}
MSETNX {<k> <v>}
2* LCS <k> <k> [LEN] [IDX] [MINMATCHLEN <n>] [WITHMATCHLEN]
DEL {<k>}
TYPE <k>
PTTL <k>
EXPIRE <k> <ttl>
OBJECT ENCODING <k>
'''

TYPES['bit'] = '''
3* SET <k> <v>
4* SETBIT <k> <off> <bit>
3* GETBIT <k> <off>
3* BITCOUNT <k> [<i> <i> [BYTE|BIT]]
3* BITPOS <k> <bit> [<i> [<i> [BYTE|BIT]]]
2* BITOP AND|OR|XOR|NOT|and|FOO <k> {<k>}
BITOP NOT <k> <k>
3* BITFIELD <k> {(GET <bt> <boff>|SET <bt> <boff> <int>|INCRBY <bt> <boff> <int>|OVERFLOW WRAP|SAT|FAIL|FOO)}
BITFIELD_RO <k> {GET <bt> <boff>}
BITFIELD_RO <k> {(GET <bt> <boff>|SET <bt> <boff> <int>)}
APPEND <k> <v>
SETRANGE <k> <off> <v>
STRLEN <k>
GET <k>
DEL <k>
'''

TYPES['hash'] = '''
6* HSET <k> {<f> <v>}
HMSET <k> {<f> <v>}
HSETNX <k> <f> <v>
2* HGET <k> <f>
HMGET <k> {<f>}
2* HGETALL <k>
HKEYS|HVALS <k>
HLEN <k>
HEXISTS <k> <f>
HSTRLEN <k> <f>
2* HDEL <k> {<f>}
2* HINCRBY <k> <f> <int>
2* HINCRBYFLOAT <k> <f> <float>
HRANDFIELD <k>
HRANDFIELD <k> <draw> [WITHVALUES]
HSCAN <k> 0 [MATCH <p>] [COUNT <n>]
HSCAN <k> <draw> [FOO]
OBJECT ENCODING <k>
TYPE <k>
EXPIRE <k> <ttl>
DEL <k>
'''

TYPES['list'] = '''
4* LPUSH|RPUSH <k> {<v>}
LPUSHX|RPUSHX <k> {<v>}
2* LPOP|RPOP <k> [<n>]
3* LRANGE <k> <i> <i>
LLEN <k>
2* LINDEX <k> <i>
2* LSET <k> <i> <v>
2* LINSERT <k> BEFORE|AFTER|FOO <v> <v>
2* LREM <k> <i> <v>
LTRIM <k> <i> <i>
2* LPOS <k> <v> [RANK <i>] [COUNT <n>] [MAXLEN <n>]
RPOPLPUSH <k> <k>
2* LMOVE <k> <k> LEFT|RIGHT|FOO LEFT|RIGHT
LMPOP <n2> <k> <k> LEFT|RIGHT|FOO [COUNT <n>]
LMPOP <n1> <k> LEFT|RIGHT [COUNT <n>]
BLPOP|BRPOP k0 k1 wrong 0.01
(BLMOVE <k> <k> (LEFT|RIGHT) (LEFT|RIGHT) 0.01|BRPOPLPUSH <k> <k> 0.01|BLMPOP 0.01 <n2> <k> <k> (LEFT|RIGHT) [COUNT <n>])
SORT <k> [BY nosort] [LIMIT <i> <n>] [ASC|DESC] [ALPHA]
OBJECT ENCODING <k>
TYPE <k>
EXPIRE <k> <ttl>
DEL <k>
'''

TYPES['set'] = '''
6* SADD <k> {<f>}
2* SREM <k> {<f>}
SCARD <k>
SISMEMBER <k> <f>
SMISMEMBER <k> {<f>}
2* SMEMBERS <k>
SMOVE <k> <k> <f>
SPOP <k> [<n>]
SRANDMEMBER <k> [<draw>]
2* SINTER|SUNION|SDIFF {<k>}
2* SINTERSTORE|SUNIONSTORE|SDIFFSTORE <k> {<k>}
SINTERCARD <n2> <k> <k> [LIMIT <n>]
SINTERCARD <n1> <k> [LIMIT <n>]
SSCAN <k> 0 [MATCH <p>] [COUNT <n>]
SORT <k> ALPHA [LIMIT <i> <n>] [DESC]
SORT <k> [DESC]
OBJECT ENCODING <k>
TYPE <k>
EXPIRE <k> <ttl>
DEL <k>
'''

TYPES['zset'] = '''
6* ZADD <k> {<s> <f>}
3* ZADD same {0 <f>}
2* ZADD <k> [NX|XX] [GT|LT] [CH] {<s> <f>}
ZADD <k> [NX|XX] [GT|LT] [CH] INCR <s> <f>
ZINCRBY <k> <s> <f>
2* ZREM <k> {<f>}
ZCARD <k>
ZSCORE <k> <f>
ZMSCORE <k> {<f>}
ZRANK|ZREVRANK <k> <f>
ZCOUNT <k> <end> <end>
ZLEXCOUNT same <lex> <lex>
3* ZRANGE <k> <i> <i> [REV] [WITHSCORES]
2* ZRANGE <k> <end> <end> BYSCORE [REV] [LIMIT <i> <n>] [WITHSCORES]
2* ZRANGE same <lex> <lex> BYLEX [REV] [LIMIT <i> <n>] [WITHSCORES]
ZREVRANGE <k> <i> <i> [WITHSCORES]
ZRANGEBYSCORE|ZREVRANGEBYSCORE <k> <end> <end> [WITHSCORES] [LIMIT <i> <n>]
ZRANGEBYLEX|ZREVRANGEBYLEX same <lex> <lex> [LIMIT <i> <n>]
ZRANGESTORE <k> <k> <i> <i> [REV]
ZRANGESTORE <k> <k> <end> <end> BYSCORE [REV] [LIMIT <i> <n>]
ZRANGESTORE <k> same <lex> <lex> BYLEX [REV] [LIMIT <i> <n>]
ZREMRANGEBYRANK <k> <i> <i>
ZREMRANGEBYSCORE <k> <end> <end>
ZREMRANGEBYLEX same <lex> <lex>
ZPOPMIN|ZPOPMAX <k> [<n>]
BZPOPMIN|BZPOPMAX k0 k1 wrong 0.01
ZMPOP <n2> <k> <k> MIN|MAX|FOO [COUNT <n>]
BZMPOP 0.01 <n1> <k> MIN|MAX [COUNT <n>]
2* ZUNION|ZINTER <n2> <k> <k> [WEIGHTS <w> <w>] [AGGREGATE SUM|MIN|MAX|FOO] [WITHSCORES]
ZDIFF <n2> <k> <k> [WITHSCORES]
2* ZUNIONSTORE|ZINTERSTORE <k> <n2> <k> <k> [WEIGHTS <w> <w>] [AGGREGATE SUM|MIN|MAX|FOO]
ZDIFFSTORE <k> <n2> <k> <k>
ZINTERCARD <n2> <k> <k> [LIMIT <n>]
ZRANDMEMBER <k> [<draw> [WITHSCORES]]
ZSCAN <k> 0 [MATCH <p>] [COUNT <n>]
SORT <k> ALPHA [LIMIT <i> <n>] [DESC]
OBJECT ENCODING <k>
TYPE <k>
EXPIRE <k> <ttl>
DEL <k>
'''

TYPES['stream'] = '''
8* XADD <k> <id> {<f> <v>}
XADD <k> [NOMKSTREAM] [MAXLEN|MINID [=] <n>] <id> {<f> <v>}
XLEN <k>
2* XRANGE <k> <se> <se> [COUNT <n>]
XREVRANGE <k> <se> <se> [COUNT <n>]
XDEL <k> {<id>}
2* XTRIM <k> MAXLEN|MINID [=] <n>
XREAD [COUNT <n>] STREAMS <k> <id>
XREAD [COUNT <n>] STREAMS <k> <k> <id> <id>
2* XGROUP CREATE <k> <g> <id> [MKSTREAM] [ENTRIESREAD <read>]
XGROUP SETID <k> <g> <id> [ENTRIESREAD <read>]
XGROUP DESTROY <k> <g>
XGROUP CREATECONSUMER|DELCONSUMER <k> <g> <c>
4* XREADGROUP GROUP <g> <c> [COUNT <n>] [NOACK] STREAMS <k> <gid>
2* XACK <k> <g> {<id>}
XPENDING <k> <g>
2* XPENDING <k> <g> [IDLE 0] <se> <se> <n> [<c>]
2* XCLAIM <k> <g> <c> 0 {<id>} [IDLE 0] [RETRYCOUNT <n>] [FORCE] [JUSTID] [LASTID <id>]
XAUTOCLAIM <k> <g> <c> 0 <id> [COUNT <n>] [JUSTID]
XSETID <k> 9-<n> [ENTRIESADDED <n>] [MAXDELETEDID <id>]
XINFO STREAM <k> [FULL [COUNT <n>]]
XINFO GROUPS <k>
XINFO CONSUMERS <k> <g>
TYPE <k>
DEL <k>
'''

TYPES['hll'] = '''
6* PFADD <k> {<f>}
PFADD <k>
2* PFADD <k> {<v>}
3* PFCOUNT {<k>}
2* PFMERGE <k> {<k>}
PFMERGE <k>
SET <k> <v>
GET <k>
STRLEN <k>
PFDEBUG ENCODING <k>
PFDEBUG TODENSE <k>
DEL <k>
'''

TYPES['geo'] = '''
5* GEOADD <k> {<lon> <lat> <place>}
GEOADD <k> [NX|XX] [CH] {<lon> <lat> <place>}
2* GEOPOS <k> {<place>}
2* GEODIST <k> <place> <place> [<unit>]
GEOHASH <k> {<place>}
2* GEORADIUS <k> <lon> <lat> <radius> <unit> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT <n>] [ASC|DESC]
GEORADIUSBYMEMBER <k> <place> <radius> <unit> [WITHCOORD] [WITHDIST] [WITHHASH] [ASC|DESC]
GEORADIUS_RO <k> <lon> <lat> <radius> <unit> [WITHDIST] [ASC|DESC]
GEORADIUS <k> <lon> <lat> <radius> <unit> STORE|STOREDIST <k>
2* GEOSEARCH <k> FROMMEMBER <place> BYRADIUS <radius> <unit> [ASC|DESC] [WITHCOORD] [WITHDIST] [WITHHASH]
2* GEOSEARCH <k> FROMLONLAT <lon> <lat> BYBOX <radius> <radius> <unit> ASC|DESC [COUNT <n>] [WITHDIST]
GEOSEARCHSTORE <k> <k> FROMMEMBER <place> BYRADIUS <radius> <unit> [ASC|DESC] [STOREDIST]
GEOSEARCHSTORE <k> <k> FROMLONLAT <lon> <lat> BYBOX <radius> <radius> <unit> [STOREDIST]
ZREM <k> <place>
ZCARD <k>
DEL <k>
'''

TYPES['keys'] = '''
3* SET <k> <v>
2* RPUSH <k> {<int>}
2* SADD <k> {<f>}
2* HSET <k> {<f> <v>}
2* ZADD <k> {<s> <f>}
DEL|UNLINK {<k>}
EXISTS|TOUCH {<k>}
2* TYPE <k>
4* EXPIRE|PEXPIRE <k> <ttl> [NX|XX|GT|LT|FOO] [GT|LT]
2* EXPIREAT|PEXPIREAT <k> <at> [NX|XX|GT|LT]
TTL|PTTL <k>
EXPIRETIME|PEXPIRETIME <k>
PERSIST <k>
2* RENAME|RENAMENX <k> <k>
3* COPY <k> <k> [REPLACE] [DB <db>]
OBJECT ENCODING <k>
OBJECT REFCOUNT nokey
OBJECT FOO <k>
KEYS <p>
SCAN 0 [MATCH <p>] [COUNT <n>] [TYPE string|list|set|zset|hash|stream|foo]
SCAN <draw> [FOO]
RANDOMKEY
DBSIZE
2* DUMP <k>
2* RESTORE <k> 0|100000|-1|abc @dump [REPLACE] [ABSTTL] [IDLETIME <n>] [FREQ <n>]
RESTORE <k> <ttl> <v>
3* SORT|SORT_RO <k> [BY nosort] [LIMIT <i> <n>] [GET #] [ASC|DESC] [ALPHA]
SORT|SORT_RO <k> [BY w_*] [GET k*] [GET #] [DESC] [ALPHA]
SORT <k> [ALPHA] STORE <k>
MSET w_1 3 w_2 1 w_a 5 w_b -1 w_10 x
MOVE <k> <db>
FLUSHDB|FLUSHALL [ASYNC|SYNC|FOO]
'''

TYPES['multi'] = '''
6* MULTI
6* EXEC
DISCARD
3* WATCH {<k>}
UNWATCH
4* SET <k> <v>
3* GET <k>
3* INCR <k>
2* INCRBY <k> <int>
APPEND <k> <v>
2* LPUSH <k> {<v>}
LRANGE <k> 0 -1
2* SADD <k> <f>
SMEMBERS <k>
HSET <k> <f> <v>
DEL <k>
EXPIRE <k> <ttl>
FOO <v>
PING [<v>]
ECHO <v>
GET
SET <k>
EVAL <script> 1 <k> <v>
SELECT 0
TYPE <k>
MGET {<k>}
'''

TYPES['script'] = '''
8* EVAL <script> 1 <k> <v>
2* EVAL <script> 2 <k> <k> <v> <i>
EVAL <script> 0
EVAL <script> <i> <k>
EVAL_RO <script> 1 <k> <v>
2* SCRIPT LOAD <script>
SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db foo
EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 <k>
EVALSHA <v> 0
2* SET <k> <v>
GET <k>
LPUSH <k> <v>
DEL <k>
'''

# None writes and then fails: that changes nothing here, and leaves what it has written in Redis.
SCRIPTS = [script.encode() for script in (
    'return 1', 'return 3.99', 'return "x"', 'return nil', 'return true', 'return false', 'return {}',
    'return {1,2,nil,4}', 'return {1,{2,{3,"x"}},false,true}', 'return {ok="fine"}', 'return {err="bad"}',
    'return {err="MY bad thing"}', 'return KEYS', 'return ARGV', 'return #KEYS', 'return KEYS[1]',
    'return redis.call("GET",KEYS[1])', 'return redis.call("SET",KEYS[1],ARGV[1])',
    'return redis.pcall("INCR",KEYS[1])', 'return redis.call("INCR",KEYS[1])',
    'redis.call("SET",KEYS[1],ARGV[1]) return redis.pcall("LPUSH",KEYS[1],"x")',
    'return redis.pcall("LPUSH",KEYS[1],"x")', 'return redis.call("FOO")', 'return redis.pcall("FOO")',
    'return redis.call()', 'return redis.pcall()', 'return redis.call("GET")', 'return redis.call("GET",{})',
    'return redis.error_reply("BAD thing")', 'return redis.error_reply("thing")', 'return redis.status_reply("S")',
    'return redis.sha1hex("x")', 'return redis.sha1hex()', 'return error("oh")', 'error({err="T oh"})',
    'return x', 'x = 1', 'return redis.nothing', 'return foo(', 'return redis.call("PING")',
    'return type(redis.call("GET",KEYS[1]))', 'return redis.call("MGET",KEYS[1],"none")',
    'return cjson.encode({1,2,{a=1}})', 'return cjson.encode(cjson.decode("[1,2.5,null,{}]"))',
    'return cjson.decode(ARGV[1])', 'return cmsgpack.unpack(cmsgpack.pack({1,2,"x"}))', 'return bit.band(7,12)',
    'return bit.tohex(255)', 'return struct.unpack("I",struct.pack("I",7))', 'return redis.call("EXISTS",KEYS[1])==1',
    'local r=redis.pcall("INCR",KEYS[1]) if type(r)=="table" then return r.err end return r',
    'return math.floor(3.7)', 'return string.rep("x",3)', 'return {1.5,2.9}', 'return -0.5', 'return 1e15',
    'return redis.REDIS_VERSION_NUM >= 458752', 'return redis.setresp(3)',
    'redis.setresp(3) return redis.call("GET",KEYS[1])', 'redis.setresp(4)', 'return {double=3.5}',
    'return {map={a=1}}', 'return {set={a=true}}', 'return loadstring("return 7")()', 'return print', 'return _G.redis==redis',
    'return redis.log(redis.LOG_DEBUG,"x")', 'return redis.replicate_commands()', 'return unpack({1,2,3})',
    'return tostring(nil)', 'return select("#",unpack(ARGV))', 'redis.call("DEL",KEYS[1]) return redis.call("TYPE",KEYS[1])',
    'return redis.call("TYPE",KEYS[1]).ok', 'return pcall(redis.call,"FOO")', 'return {pcall(error,"x")}',
    'setmetatable(_G,{})', 'redis.x = 1', 'return redis.breakpoint()', '#!lua\nreturn 1', '#!lua flags=no-writes\nreturn redis.call("SET",KEYS[1],"1")',
    '#!foo\nreturn 1', '#!lua flags=foo\nreturn 1',
)]
