-- SPDX-License-Identifier: Apache-2.0
--
-- Redis commands on the console's prompt: a line that begins with / or with a known command in capitals.
-- They have a connection of their own, so that SELECT, MULTI and SUBSCRIBE are what they are to any
-- client; within a transaction that was typed they are part of it, as redis.call in Lua is.

local client = require('client')
local msgpack = require('client.msgpack')
local resp = require('console.resp')
local text = require('console.text')
local value = require('console.value')

local redis = {}

local CONNECT_SECONDS = 10

-- -------------------------------------------------------------------------------------- words

local escapes = { n = '\n', r = '\r', t = '\t', b = '\b', a = '\a' }

--- The text within quotes that begin at `from`, and the position behind them; nil: they do not end.
local function quoted(line, from)
    local quote, parts, position = line:sub(from, from), {}, from + 1
    while position <= #line do
        local c = line:sub(position, position)
        local hex = quote == '"' and line:match('^\\x(%x%x)', position)
        if hex then
            parts[#parts + 1], position = string.char(tonumber(hex, 16)), position + 4
        elseif c == '\\' and (quote == '"' or line:sub(position + 1, position + 1) == quote) then
            local next_one = line:sub(position + 1, position + 1)
            parts[#parts + 1] = quote == '"' and escapes[next_one] or next_one
            position = position + 2
        elseif c == quote then
            return table.concat(parts), position + 1
        else
            parts[#parts + 1], position = c, position + 1
        end
    end
    return nil
end

--- The words of a line as redis-cli takes them: between blanks, or in quotes. nil: quotes do not end.
---@param line string
---@return string[]?
function redis.words(line)
    local words, position = {}, line:find('%S')
    while position do
        local word
        if line:find('^["\']', position) then
            word, position = quoted(line, position)
            if not word or not line:find('^%s', position) and position <= #line then
                return nil
            end
        else
            word = line:match('^%S+', position)
            position = position + #word
        end
        words[#words + 1] = word
        position = line:find('%S', position)
    end
    return words
end

--- The line of Redis in an input, or nil: what begins with /, or with a word in capitals that is a
--- command. `known(name)` tells whether it is.
---@param source string
---@param known fun(name: string): boolean
---@return string?
function redis.parse(source)
    local line = source:match('^%s*/%s*(%a[^\n]*)$')
    if line then
        return line
    end
    local name, rest = source:match('^%s*(%u[%u%d_]*)([^\n]*)$')
    if not name or not (rest == '' or rest:find('^%s') or rest:find('^%.%u')) then
        return nil
    end
    -- NAME = 1, NAME:method() and the like are Lua.
    return not rest:find('^%s*[=(%[:,{]') and not rest:find('^%s*%.%.') and source:match('^%s*(.*)$') or nil
end

--- Whether the input is for Redis; names are asked of the server once.
function redis.is(console, source)
    local line = redis.parse(source)
    if not line then
        return false
    elseif source:find('^%s*/') then
        return true
    end
    local names = redis.names(console)
    return names[line:match('^[%u%d_.]+'):lower()] ~= nil
end

-- --------------------------------------------------------------------------------- connection

local function raise(reply)
    error({ code = 0, name = 'ERROR_LUA', message = reply.text }, 0)
end

local function is_error(reply)
    return type(reply) == 'table' and reply.kind == 'error'
end

local function state_of(console)
    console.redis_state = console.redis_state or { database = 0 }
    return console.redis_state
end

local function open(console)
    local link = resp.connect(console.address, {
        user = console.admin_key and 'admin' or console.user,
        password = console.admin_key or console.password,
        tls = console.tls,
        timeout = CONNECT_SECONDS,
        interrupted = console.interactive and console.native.interrupted or nil,
    })
    link.database = 0
    return link
end

--- Takes the connection into the database of the prompt: a new one begins in 0, and SELECT within a
--- transaction that was typed is not told to it.
local function in_database(console, link)
    local state = state_of(console)
    if link.database ~= state.database then
        local reply = link:request({ 'SELECT', tostring(state.database) })
        if is_error(reply) then
            state.database = link.database
            raise(reply)
        end
        link.database = state.database
    end
    return link
end

local function close_ended(console, name)
    local ended = console[name] and not console[name]:alive()
    if ended then
        console[name]:close()
        console[name] = nil
    end
    return ended or false
end

--- Closes what has ended, as console:look has it; whether there was something.
function redis.look(console)
    local state = state_of(console)
    local spare = close_ended(console, 'redis_spare')
    return not state.multi and not state.watching and close_ended(console, 'redis') or spare
end

--- The connection `name`, made when it is wanted first and after it was lost.
local function opened(console, name)
    console:look()
    if not console[name] or not console[name].socket then
        console[name] = open(console)
        console:connected()
    end
    return in_database(console, console[name])
end

--- The one of what the console asks by itself: another one while MULTI would queue it.
local function asking(console)
    return opened(console, state_of(console).multi and 'redis_spare' or 'redis')
end

--- Closes what there is. The database stays that of the prompt; gives what is to be told of what is gone.
function redis.close(console)
    local state = state_of(console)
    local gone = state.multi and '; what MULTI had queued is dropped'
        or state.watching and '; what WATCH looked after is forgotten' or nil
    for _, name in ipairs({ 'redis', 'redis_spare' }) do
        if console[name] then
            console[name]:close()
            console[name] = nil
        end
    end
    state.multi, state.queued, state.watching = nil, nil, nil
    return gone
end

--- The reply to a command that the console itself asks.
function redis.ask(console, ...)
    local reply = asking(console):request({ ... })
    if is_error(reply) then
        raise(reply)
    end
    return reply
end

--- Names of commands, in small letters, as keys.
---@return table<string, boolean>
function redis.names(console)
    if not console.redis_names then
        local ok, reply = pcall(redis.ask, console, 'COMMAND', 'LIST')
        if not ok then
            return {}
        end
        console.redis_names = {}
        for _, name in ipairs(reply) do
            console.redis_names[name] = true
        end
    end
    return console.redis_names
end

-- ------------------------------------------------------------------------------------- output

local shown = { ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\b'] = '\\b', ['\a'] = '\\a', ['"'] = '\\"',
    ['\\'] = '\\\\' }

--- A string as redis-cli writes it, but characters of UTF-8 as they are.
local function quote(s)
    local function escape(c)
        return shown[c] or ('\\x%02x'):format(c:byte())
    end
    if text.is_utf8(s) then
        return '"' .. text.printable((s:gsub('[%c"\\]', escape))) .. '"'
    end
    return '"' .. s:gsub('[%c"\\\128-\255]', escape) .. '"'
end

local marks = { array = ')', set = '~', push = ')', map = '#' }

local show

local function show_list(reply, indent)
    if #reply == 0 then
        return ('(empty %s)'):format(reply.kind == 'map' and 'hash' or reply.kind)
    end
    local step = reply.kind == 'map' and 2 or 1
    local count = #reply / step
    local width = #tostring(count)
    local lines = {}
    for n = 1, count do
        local lead = ('%' .. width .. 'd%s '):format(n, marks[reply.kind])
        local inner = indent .. (' '):rep(#lead)
        local item = show(reply[(n - 1) * step + 1], inner)
        if step == 2 then
            item = item .. ' => ' .. show(reply[n * step], inner .. (' '):rep(text.width(item) + 4))
        end
        lines[n] = (n > 1 and indent or '') .. lead .. item
    end
    return table.concat(lines, '\n')
end

function show(reply, indent)
    if reply == nil then
        return '(nil)'
    elseif type(reply) == 'string' then
        return quote(reply)
    elseif type(reply) == 'boolean' then
        return ('(%s)'):format(tostring(reply))
    elseif type(reply) ~= 'table' then
        return '(integer) ' .. value.scalar(reply)
    elseif marks[reply.kind] then
        return show_list(reply, indent)
    elseif reply.kind == 'verbatim' then
        return text.printable((reply.text:gsub('\r\n', '\n')), '\n\t'):gsub('\n+$', '')
    elseif reply.kind == 'error' then
        return '(error) ' .. text.printable(reply.text)
    elseif reply.kind == 'double' then
        return '(double) ' .. reply.text
    end
    return text.printable(reply.text)
end

--- A reply as redis-cli shows it on a terminal.
---@return string
function redis.show(reply)
    return (show(reply, ''))
end

--- A reply as a value of Lua, for the other formats.
function redis.plain(reply)
    if type(reply) ~= 'table' then
        return reply
    elseif reply.kind == 'map' then
        local map = msgpack.map({})
        for n = 1, #reply, 2 do
            local key = redis.plain(reply[n])
            map[type(key) == 'table' and redis.show(reply[n]) or key] = redis.plain(reply[n + 1])
        end
        return map
    elseif marks[reply.kind] then
        local list = {}
        for n = 1, #reply do
            list[n] = redis.plain(reply[n])
        end
        return list
    elseif reply.kind == 'double' then
        return tonumber(reply.text)
    end
    return reply.text
end

-- ------------------------------------------------------------------------------------ running

--- What redis.call gave in Lua, as a reply.
local function of_lua(v)
    if v == false then
        return resp.NULL
    elseif type(v) ~= 'table' then
        return v
    elseif value.is_map(v) and type(v.ok) == 'string' then
        return { kind = 'status', text = v.ok }
    elseif value.is_map(v) and v.double then
        return { kind = 'double', text = value.scalar(v.double) }
    elseif value.is_map(v) then
        local reply = { kind = 'map' }
        for _, key in ipairs(value.sorted_keys(v.map or v)) do
            reply[#reply + 1], reply[#reply + 2] = key, of_lua((v.map or v)[key])
        end
        return reply
    end
    local reply = { kind = 'array' }
    for n = 1, #v do
        reply[n] = of_lua(v[n])
    end
    return reply
end

--- In the prompt, what Redis's own state is: a database, MULTI. `link`: on which it was run, nil within a
--- transaction that was typed.
local function note_state(console, words, reply, link)
    local verb = words[1]:lower()
    local state = state_of(console)
    local status = type(reply) == 'table' and reply.kind == 'status' and reply.text
    local database
    if verb == 'select' and status == 'OK' then
        database = tonumber(words[2])
    elseif verb == 'select' and status == 'QUEUED' then
        state.queued = tonumber(words[2])
    elseif verb == 'multi' and status == 'OK' then
        state.multi = true
    elseif verb == 'watch' and status == 'OK' then
        state.watching = true
    elseif verb == 'unwatch' then
        state.watching = nil
    elseif verb == 'exec' or verb == 'discard' or verb == 'reset' then
        database = verb == 'reset' and 0
            or verb == 'exec' and type(reply) == 'table' and reply.kind == 'array' and state.queued or nil
        state.multi, state.queued, state.watching = nil, nil, nil
    end
    if database then
        state.database = database
        if link then
            link.database = database
        end
    end
end

--- Shows a reply; an error of Redis's fails the input.
local function deliver(console, reply)
    if is_error(reply) then
        console:fail({ message = reply.text, code = 0 })
    else
        console:show_reply(reply)
    end
end

--- Shows what is pushed until the user interrupts, or the connection ends.
local function listen(console, link)
    if console.interactive then
        console:print('(listening; Ctrl-C ends it)')
    end
    while true do
        local ok, reply = pcall(link.read, link)
        if not ok and reply.code == client.INTERRUPTED then
            console:print('')
            return redis.close(console)
        elseif not ok then
            error(reply, 0)
        end
        deliver(console, reply)
    end
end

-- A statement of a transaction, whose requests each begin in database 0.
local CALL = [[
local database = ...
redis.setresp(3)
if database ~= 0 then
    redis.call('SELECT', database)
end
return redis.call(select(2, ...))
]]

--- Runs it as a part of the transaction that was typed.
local function run_within(console, words)
    local where, database = console.transaction, state_of(console).database
    local reply = of_lua(console:try(where.eval, where, CALL, database, unpack(words)))
    note_state(console, words, reply)
    deliver(console, reply)
end

--- Runs a line of Redis and shows its reply.
---@param console table
---@param source string
function redis.run(console, source)
    local words = redis.words(redis.parse(source))
    if not words then
        error({ message = 'the quotes do not end, or something follows them without a blank' }, 0)
    elseif console.transaction then
        return run_within(console, words)
    end
    local link = opened(console, 'redis')
    local ok, reply = pcall(link.request, link, words, function(push) deliver(console, push) end)
    if not ok then
        console.lost = console.lost or type(reply) == 'table' and reply.code == client.LOST
        local gone = redis.close(console)
        if gone and type(reply) == 'table' then
            reply.message = reply.message .. gone
        end
        error(reply, 0)
    end
    note_state(console, words, reply, link)
    deliver(console, reply)
    if is_error(reply) then
        console:advise(source, nil)
    end
    local verb = words[1]:lower()
    if not is_error(reply) and (verb == 'monitor' or verb:find('^[ps]?subscribe$')) then
        listen(console, link)
    elseif verb == 'quit' then
        redis.close(console)
        console.redis_state = nil
    end
end

return redis
