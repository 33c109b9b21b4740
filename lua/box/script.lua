-- SPDX-License-Identifier: Apache-2.0
--
-- Redis scripts: compiled once, kept by source and by SHA-1; the oldest go when
-- there are too many, or too large. All share one environment that can't be changed.

local core = require('box.core')
local sandbox = require('box.sandbox')
local returns = require('box.script_return')

local native = core.native
local SCRIPTS_MAX, SCRIPTS_BYTES_MAX = 1024, 16 * 1024 * 1024

local script = {}
local by_source, by_sha, order, oldest, bytes = {}, {}, {}, 1, 0

--- Raises what Redis calls an error: a table with its text, without a place.
local function refuse(message)
    error({ err = 'ERR ' .. message }, 0)
end
script.refuse = refuse

-- ---------------------------------------------------------------------------- the table `redis`

--- A command that meets a lock in a fiber gives the fiber's mark instead of a reply.
local function waiting(command)
    local function again(...)
        core.wait_for_lock(native.fiber_lock_wait())
        local reply = command(...)
        if reply == native.fiber_mark then
            return again(...)
        end
        return reply
    end
    return function(...)
        local reply = command(...)
        if reply == native.fiber_mark then
            return again(...)
        end
        return reply
    end
end
script.waiting = waiting

--- "-CODE message", or a message, as the text of an error.
local function error_text(text)
    local code, message = text:match('^%-(%S*) (.*)$')
    if code then
        text = code .. ' ' .. message
    elseif text:sub(1, 1) == '-' then
        text = 'ERR ' .. text:sub(2)
    elseif not text:find(' ', 1, true) then
        text = 'ERR ' .. text
    end
    return text
end

local function reply_of(field, convert)
    return function(...)
        local text = ...
        if select('#', ...) ~= 1 or type(text) ~= 'string' then
            return { err = 'ERR wrong number or type of arguments' }
        end
        return { [field] = convert and convert(text) or text }
    end
end

local LEVELS = { [0] = 3, [1] = 3, [2] = 2, [3] = 1 } -- Redis's level -> ours

local function log(...)
    local level = ...
    if select('#', ...) < 2 then
        refuse('redis.log() requires two arguments or more.')
    elseif not tonumber(level) then
        refuse('First argument must be a number (log level).')
    elseif not LEVELS[math.floor(tonumber(level))] then
        refuse('Invalid debug level.')
    end
    local parts = {}
    for n = 2, select('#', ...) do
        local part = select(n, ...)
        if type(part) == 'string' or type(part) == 'number' then
            parts[#parts + 1] = tostring(part)
        end
    end
    native.log(LEVELS[math.floor(tonumber(level))], table.concat(parts, ' '))
end

local function setresp(...)
    local version = tonumber((...))
    if select('#', ...) ~= 1 then
        refuse('redis.setresp() requires one argument.')
    elseif version ~= 2 and version ~= 3 then
        refuse('RESP version must be 2 or 3.')
    end
    native.redis_setresp(version)
end

local function set_repl(...)
    if select('#', ...) ~= 1 then
        refuse('redis.set_repl() requires two arguments.')
    end
    local flags = tonumber((...)) or 0
    if flags < 0 or flags > 3 then
        refuse('Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.')
    end
end

local function acl_check_cmd(...)
    if select('#', ...) == 0 then
        refuse('Please specify at least one argument for this redis lib call')
    end
    for n = 1, select('#', ...) do
        local kind = type((select(n, ...)))
        if kind ~= 'string' and kind ~= 'number' then
            refuse('Lua redis lib command arguments must be strings or integers')
        end
    end
    local allowed = native.redis_may_run(tostring((...)), select(2, ...))
    if allowed == nil then
        refuse('Invalid command passed to redis.acl_check_cmd()')
    end
    return allowed
end

local function sha1hex(...)
    if select('#', ...) ~= 1 then
        refuse('wrong number of arguments')
    end
    return native.sha1_hex((...))
end

--- The fields of `redis` that work without a database: while a library is loaded.
local function passive()
    return {
        sha1hex = sha1hex,
        error_reply = reply_of('err', error_text),
        status_reply = reply_of('ok'),
        log = log,
        setresp = setresp,
        LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
        REDIS_VERSION = '7.2.0', REDIS_VERSION_NUM = 0x070200,
    }
end

local function nothing() end

local function active()
    local fields = passive()
    fields.call, fields.pcall = waiting(native.redis_call), waiting(native.redis_pcall)
    fields.acl_check_cmd, fields.set_repl = acl_check_cmd, set_repl
    fields.replicate_commands = function() return true end
    fields.breakpoint = function() return false end
    fields.debug = nothing
    fields.REPL_NONE, fields.REPL_AOF, fields.REPL_ALL = 0, 1, 3
    fields.REPL_SLAVE, fields.REPL_REPLICA = 2, 2
    return fields
end

--- The table `redis` of procedures and files.
---@return table
function script.redis()
    return core.object(active())
end

-- ------------------------------------------------------------------------------- environments

local READONLY = 'Attempt to modify a readonly table'
local readonly = setmetatable({}, { __mode = 'k' })

local function refuse_change()
    error(READONLY, 2)
end

--- What shows `fields` and can't be changed, in Redis's words.
local function frozen(fields)
    local metatable = {
        __index = fields, __newindex = refuse_change, __metatable = 'protected',
        __pairs = function() return next, fields end,
    }
    core.guarded[metatable] = true
    local result = setmetatable({}, metatable)
    readonly[result] = true
    return result
end

--- Missing fields of the globals are errors.
local missing = {
    __index = function(_, name)
        error(("Script attempted to access nonexistent global variable '%s'"):format(tostring(name)), 2)
    end,
}

--- Makes missing fields of the table errors.
function script.miss(fields)
    return setmetatable(fields, missing)
end

--- What shows `fields` and can't be changed; and a function after which it shows others.
function script.switched(fields)
    local object = frozen(fields)
    local metatable = debug.getmetatable(object)
    return object, function(others) metatable.__index = others end
end

local cjson = {
    _NAME = 'cjson', _VERSION = '2.1.0', null = native.cjson_null(),
    encode = native.cjson_encode, decode = native.cjson_decode,
    encode_sparse_array = native.cjson_sparse_array, encode_max_depth = native.cjson_encode_depth,
    decode_max_depth = native.cjson_decode_depth, encode_number_precision = native.cjson_precision,
    encode_keep_buffer = native.cjson_keep_buffer, encode_invalid_numbers = native.cjson_encode_invalid,
    decode_invalid_numbers = native.cjson_decode_invalid,
}
local cmsgpack = {
    _NAME = 'cmsgpack', _VERSION = 'lua-cmsgpack 0.4.0',
    pack = native.cmsgpack_pack, unpack = native.cmsgpack_unpack,
    unpack_one = native.cmsgpack_unpack_one, unpack_limit = native.cmsgpack_unpack_limit,
}
local struct = { pack = native.struct_pack, unpack = native.struct_unpack, size = native.struct_size }

--- cjson.new(): there is one of it, whose settings hold for one run of a script.
function cjson.new()
    return frozen(cjson)
end

--- An error that is a table with a text is that text, as it is for Redis's pcall.
local function unwrap(ok, err, ...)
    if not ok and type(err) == 'table' then
        local text = rawget(err, 'err')
        if type(text) == 'string' then
            return false, text
        end
    end
    return ok, err, ...
end

local real_pcall, real_setmetatable, real_rawset = pcall, setmetatable, rawset

local base = {
    pcall = function(...) return unwrap(real_pcall(...)) end,
    setmetatable = function(t, metatable)
        if readonly[t] then
            error(READONLY, 0)
        end
        return real_setmetatable(t, metatable)
    end,
    rawset = function(t, key, value)
        if readonly[t] then
            error(READONLY, 0)
        elseif core.guarded[debug.getmetatable(t)] then
            error('this object is read-only', 2)
        end
        return real_rawset(t, key, value)
    end,
    --- The message of Lua 5.1 says where.
    assert = function(...)
        local value, message = ...
        if value then
            return ...
        elseif message ~= nil and type(message) ~= 'string' and type(message) ~= 'number' then
            error(("bad argument #2 to 'assert' (string expected, got %s)"):format(type(message)), 2)
        end
        error(message or 'assertion failed!', 2)
    end,
    gcinfo = function() return math.floor(native.memory() / 1024), 0 end,
    [returns.NAME] = returns.pass,
}

--- An environment of scripts, in which `redis` has these fields; and the table of its contents.
---@param redis table
---@param box table? what else is global
---@return table, table
function script.environment(redis, box)
    local given = sandbox.contents({})
    for name, value in pairs(given) do
        if type(value) == 'table' then
            given[name] = frozen(value)
        end
    end
    for name, value in pairs(base) do
        given[name] = value
    end
    given.print, given.os = nil, frozen({ clock = os.clock })
    given.redis = readonly[redis] and redis or frozen(redis)
    given.cjson, given.cmsgpack = frozen(cjson), frozen(cmsgpack)
    given.struct, given.box = frozen(struct), box
    local environment = frozen(given)
    given._G = environment
    sandbox.add_loaders(given, environment)
    real_setmetatable(given, missing)
    return environment, given
end

script.active, script.passive = active, passive

-- ------------------------------------------------------------------------------------ shebang

local FLAGS = {
    ['no-writes'] = true, ['allow-oom'] = true, ['allow-stale'] = true, ['no-cluster'] = true,
    ['allow-cross-slot-keys'] = true,
}
script.FLAGS = FLAGS

--- The words of a line, with quotes around some of them taken away.
local function words_of(line)
    local words, position = {}, 1
    while true do
        position = line:find('%S', position)
        if not position then
            return words
        end
        local quote = line:sub(position, position):match('["\']')
        local shape = quote and '^' .. quote .. '(.-)' .. quote .. '()' or '^(%S+)()'
        local word, after = line:match(shape, position)
        if not word then
            return nil
        end
        words[#words + 1], position = word, after
    end
end
script.words_of = words_of

local function read_flags(list)
    local flags = {}
    for flag in list:gmatch('[^,]+') do
        if not FLAGS[flag] then
            refuse('Unexpected flag in script shebang: ' .. flag)
        end
        flags[flag] = true
    end
    return flags
end

--- The flags of a script that begins with a shebang, and the script without it: its line stays.
local function read_shebang(source)
    if source:sub(1, 2) ~= '#!' then
        return nil, source
    end
    local line, rest = source:match('^([^\n]*)(\n.*)$')
    local words = line and words_of(line)
    if not words then
        refuse('Invalid script shebang')
    elseif words[1] ~= '#!lua' then
        refuse('Unexpected engine in script shebang: ' .. words[1])
    end
    local flags = {}
    for n = 2, #words do
        local list = words[n]:match('^flags=(.*)$')
        if not list then
            refuse('Unknown lua shebang option: ' .. words[n])
        end
        flags = read_flags(list)
    end
    return flags, rest
end

-- ------------------------------------------------------------------------------------ scripts

--- Compiles a script: so that the place of an error in what it returns is known. Raises a Redis error.
---@param name string of the chunk
---@param what string what errors of compiling begin with
function script.compile(source, name, environment, what)
    local ok, fn = real_pcall(sandbox.compile, returns.mark(source), name, environment)
    if not ok then
        ok, fn = real_pcall(sandbox.compile, source, name, environment)
    end
    if not ok then
        refuse(what .. tostring(fn))
    end
    return fn
end

local function forget_oldest()
    local source = order[oldest]
    order[oldest] = nil
    oldest = oldest + 1
    bytes = bytes - #source
    by_sha[by_source[source].sha] = nil
    by_source[source] = nil
end

--- Makes the functions over the table `box` that scripts see.
---@param box table
function script.new(box)
    local newest = 0
    local environment, given = script.environment(active(), box)

    local function find_or_compile(source)
        local entry = by_source[source]
        if entry then
            return entry
        end
        local flags, text = read_shebang(source)
        entry = { sha = native.sha1_hex(source), flags = flags }
        entry.readonly = flags and flags['no-writes'] or false
        entry.run = script.compile(text, 'user_script', environment,
            'Error compiling script (new function): ')
        newest = newest + 1
        order[newest], by_source[source], by_sha[entry.sha] = source, entry, source
        bytes = bytes + #source
        while newest - oldest >= SCRIPTS_MAX or bytes > SCRIPTS_BYTES_MAX do
            forget_oldest()
        end
        return entry
    end

    return {
        --- The function, the digest, and whether the script says that it does not write.
        prepare = function(source, keys, arguments, only_reads)
            local entry = find_or_compile(source)
            if only_reads and entry.flags and not entry.readonly then
                refuse('Can not execute a script with write flag using *_ro command.')
            end
            given.KEYS, given.ARGV = keys, arguments
            return entry.run, entry.sha, entry.readonly
        end,
        load = function(source) find_or_compile(source) end,
        find = function(sha) return by_sha[sha:lower()] end,
        flush = function()
            by_source, by_sha, order, oldest, bytes, newest = {}, {}, {}, 1, 0, 0
        end,
    }
end

return script
