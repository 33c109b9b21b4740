-- SPDX-License-Identifier: Apache-2.0
--
-- \help: an overview, topics, what a function of Lua or a command of Redis's takes.

local redis = require('console.redis')
local resp = require('console.resp')
local signature = require('console.signature')
local text = require('console.text')

local help = {}

local OVERVIEW = [[
Lua is run on the server, each input as one piece; an expression's value is shown.

  box.schema.space.create('people', {format = {{'id', 'unsigned'}, {'name', 'string'}}})
  box.space.people:create_index('primary', {parts = {'id'}})
  box.space.people:insert{1, 'Ada'}
  box.space.people:select()

So are Redis's commands, in capitals or behind a slash:  SET key value   /get key

  \d [SPACE]   spaces               \df [NAME]  stored procedures
  \dt [SPACE]  triggers             \dm         modules
  \l           sessions and locks   \stat       figures, live
  \set output json                  how results look; \set alone lists what can be set
  \x           a line for each field   \timing  how long it took
  \watch 2     the last input again, each two seconds
  \i FILE      runs a file          \o FILE     results go there; \o ends it
  \e           the last input in the editor
  \help TOPIC  transactions, redis, output, keys, debugging, scripts; or a name: insert, GET
  \tutorial    two minutes, step by step
  \q           leaves (Ctrl-D)

Tab completes, Ctrl-C drops what was typed, an input ends when it is a whole piece of Lua.]]

local topics = {}

topics.transactions = [[
  BEGIN [level] [READ ONLY]         inputs after it are one transaction, until
  COMMIT, ROLLBACK                  (also: box.begin(), box.commit(), box.rollback())
  SAVEPOINT name, ROLLBACK TO name, RELEASE name

Levels: serializable, snapshot, read committed, read uncommitted. The prompt says that one is open, and
'transaction lost' when it can only be rolled back. Redis commands are part of it, too.]]

topics.redis = [[
  SET greeting hello                a line that begins with a command in capitals
  /get greeting                     or with a slash, in small letters
  SET greeting "two words\n"        quotes as in redis-cli

Replies look as in redis-cli, or as \set output says. Within BEGIN they are part of the transaction, like
redis.call in Lua. SELECT, MULTI, SUBSCRIBE, MONITOR do what they do for any client; Ctrl-C ends listening.
\help COMMAND shows what one takes.]]

topics.output = [[
  \set output table|lua|json|yaml|csv|markdown
  \set types on                     the types of fields below their names
  \x                                a line for each field
  \o FILE                           results go into the file, \o ends it
  \set paging off                   no pager (PAGER, else less)
  \timing off                       no times
  \set colored off                  no colours (also: NO_COLOR in the environment)]]

topics.keys = [[
  Tab              completes, or lists what there is
  Ctrl-C           drops what was typed; stops what runs
  Ctrl-D           leaves, in an empty line
  Ctrl-R           searches in the history; Ctrl-R again: further back
  Up, Down         other lines, then the history (Ctrl-P, Ctrl-N: the history)
  Ctrl-A, Ctrl-E   to the beginning and the end of the line (Home, End)
  Alt-B, Alt-F     words (Ctrl-Left, Ctrl-Right)
  Ctrl-W, Alt-D    cuts a word, before and behind the cursor
  Ctrl-U, Ctrl-K   cuts to the beginning, to the end; Ctrl-Y puts it back
  Ctrl-T           swaps two characters
  Ctrl-L           clears the screen
  Alt-Enter        a new line, whatever was typed
  Ctrl-Z           suspends]]

topics.debugging = [[
  \break NAME:LINE [CONDITION]      what is run stops there; \breakpoints, \delete N or all
  \step LUA                         runs it, and stops at its first line
  \step, \next, \finish, \continue  one line; not into calls; out of this function; on
  \where, \up, \down, \locals, \print EXPRESSION, \kill]]

topics.scripts = [[
  perigee console -e 'LUA' -e '\d'  runs texts and ends with status 0, or 1 if one has failed
  perigee console <file             runs what the file has
  perigee console -o json -e ..     a line of JSON for each row; also lua, yaml, csv, markdown]]

--- The arguments of a command of Redis's as its documentation writes them.
local function argument_text(argument)
    local about = {}
    for n = 1, #argument, 2 do
        about[argument[n]] = argument[n + 1]
    end
    local flags = {}
    for _, flag in ipairs(about.flags or {}) do
        flags[type(flag) == 'table' and flag.text or flag] = true
    end
    local parts = {}
    for n, one in ipairs(about.arguments or {}) do
        parts[n] = argument_text(one)
    end
    local s = table.concat(parts, about.type == 'oneof' and ' | ' or ' ')
    if s == '' then
        s = about.type ~= 'pure-token' and (about.display_text or about.name) or ''
    elseif about.type == 'oneof' and not flags.optional then
        s = '<' .. s .. '>'
    end
    if about.token then
        s = about.token .. (s ~= '' and ' ' .. s or '')
    end
    if flags.multiple then
        s = s .. ' [' .. s .. ' ...]'
    end
    return flags.optional and '[' .. s .. ']' or s
end

--- What a command takes: {arguments, about}, or nil when the server knows none of that name.
---@param console table
---@param name string
---@return table?
function help.of_redis(console, name)
    name = name:lower()
    console.redis_help = console.redis_help or {}
    if console.redis_help[name] == nil then
        local ok, reply = pcall(redis.ask, console, 'COMMAND', 'DOCS', name)
        local found = ok and type(reply) == 'table' and reply[2]
        if not found or found == resp.NULL then
            console.redis_help[name] = false
        else
            local about, parts = {}, {}
            for n = 1, #found, 2 do
                about[found[n]] = found[n + 1]
            end
            for n, argument in ipairs(about.arguments or {}) do
                parts[n] = argument_text(argument)
            end
            console.redis_help[name] = { arguments = table.concat(parts, ' '), about = about.summary or '',
                since = about.since, group = about.group }
        end
    end
    return console.redis_help[name] or nil
end

local function help_of_name(console, name)
    local found = signature.of((name:gsub('%(.*$', '')))
    if found then
        console:emit(('%s%s\n  %s'):format(name:match('[%w_]+$') or name, found.arguments, found.about))
        return true
    end
    found = help.of_redis(console, name)
    if found then
        console:emit(text.printable(('%s %s'):format(name:upper(), found.arguments):gsub('%s+$', ''))
            .. '\n  ' .. text.printable(tostring(found.about)))
        return true
    end
    return false
end

--- \help, \help TOPIC, \help NAME
---@param console table
---@param argument string
function help.run(console, argument)
    if argument == '' then
        console:emit(OVERVIEW)
    elseif topics[argument:lower()] then
        console:emit(topics[argument:lower()])
    elseif not help_of_name(console, argument) then
        error({ message = ("there is no help about '%s'; \\help lists topics"):format(argument) }, 0)
    end
end

--- Topics, for completion.
function help.topics()
    local names = {}
    for name in pairs(topics) do
        names[#names + 1] = name
    end
    table.sort(names)
    return names
end

return help
