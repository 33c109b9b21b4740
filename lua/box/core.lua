-- SPDX-License-Identifier: Apache-2.0
--
-- What the other built-in modules stand on: the functions of src/lua through FFI, errors, box.NULL,
-- and objects that users can read and call but not change.
--
-- ffi stays in here and in the modules beside it. A tuple is cdata whose members have random names,
-- so that code in the sandbox, to which `tuple.member` would be plain memory, has nothing to ask
-- for.

local ffi = require('ffi')
local native = require('box.native')

-- Users get hold of cursors, the parameter of what pairs gives: see above.
ffi.cdef((('struct perigee_cursor { void *Xc; uint64_t Xs, Xp, Xn; };'):gsub('X', native.secret)))
ffi.cdef([[
struct perigee_runtime;
struct perigee_value { int32_t type; uint32_t size; double number; int64_t integer; const char *data; };
struct perigee_row { const char *data; uint32_t size; };
struct perigee_scan { double offset, limit; int32_t iterator, has_key, lock, after, fetch, stepped; };
struct perigee_walk { void *walk; };
struct perigee_savepoint { size_t point[6]; uint64_t sequence; };
struct perigee_api {
    int (*begin)(struct perigee_runtime *, int, int, uint32_t, double);
    int (*finish)(struct perigee_runtime *, int);
    int (*in_transaction)(const struct perigee_runtime *);
    int (*savepoint)(struct perigee_runtime *, struct perigee_savepoint *);
    int (*rollback_to)(struct perigee_runtime *, const struct perigee_savepoint *);
    int (*write)(struct perigee_runtime *, int, uint32_t, uint32_t, struct perigee_row *);
    int (*get)(struct perigee_runtime *, uint32_t, uint32_t, struct perigee_row *);
    int (*get_number)(struct perigee_runtime *, uint32_t, uint32_t, double, struct perigee_row *);
    int (*get_string)(struct perigee_runtime *, uint32_t, uint32_t, const char *, size_t,
                      struct perigee_row *);
    int (*get_locked)(struct perigee_runtime *, uint32_t, uint32_t, int, struct perigee_row *);
    int (*get_many)(struct perigee_runtime *, uint32_t, uint32_t, struct perigee_row *);
    int (*lock_space)(struct perigee_runtime *, uint32_t, int);
    int (*select)(struct perigee_runtime *, uint32_t, uint32_t, const struct perigee_scan *,
                  struct perigee_row *);
    int (*count)(struct perigee_runtime *, uint32_t, uint32_t, const struct perigee_scan *, double *);
    int (*pick)(struct perigee_runtime *, uint32_t, uint32_t, int, double, struct perigee_row *);
    double (*len)(struct perigee_runtime *, uint32_t);
    double (*rows_bytes)(const struct perigee_runtime *);
    int (*cursor_open)(struct perigee_runtime *, uint32_t, uint32_t, const struct perigee_scan *,
                       struct perigee_cursor *);
    int (*cursor_next)(struct perigee_runtime *, struct perigee_cursor *, struct perigee_row *);
    int (*walk_open)(struct perigee_runtime *, uint32_t, uint32_t, const struct perigee_scan *,
                     struct perigee_walk *, struct perigee_row *);
    int (*walk_next)(struct perigee_runtime *, struct perigee_walk *, struct perigee_row *);
    void (*walk_drop)(struct perigee_runtime *, struct perigee_walk *);
    void (*field)(const char *, uint32_t, struct perigee_value *);
    uint32_t (*field_count)(const char *);
    void (*path)(struct perigee_runtime *, const char *, uint32_t, const char *, size_t,
                 struct perigee_value *);
    double (*schema_version)(const struct perigee_runtime *);
    double (*now)(const struct perigee_runtime *);
    double (*monotonic)(const struct perigee_runtime *);
    void (*put_begin)(struct perigee_runtime *);
    void (*put_array)(struct perigee_runtime *, uint32_t);
    void (*put_nil)(struct perigee_runtime *);
    void (*put_integer)(struct perigee_runtime *, int64_t);
    void (*put_unsigned)(struct perigee_runtime *, uint64_t);
    void (*put_number)(struct perigee_runtime *, double);
    void (*put_string)(struct perigee_runtime *, const char *, size_t);
    void (*put_boolean)(struct perigee_runtime *, int);
    int (*put_end)(struct perigee_runtime *, int);
    int (*again)(struct perigee_runtime *, struct perigee_row *);
};
]])

local core = {
    native = native,
    api = ffi.cast('const struct perigee_api *', native.api),
    runtime = ffi.cast('struct perigee_runtime *', native.runtime),
    value = ffi.cast('struct perigee_value *', native.value),
    row = ffi.cast('struct perigee_row *', native.row),
    scan = ffi.cast('struct perigee_scan *', native.scan),
    walk = ffi.cast('struct perigee_walk *', native.walk),
    NULL = ffi.cast('void *', 0),
    -- metatable -> function that gives the plain table an object is encoded as; true behind it: as a map
    serializers = setmetatable({}, { __mode = 'k' }),
}

-- The values of struct lua__value's type.
core.ABSENT, core.NIL, core.BOOLEAN, core.NUMBER = 0, 1, 2, 3
core.INT64, core.UINT64, core.STRING, core.OTHER = 4, 5, 6, 7

-- ---------------------------------------------------------------------------------- objects

-- metatables of objects whose contents belong to the built-in Lua: rawset refuses them
local guarded = setmetatable({}, { __mode = 'k' })
core.guarded = guarded

local function refuse_assignment()
    error('this object is read-only', 2)
end

--- An object that shows `fields` and can't be changed through what it gives away.
---@param fields table|function what __index is
---@param extra table? more metamethods; `serialize` is what the object is encoded as
---@return table
function core.object(fields, extra)
    local metatable = { __index = fields, __newindex = refuse_assignment, __metatable = 'protected' }
    for name, method in pairs(extra or {}) do
        if name == 'serialize' then
            core.serializers[metatable] = method
        else
            metatable[name] = method
        end
    end
    guarded[metatable] = true
    return setmetatable({}, metatable)
end

local next, getmetatable, full_metatable = next, getmetatable, debug.getmetatable

--- pairs that knows what is in box's objects (box.space), whose contents are not those of a table.
function core.pairs(object)
    if getmetatable(object) == 'protected' then
        local metatable = full_metatable(object)
        local fn = guarded[metatable] and metatable.__pairs
        if fn then
            return fn(object)
        end
    end
    if type(object) ~= 'table' then
        error(("bad argument #1 to 'pairs' (table expected, got %s)"):format(type(object)), 2)
    end
    return next, object, nil
end

-- ----------------------------------------------------------------------------------- errors

local getinfo = debug.getinfo

--- "chunk:line: " of the first function on the stack that is not built in.
local function caller()
    for level = 3, 20 do
        local info = getinfo(level, 'Sl')
        if not info then
            return ''
        end
        if info.what ~= 'C' and info.source:sub(1, 2) ~= '=[' and info.currentline > 0 then
            return string.format('%s:%d: ', info.short_src, info.currentline)
        end
    end
    return ''
end

local error_methods = {}

--- Raises it again, as it is.
function error_methods.raise(self)
    error(self, 0)
end

--- A table of what it has.
function error_methods.unpack(self)
    return {
        code = self.code, name = self.name, type = self.type, message = self.message, trace = self.trace,
    }
end

local error_metatable = {
    __tostring = function(self) return self.message end,
    --- error.trace: where it was raised, an array of {file, line, name}. error.type: Tarantool's word.
    __index = function(self, key)
        if key == 'trace' then
            local frames = rawget(self, 'frames')
            return frames and native.unpack(frames) or nil
        elseif key == 'type' then
            return rawget(self, 'code') == core.ERROR_LUA and 'LuajitError' or 'ClientError'
        end
        return error_methods[key]
    end,
    __metatable = 'error',
}
core.serializers[error_metatable] = function(self)
    return { code = self.code, name = self.name, message = self.message }
end

--- An error object: code, name, message; tostring gives the message.
---@param code integer
---@param message string
---@return table
function core.new_error(code, message)
    return setmetatable({
        code = code,
        name = native.error_name(code),
        message = message,
        where = caller(),
        frames = native.frames(),
    }, error_metatable)
end

---@param code integer
---@param message string
function core.raise(code, message)
    local err = core.new_error(code, message)
    native.error_set(err)
    error(err, 0)
end

--- Whether it is an error object of ours.
function core.is_error(value)
    return type(value) == 'table' and full_metatable(value) == error_metatable
end

--- Raises the error that a function of the api has returned; the message is in the diagnostics.
---@param code integer
function core.check(code)
    if code ~= 0 then
        core.failed(code)
    end
end

local yield, isyieldable = coroutine.yield, coroutine.isyieldable

--- Yields until the lock can be had that a statement of this fiber has met; raises why it can't. What
--- Lua knows of the transaction is put away meanwhile.
function core.wait_for_lock(seconds)
    local code
    repeat
        local put_back = core.put_transaction_away()
        local refused = not isyieldable() or yield(native.fiber_mark, seconds)
        put_back()
        code = native.fiber_lock_waited(refused)
        seconds = native.fiber_lock_wait()
    until code == 0
end

--- Where a statement of a fiber has met a lock it waits and makes it again; else raises the error.
function core.failed(code)
    while code == core.ERROR_WAIT do
        local seconds = native.fiber_lock_wait()
        if not seconds then
            break
        end
        core.wait_for_lock(seconds)
        code = core.api.again(core.runtime, core.row)
        if code == core.CALLS_OUT then
            code = native.write(native.fiber_statement())
        end
    end
    if code ~= 0 then
        native.raise(code)
    end
end

--- Lets others go on before something is tried again.
function core.give_way()
    if native.fiber_current() ~= 0 and isyieldable() then
        yield(native.fiber_mark, 0.001)
    end
end

core.ERROR_MEMORY, core.ERROR_UNSUPPORTED = -1, -24
core.ERROR_INVALID, core.ERROR_NOT_FOUND, core.ERROR_CONFLICT, core.ERROR_AGAIN = -4, -5, -8, -9
core.ERROR_EXISTS, core.ERROR_ACCESS = -6, -17
core.ERROR_BUSY = -20
core.ERROR_LUA, core.ERROR_DEADLOCK, core.ERROR_LOCK_TIMEOUT = -19, -28, -29
core.ERROR_TIMEOUT = -10
core.ERROR_CANCELLED, core.ERROR_WAIT = -23, -27
--- What a statement answers when triggers may have to run, which what FFI calls can't do.
core.CALLS_OUT = 1

-- ------------------------------------------------------------------- 64-bit integers and NULL

local int64, uint64, pointer = ffi.typeof('int64_t'), ffi.typeof('uint64_t'), ffi.typeof('void *')
local value = core.value

--- Called by C with a cdata value: true for a tuple; else leaves kind and bits in `value`.
function core.classify(cdata)
    if ffi.istype(core.tuple_type, cdata) then
        return true
    elseif ffi.istype(int64, cdata) then
        value.type, value.integer = core.INT64, cdata
    elseif ffi.istype(uint64, cdata) then
        value.type, value.integer = core.UINT64, ffi.cast(int64, cdata)
    elseif ffi.istype(pointer, cdata) and cdata == nil then
        value.type = core.NIL
    else
        value.type = core.ABSENT
    end
    return false
end

--- Called by C: the 64-bit integer in `value`.
function core.make()
    if value.type == core.UINT64 then
        return ffi.cast(uint64, value.integer)
    end
    return value.integer
end

return core
