-- SPDX-License-Identifier: Apache-2.0
--
-- Libraries of Redis functions: FUNCTION, and what FCALL looks a function up in.
--
-- A library is a row {id, owner, name, text} of _redis_library. What is loaded here is what was found
-- there at a version of the schema; libraries whose text is the same stay as they are, with what their
-- functions share.

local core = require('box.core')
local script = require('box.script')
local transaction = require('box.transaction')

local native, api, runtime = core.native, core.api, core.runtime
local refuse = script.refuse

local SPACE_ID_REDIS_LIBRARY = 360
local NAME = '^[%w_]+$'
local BAD_NAME = 'Library names can only contain letters, numbers, or underscores(_) and must be at least '
    .. 'one character long'

local redis_function = {}

-- ------------------------------------------------------------------------------------- loading

--- The name of a library, and its text without the first line.
local function read_metadata(text)
    if text:sub(1, 2) ~= '#!' then
        refuse('Missing library metadata')
    end
    local line, rest = text:match('^#!([^\n]*)(\n.*)$')
    local words = line and script.words_of(line)
    if not words then
        refuse('Invalid library metadata')
    end
    local name
    for n = 2, #words do
        local value = words[n]:match('^[nN][aA][mM][eE]=(.*)$')
        if not value then
            refuse('Invalid metadata value given: ' .. words[n])
        elseif name then
            refuse('Invalid metadata value, name argument was given multiple times')
        end
        name = value
    end
    if not name then
        refuse('Library name was not given')
    elseif not name:find(NAME) then
        refuse(BAD_NAME)
    elseif (words[1] or ''):lower() ~= 'lua' then
        refuse(("Engine '%s' not found"):format(words[1] or ''))
    end
    return name, rest
end

local function read_flags(given)
    if type(given) ~= 'table' then
        refuse('flags argument to redis.register_function must be a table representing function flags')
    end
    local flags = {}
    for n = 1, #given do
        if type(given[n]) ~= 'string' or not script.FLAGS[given[n]] then
            refuse('unknown flag given')
        end
        flags[#flags + 1], flags[given[n]] = given[n], true
    end
    return flags
end

local FIELDS = {
    function_name = function(entry, value)
        if type(value) ~= 'string' and type(value) ~= 'number' then
            refuse('function_name argument given to redis.register_function must be a string')
        end
        entry.name = tostring(value)
    end,
    description = function(entry, value)
        if type(value) ~= 'string' and type(value) ~= 'number' then
            refuse('description argument given to redis.register_function must be a string')
        end
        entry.description = tostring(value)
    end,
    callback = function(entry, value)
        if type(value) ~= 'function' then
            refuse('callback argument given to redis.register_function must be a function')
        end
        entry.callback = value
    end,
    flags = function(entry, value) entry.flags = read_flags(value) end,
}

local function read_named(given)
    if type(given) ~= 'table' then
        refuse('calling redis.register_function with a single argument is only applicable to Lua table '
            .. '(representing named arguments).')
    end
    local entry = { flags = {} }
    for key, value in pairs(given) do
        if type(key) ~= 'string' and type(key) ~= 'number' then
            refuse('named argument key given to redis.register_function is not a string')
        elseif not FIELDS[key] then
            refuse('unknown argument given to redis.register_function')
        end
        FIELDS[key](entry, value)
    end
    if not entry.name then
        refuse('redis.register_function must get a function name argument')
    elseif not entry.callback then
        refuse('redis.register_function must get a callback argument')
    end
    return entry
end

local function read_positional(name, callback)
    if type(name) ~= 'string' and type(name) ~= 'number' then
        refuse('first argument to redis.register_function must be a string')
    elseif type(callback) ~= 'function' then
        refuse('second argument to redis.register_function must be a function')
    end
    return { name = tostring(name), callback = callback, flags = {} }
end

local loading -- the library whose text runs

local function register_function(...)
    local count = select('#', ...)
    if not loading then
        refuse('redis.register_function can only be called on FUNCTION LOAD command')
    elseif count < 1 or count > 2 then
        refuse('wrong number of arguments to redis.register_function')
    end
    local entry = count == 1 and read_named(...) or read_positional(...)
    if not entry.name:find(NAME) then
        refuse(BAD_NAME)
    elseif loading.functions[entry.name:lower()] then
        refuse('Function already exists in the library')
    end
    entry.library = loading.name
    loading.functions[entry.name:lower()] = entry
    loading.order[#loading.order + 1] = entry
end

--- Makes the functions over the table `box` that libraries see.
---@param box table
function redis_function.new(box)
    local while_loading, at_work = script.passive(), script.active()
    while_loading.register_function = register_function
    script.miss(while_loading)
    local redis, switch = script.switched(at_work)
    local environment = script.environment(redis, box)

    local function run_text(library, text)
        local fn = script.compile(text, 'user_function', environment, 'Error compiling function: ')
        loading = library
        switch(while_loading)
        local ok, err = pcall(fn)
        switch(at_work)
        loading = nil
        if not ok then
            if type(err) == 'table' and not err.err then
                error(err, 0) -- the server's own
            end
            refuse('Error registering functions: ' .. tostring(type(err) == 'table' and err.err or 'ERR '
                .. tostring(err)))
        elseif #library.order == 0 then
            refuse('No functions registered')
        end
    end

    --- A library of this text, compiled and run.
    local function load(text)
        local name, rest = read_metadata(text)
        local library = { name = name, text = text, functions = {}, order = {} }
        run_text(library, rest)
        return library
    end

    -- --------------------------------------------------------------------- what is loaded here

    local libraries, functions, version = {}, {}, -1

    local function index()
        functions = {}
        for _, library in pairs(libraries) do
            for name, entry in pairs(library.functions) do
                functions[name] = entry
            end
        end
    end

    --- Makes what is loaded what is stored.
    local function settle()
        local present = api.schema_version(runtime)
        if present == version then
            return
        end
        local before = libraries
        libraries = {}
        for _, row in ipairs(native.redis_libraries()) do
            local id, name, text = row[1], row[3], row[4]
            if before[name] and before[name].text == text then
                libraries[name], before[name].id = before[name], id
            else
                local ok, result = pcall(load, text)
                if not ok then
                    native.log(1, ('library %s: %s'):format(name, tostring(type(result) == 'table'
                        and (result.err or result.message) or result)))
                    result = { name = name, text = text, functions = {}, order = {} }
                end
                libraries[name], result.id = result, id
            end
        end
        index()
        version = present
    end

    --- Raises when a function of the library is one of another that stays.
    local function check_functions(library, stay)
        for _, entry in ipairs(library.order) do
            for _, other in pairs(stay) do
                if other.name ~= library.name and other.functions[entry.name:lower()] then
                    refuse(('Function %s already exists'):format(entry.name))
                end
            end
        end
    end

    --- Writes it in the place of the one of its name, if there is one.
    local function put(library)
        local present = libraries[library.name]
        native.record_put(SPACE_ID_REDIS_LIBRARY, {
            present and present.id or core.NULL, native.user_id(), library.name, library.text,
        }, not present, 1)
    end

    local function drop(library)
        native.record_delete(SPACE_ID_REDIS_LIBRARY, { library.id })
    end

    --- Within a change, and after it, however it has ended, everything may be otherwise.
    local function changed(ok, ...)
        version = -1
        if not ok then
            error((...), 0)
        end
        return ...
    end

    --- Runs fn with what is stored, in a schema transaction.
    local function change(fn)
        return changed(pcall(transaction.atomic, { schema = true }, function()
            version = -1
            settle()
            return fn()
        end))
    end

    --- Deletes those that are not among the names.
    local function drop_others(names)
        for name, library in pairs(libraries) do
            if not names[name] then
                drop(library)
            end
        end
    end

    -- ------------------------------------------------------------------------------- commands

    local commands = {}

    function commands.load(...)
        local count, replace = select('#', ...), false
        for n = 1, count - 1 do
            if select(n, ...):lower() ~= 'replace' then
                refuse('Unknown option given: ' .. select(n, ...))
            end
            replace = true
        end
        local text = select(count, ...)
        local name = read_metadata(text)
        return change(function()
            if libraries[name] and not replace then
                refuse(("Library '%s' already exists"):format(name))
            end
            local library = load(text)
            check_functions(library, libraries)
            put(library)
            return name
        end)
    end

    function commands.delete(name)
        return change(function()
            if not libraries[name] then
                refuse('Library not found')
            end
            drop(libraries[name])
            return { ok = 'OK' }
        end)
    end

    function commands.flush(mode)
        if mode and mode:lower() ~= 'sync' and mode:lower() ~= 'async' then
            refuse('FUNCTION FLUSH only supports SYNC|ASYNC option')
        end
        return change(function()
            drop_others({})
            return { ok = 'OK' }
        end)
    end

    --- {field, value, ..} as a map of which the order counts.
    local function map(...)
        return { ordered_map = { ... } }
    end

    local function describe(entry)
        local flags = {}
        for n, flag in ipairs(entry.flags) do
            flags[n] = { ok = flag }
        end
        return map('name', entry.name, 'description', entry.description or false,
            'flags', { ordered_set = flags })
    end

    local function sorted_libraries()
        local list = {}
        for _, library in pairs(libraries) do
            list[#list + 1] = library
        end
        table.sort(list, function(left, right) return left.name < right.name end)
        return list
    end

    local function read_list_arguments(...)
        local n, count, pattern, with_code = 1, select('#', ...), nil, false
        while n <= count do
            local word = select(n, ...)
            if not with_code and word:lower() == 'withcode' then
                with_code = true
            elseif not pattern and word:lower() == 'libraryname' then
                if n == count then
                    refuse('library name argument was not given')
                end
                n = n + 1
                pattern = select(n, ...)
            else
                refuse('Unknown argument ' .. word)
            end
            n = n + 1
        end
        return pattern, with_code
    end

    function commands.list(...)
        local pattern, with_code = read_list_arguments(...)
        settle()
        local result = {}
        for _, library in ipairs(sorted_libraries()) do
            if not pattern or native.redis_glob(pattern, library.name) then
                local list = {}
                for n, entry in ipairs(library.order) do
                    list[n] = describe(entry)
                end
                local fields = { 'library_name', library.name, 'engine', 'LUA', 'functions', list }
                if with_code then
                    fields[7], fields[8] = 'library_code', library.text
                end
                result[#result + 1] = { ordered_map = fields }
            end
        end
        return result
    end

    --- What runs elsewhere: its name, for how many milliseconds, and the words of the request.
    function commands.stats(name, duration, ...)
        settle()
        local running = name and map('name', name, 'command', { ... }, 'duration_ms', tonumber(duration))
        local library_count, function_count = 0, 0
        for _, library in pairs(libraries) do
            library_count, function_count = library_count + 1, function_count + #library.order
        end
        return map('running_script', running or false, 'engines', map('LUA',
            map('libraries_count', library_count, 'functions_count', function_count)))
    end

    function commands.dump()
        settle()
        local texts = {}
        for n, library in ipairs(sorted_libraries()) do
            texts[n] = library.text
        end
        return native.library_dump(texts)
    end

    local POLICIES = { flush = true, append = true, replace = true }

    function commands.restore(bytes, policy)
        policy = (policy or 'append'):lower()
        if not POLICIES[policy] then
            refuse('Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.')
        end
        local texts = native.library_undump(bytes)
        if texts == nil then
            refuse('DUMP payload version or checksum are wrong')
        elseif not texts then
            refuse('given type is not a function')
        end
        return change(function()
            local stay = {}
            for name, library in pairs(policy ~= 'flush' and libraries or {}) do
                stay[name] = library
            end
            local loaded = {}
            for n, text in ipairs(texts) do
                local library = load(text)
                if stay[library.name] and policy == 'append' then
                    refuse(('Library %s already exists'):format(library.name))
                end
                loaded[n], stay[library.name] = library, library
            end
            for _, library in ipairs(loaded) do
                check_functions(library, stay)
            end
            if policy == 'flush' then
                drop_others(stay)
            end
            for _, library in ipairs(loaded) do
                put(library)
            end
            return { ok = 'OK' }
        end)
    end

    return {
        command = function(name, ...) return commands[name](...) end,
        --- Whether there is a function of this name.
        find = function(name)
            settle()
            return functions[name:lower()] ~= nil
        end,
        --- The function, its name, and whether it says that it does not write.
        prepare = function(name, only_reads)
            settle()
            local entry = functions[name:lower()]
            if not entry then
                refuse('Function not found')
            elseif only_reads and not entry.flags['no-writes'] then
                refuse('Can not execute a script with write flag using *_ro command.')
            end
            return entry.callback, entry.name, entry.flags['no-writes'] or false
        end,
    }
end

return redis_function
