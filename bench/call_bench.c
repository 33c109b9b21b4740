/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stored procedures on one thread, as a worker runs them: from the packed arguments to the packed
 * results, each call a serializable transaction, without sockets. The space has three indexes
 * (number, string, number) and a hundred thousand rows, which is the one of bench/box.lua.
 * Durability none, so that the figures are those of the code and not of the disk.
 *
 * bench_call [rows [calls]]
 */
#include "bench.h"

#include "base/random.h"
#include "db/db.h"
#include "lua/runtime.h"

struct bench {
    struct db *db;
    struct db_worker *worker;
    struct lua_runtime *runtime;
    struct lua_watchdog *watchdog;
    struct random random;
    struct mp_buffer args, result;
    uint64_t rows, calls;
};

/* What is measured: a name, how much longer than an empty call it may be, and a body. */
struct procedure {
    const char *name, *about, *body;
    unsigned cost;
};

static const struct procedure PROCEDURES[] = {
    {"empty", "empty", "function() end", 1},
    {"get_one", "one get, one field", "function(id) return box.space.bench:get(id)[4] end", 1},
    {"get_tuple", "one get, the whole tuple", "function(id) return box.space.bench:get(id) end", 1},
    {"get_second", "one get by the second index",
     "function(id) return box.space.bench.index.name:get('name' .. id)[4] end", 1},
    {"replace_one", "one replace",
     "function(id) box.space.bench:replace({id, 'name' .. id, id % 1000, 1, 'x'}) end", 2},
    {"update_one", "one update", "function(id) box.space.bench:update(id, {{'+', 4, 1}}) end", 2},
    {"update_ten", "ten updates",
     "function(id) for n = 0, 9 do box.space.bench:update((id + n * 7919) % box_rows + 1, "
     "{{'+', 4, 1}}) end end",
     10},
    {"range", "range of a hundred, summed",
     "function(id) local sum, left = 0, 100 "
     "for _, tuple in box.space.bench:pairs(id, {iterator = 'GE'}) do "
     "sum = sum + tuple[4] left = left - 1 if left == 0 then break end end return sum end",
     20},
};
enum { PROCEDURE_COUNT = sizeof PROCEDURES / sizeof *PROCEDURES };

static void eval(struct bench *bench, const char *text)
{
    struct lua_request request = {.latest = true};
    uint64_t ts;
    mp_buffer_reset(&bench->result, 65536);
    bench_check(
        lua_runtime_eval(bench->runtime, &request, text, strlen(text), NULL, &bench->result, &ts),
        text);
}

static void database_open(struct bench *bench, struct io *io)
{
    struct db_options options = {
        .io = io, .clock = clock_system(), .durability = WAL_DURABILITY_NONE, .worker_max = 2};
    bench_check(db_open(&options, NULL, &bench->db), "open");
    bench_check(db_worker_open(bench->db, &bench->worker), "worker");
    bench_check(lua_watchdog_new(NULL, NULL, &bench->watchdog), "watchdog");
    struct lua_runtime_options lua = {
        .worker = bench->worker, .watchdog = bench->watchdog, .time_max_ms = 60000};
    bench_check(lua_runtime_new(&lua, &bench->runtime), "runtime");
}

static void database_close(struct bench *bench)
{
    lua_runtime_delete(bench->runtime);
    lua_watchdog_delete(bench->watchdog);
    db_worker_close(bench->worker);
    bench_check(db_close(bench->db), "close");
}

static void fill(struct bench *bench)
{
    char text[1024];
    eval(bench, "box.schema.space.create('bench', {format = {{'id', 'unsigned'}, "
                "{'name', 'string'}, {'city', 'unsigned'}, {'balance', 'number'}, "
                "{'note', 'string'}}})");
    eval(bench, "box.space.bench:create_index('primary', {parts = {'id'}})");
    eval(bench, "box.space.bench:create_index('name', {parts = {'name'}})");
    eval(bench, "box.space.bench:create_index('city', {parts = {'city'}, unique = false})");
    for (uint64_t from = 1; from <= bench->rows; from += 1000) {
        snprintf(text, sizeof text,
                 "box.begin() for id = %llu, %llu do box.space.bench:insert({id, 'name' .. id, "
                 "id %% 1000, 0, 'x'}) end box.commit()",
                 (unsigned long long)from, (unsigned long long)(from + 999));
        eval(bench, text);
    }
}

/* The procedure's text with the number of rows in the place of box_rows. */
static void define(struct bench *bench, const struct procedure *procedure)
{
    char body[512], text[1024];
    const char *rows = strstr(procedure->body, "box_rows");
    if (rows != NULL)
        snprintf(body, sizeof body, "%.*s%llu%s", (int)(rows - procedure->body), procedure->body,
                 (unsigned long long)bench->rows, rows + strlen("box_rows"));
    else
        snprintf(body, sizeof body, "%s", procedure->body);
    snprintf(text, sizeof text, "box.schema.func.create('%s', {body = [[%s]]})", procedure->name,
             body);
    eval(bench, text);
}

static void call(struct bench *bench, const char *name, uint64_t id)
{
    struct lua_request request = {.latest = true};
    uint64_t ts;
    mp_buffer_reset(&bench->args, 4096);
    mp_put_array(&bench->args, 1);
    mp_put_uint(&bench->args, id);
    mp_buffer_reset(&bench->result, 65536);
    bench_check(lua_runtime_call(bench->runtime, &request, name, strlen(name), bench->args.data,
                                 &bench->result, &ts),
                name);
}

static void measure(struct bench *bench, const struct procedure *procedure)
{
    uint64_t calls = bench->calls / procedure->cost;
    for (uint64_t n = 0; n < calls / 10 + 100; n++) /* until it is compiled */
        call(bench, procedure->name, 1 + random_below(&bench->random, bench->rows - 200));
    double start = bench_cpu_ns();
    for (uint64_t n = 0; n < calls; n++)
        call(bench, procedure->name, 1 + random_below(&bench->random, bench->rows - 200));
    bench_print(procedure->about, start, calls);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/perigee-bench-XXXXXX";
    struct bench bench = {.rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000,
                          .calls = argc > 2 ? strtoull(argv[2], NULL, 10) : 500000};
    struct io *io;
    if (bench.rows < 1000 || bench.calls == 0) {
        fprintf(stderr, "usage: %s [rows, at least 1000 [calls]]\n", argv[0]);
        return 2;
    }
    bench_dir_create(dir);
    bench_check(io_posix_new(dir, true, &io), "io");
    database_open(&bench, io);
    random_create(&bench.random, 1);
    fill(&bench);
    printf("stored procedures, %s, %llu rows, three indexes\n", lua_runtime_variant(),
           (unsigned long long)bench.rows);
    for (int n = 0; n < PROCEDURE_COUNT; n++)
        define(&bench, &PROCEDURES[n]);
    for (int n = 0; n < PROCEDURE_COUNT; n++)
        measure(&bench, &PROCEDURES[n]);
    database_close(&bench);
    io_delete(io);
    mp_buffer_destroy(&bench.args);
    mp_buffer_destroy(&bench.result);
    bench_dir_remove(dir);
    return 0;
}
