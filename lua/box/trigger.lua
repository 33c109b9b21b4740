-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema.trigger: functions that run within statements, or when something happens.
--
-- A trigger is a row of _trigger, so every worker has the same ones: each compiles them from the
-- catalog when the schema version has changed, and keeps those whose text has not. C says when those
-- of an event have to run (src/lua/trigger.c); which they are, and in which order, is kept here.

local ffi = require('ffi')
local core = require('box.core')
local procedure = require('box.procedure')
local tuple = require('box.tuple')
local transaction = require('box.transaction')

local native, api, runtime = core.native, core.api, core.runtime
local raise, NULL = core.raise, core.NULL

local trigger = {}

--- How deep triggers may make statements that run triggers.
local DEPTH_MAX = 16

local of_spaces = {
    instead_of = true, before_replace = true, on_replace = true, on_delete = true, statement = true,
}
local of_server = {
    on_begin = true, on_commit = true, on_rollback = true, on_schema_change = true,
    on_connect = true, on_disconnect = true, on_auth = true, on_start = true,
}

-- --------------------------------------------------------------------------------- compiling

--- What procedures and triggers find in their environments; set by box/init.lua.
local globals = {}

function trigger.set_globals(given)
    globals = given
end

local PARAMETERS = 'old, new, space_name, operation, key, operations'

--- The source of a body: a function, or a chunk that sees the parameters.
local function body_source(event, body)
    if not of_spaces[event] or procedure.is_expression(body) then
        return body
    end
    return ('local %s = ...; '):format(PARAMETERS) .. body
end

--- The source of a condition: a function, or an expression of the parameters.
local function condition_source(condition)
    if procedure.is_expression(condition) then
        return condition
    end
    return ('function(%s) return (%s\n) end'):format(PARAMETERS, condition)
end

local function call_function(name)
    return function(...)
        return native.procedure(name)(...)
    end
end

--- A trigger has the rights of who made it, whoever makes the statement.
local function for_owner(owner, fn)
    return function(...)
        if native.euid() == owner then
            return fn(...)
        end
        return native.run_as(owner, fn, ...)
    end
end

-- Functions that a file has given, by the trigger's name: they live as long as its state.
local given = {}

--- A function of a file is in the file's own state only, and ends with its process.
local function given_function(name)
    return given[name] or function()
        raise(core.ERROR_UNSUPPORTED, ('trigger %s is a function of a file that runs, and only that can '
            .. 'write to its space'):format(name))
    end
end

local function compile(row)
    local name, body, options = row[3], row[5], row[6]
    local chunk = 'trigger ' .. name
    local made = {
        body = body, event = options.event, when = options.when, func = options.func, owner = row[2],
    }
    if options.process then
        made.run = given_function(name)
    elseif options.func then
        made.run = call_function(options.func)
    else
        made.run = procedure.compile_body(chunk, body_source(options.event, body), globals)
    end
    if options.when then
        made.accepts = procedure.compile_body(chunk .. ' when', condition_source(options.when), globals)
        made.accepts = for_owner(row[2], made.accepts)
    end
    if not options.process then
        made.run = for_owner(row[2], made.run)
    end
    return made
end

-- By name: what has been compiled, and from what.
local kept = {}

local function compiled(row)
    local name, options = row[3], row[6]
    local made = kept[name]
    if not made or options.process or made.body ~= row[5] or made.event ~= options.event
            or made.when ~= options.when or made.func ~= options.func or made.owner ~= row[2] then
        made = compile(row)
    end
    return made
end

-- ------------------------------------------------------------------------------- which there are

-- Space id (0: of no space) -> event -> triggers in order: {name, run, accepts}.
local lists, lists_version = {}, -1
local NONE = {}

local function before(left, right)
    if left.order ~= right.order then
        return left.order < right.order
    end
    return left.id < right.id
end

local function refresh()
    local version = api.schema_version(runtime)
    if version == lists_version then
        return
    end
    local found, keep = {}, {}
    for _, row in ipairs(native.triggers()) do
        local id, name, space_id, options = row[1], row[3], row[4], row[6]
        local ended = options.process and options.process ~= native.process
        if options.enabled ~= false and not ended then
            local made = compiled(row)
            keep[name] = made
            local of_space = found[space_id] or {}
            found[space_id] = of_space
            local list = of_space[options.event] or {}
            of_space[options.event] = list
            list[#list + 1] = {
                id = id, name = name, order = options.order or 0, run = made.run, accepts = made.accepts,
            }
        end
    end
    for _, of_space in pairs(found) do
        for _, list in pairs(of_space) do
            table.sort(list, before)
        end
    end
    lists, kept, lists_version = found, keep, version
end

--- The triggers of an event, in order.
local function list_of(space_id, event)
    refresh()
    local of_space = lists[space_id]
    return of_space and of_space[event] or NONE
end

-- --------------------------------------------------------------------------------- running them

local rows = ffi.cast('struct perigee_row *', native.trigger_rows)

local function row_at(position, space_id)
    local row = rows[position]
    if row.data == nil then
        return nil
    end
    return tuple.copy(row.data, row.size, space_id)
end

-- The names of the triggers that run within each other.
local chain = {}

local function check_depth(name, depth)
    chain[depth] = name
    if depth > DEPTH_MAX then
        raise(core.ERROR_LUA, ('triggers run triggers more than %d deep: %s'):format(DEPTH_MAX,
            table.concat(chain, ' > ', 1, depth)))
    end
end

--- What a trigger that may change the row has returned: whether it did, and to what.
local function wanted(name, space_id, current, ...)
    if select('#', ...) == 0 then
        return false, current
    end
    local new = ...
    if new == nil or new == NULL then
        return true, nil
    elseif tuple.is(new) then
        return true, new
    elseif type(new) == 'table' then
        local made = tuple.new(new)
        return true, tuple.of_space and tuple.of_space(made, space_id) or made
    end
    raise(core.ERROR_INVALID, ('trigger %s gave a %s: a tuple, a table, nil or nothing is expected'):format(
        name, type(new)))
end

local gives_row = { before_replace = true, instead_of = true }

--- Called by C: runs the triggers of a space and event on the rows that it has left. Returns whether
--- the new row is another now, and which.
function trigger.run(event, space_id, operation, depth, key, operations)
    local list = list_of(space_id, event)
    local old, new = row_at(0, space_id), row_at(1, space_id)
    local space = native.space_name(space_id)
    local changed = false
    for position = 1, #list do
        local each = list[position]
        check_depth(each.name, depth)
        if not each.accepts or each.accepts(old, new, space, operation, key, operations) then
            if gives_row[event] then
                local this
                this, new = wanted(each.name, space_id, new,
                    each.run(old, new, space, operation, key, operations))
                changed = changed or this
            else
                each.run(old, new, space, operation, key, operations)
            end
        end
    end
    return changed, new
end

--- Runs the triggers of an event of no space; an error in one is raised.
function trigger.run_event(event, ...)
    local list = list_of(0, event)
    for position = 1, #list do
        local each = list[position]
        if not each.accepts or each.accepts(...) then
            each.run(...)
        end
    end
end

--- A transaction has begun.
function trigger.begun()
    refresh()
    local of_server_events = lists[0]
    if not of_server_events then
        return
    end
    if of_server_events.on_commit then
        transaction.on_commit(function() trigger.run_event('on_commit') end)
    end
    if of_server_events.on_rollback then
        transaction.on_rollback(function() trigger.run_event('on_rollback') end)
    end
    trigger.run_event('on_begin')
end
transaction.set_triggers(trigger.begun, native.schema_changed)

-- ------------------------------------------------------------------------------- made and dropped

local function check_name(name)
    if type(name) ~= 'string' then
        raise(core.ERROR_INVALID, 'the name of a trigger is a string')
    end
end

local function find(name)
    for _, row in ipairs(native.triggers()) do
        if row[3] == name then
            return row
        end
    end
end

local known = {
    space = true, event = true, body = true, func = true, when = true, filter = true, order = true,
    enabled = true, comment = true, if_not_exists = true, replace = true,
}

local CLOSURES = 'a Lua function can\'t be a trigger, because every worker has Lua of its own: give its '
    .. 'source as text, or the name of a stored procedure: box.schema.func.create(..)'

local function check_type(options, name, kind)
    local value = options[name]
    if kind == 'string' and type(value) == 'function' then
        raise(core.ERROR_INVALID, CLOSURES)
    elseif value ~= nil and type(value) ~= kind then
        raise(core.ERROR_INVALID, ('option "%s" of a trigger is a %s'):format(name, kind))
    end
end

--- The number of the space that options name; 0: of none.
local function space_of(options)
    local event, which = options.event, options.space
    if of_server[event] then
        if which ~= nil then
            raise(core.ERROR_INVALID, event .. ' triggers belong to no space')
        end
        return 0
    elseif not of_spaces[event] then
        raise(core.ERROR_INVALID, 'unknown event of a trigger: ' .. tostring(event))
    end
    local key = type(which) == 'table' and which.id or which
    local space = key ~= nil and native.space(key)
    if not space then
        raise(core.ERROR_NOT_FOUND, 'there is no space ' .. tostring(key))
    elseif space.system then
        raise(core.ERROR_ACCESS, ('system space "%s" can\'t have triggers'):format(space.name))
    elseif space.view and event ~= 'instead_of' then
        local message = 'space "%s" is a view, which has no rows: it takes instead_of triggers only'
        raise(core.ERROR_INVALID, message:format(space.name))
    end
    return space.id
end

local function check_options(options)
    if type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'a trigger needs options: {space = .., event = .., body = ..}')
    end
    for name in pairs(options) do
        if not known[name] then
            raise(core.ERROR_INVALID, 'a trigger has no option "' .. tostring(name) .. '"')
        end
    end
    if not (native.trusted and type(options.body) == 'function') then
        check_type(options, 'body', 'string')
    end
    check_type(options, 'func', 'string')
    check_type(options, 'when', 'string')
    check_type(options, 'filter', 'string')
    check_type(options, 'order', 'number')
    check_type(options, 'enabled', 'boolean')
    check_type(options, 'comment', 'string')
    if (options.body == nil) == (options.func == nil) then
        raise(core.ERROR_INVALID, 'a trigger has either a body, which is Lua source, or a func, which is the '
            .. 'name of a procedure')
    end
    if options.func and native.function_info(options.func) == nil then
        raise(core.ERROR_NOT_FOUND, 'there is no procedure ' .. options.func)
    end
end

--- Raises what is wrong with the source.
local function check_source(name, options, condition)
    if type(options.body) == 'string' then
        procedure.check('trigger ' .. name, body_source(options.event, options.body))
    end
    if condition then
        procedure.check('trigger ' .. name .. ' when', condition_source(condition))
    end
end

local functions = {}

--- box.schema.trigger.create(name, {space, event, body or func, when, order, enabled, comment,
--- if_not_exists, replace})
function functions.create(name, options)
    check_name(name)
    check_options(options)
    local space_id, condition = space_of(options), options.when or options.filter
    check_source(name, options, condition)
    local body, process = options.body, nil
    if type(body) == 'function' then
        given[name], body, process = body, '', native.process
    end
    while true do
        local present = find(name)
        if present and options.if_not_exists then
            return
        elseif present and not options.replace then
            local message = 'trigger "%s" exists already: {replace = true} replaces it'
            raise(core.ERROR_EXISTS, message:format(name))
        end
        local row = {
            present and present[1] or NULL, native.euid(), name, space_id, body or '', {
                process = process, event = options.event, func = options.func, when = condition,
                order = options.order,
                enabled = options.enabled, comment = options.comment,
            },
        }
        local ok, err = pcall(native.trigger_put, row, not present)
        if ok then
            return
        elseif not (type(err) == 'table' and err.code == core.ERROR_EXISTS) then
            error(err, 0)
        end -- another worker was faster
    end
end

--- box.schema.trigger.drop(name, {if_exists})
function functions.drop(name, options)
    check_name(name)
    local present = find(name)
    if present then
        native.trigger_drop(present[1])
    elseif not (type(options) == 'table' and options.if_exists) then
        raise(core.ERROR_NOT_FOUND, ('there is no trigger "%s"'):format(name))
    end
end

local function set_enabled(name, enabled)
    check_name(name)
    local row = find(name)
    if not row then
        raise(core.ERROR_NOT_FOUND, ('there is no trigger "%s"'):format(name))
    end
    row[6].enabled = enabled
    native.trigger_put(row, false)
end

--- box.schema.trigger.enable(name), disable(name): it stays, and does not run.
function functions.enable(name)
    set_enabled(name, true)
end

function functions.disable(name)
    set_enabled(name, false)
end

local function describe(row)
    local options = row[6]
    local space = row[4] ~= 0 and native.space_name(row[4]) or nil
    return {
        id = row[1], name = row[3], space = space, event = options.event,
        body = not options.func and row[5] or nil, func = options.func, when = options.when,
        order = options.order or 0, enabled = options.enabled ~= false, comment = options.comment,
    }
end

--- box.schema.trigger.info(name): what is known of one, or nil.
function functions.info(name)
    check_name(name)
    local row = find(name)
    return row and describe(row)
end

--- box.schema.trigger.exists(name)
function functions.exists(name)
    check_name(name)
    return find(name) ~= nil
end

--- box.schema.trigger.list([space]): all of them, or those of a space, in the order in which they run.
function functions.list(which)
    local space = which ~= nil and native.space(type(which) == 'table' and which.id or which)
    local result = {}
    for _, row in ipairs(native.triggers()) do
        if which == nil or (space and row[4] == space.id) then
            result[#result + 1] = describe(row)
        end
    end
    table.sort(result, function(left, right)
        if left.event ~= right.event then
            return left.event < right.event
        end
        return before(left, right)
    end)
    return result
end

trigger.functions = functions

-- --------------------------------------------------------------------------- as methods of a space

--- space:create_trigger(name, options)
function trigger.create_of_space(self, name, options)
    local copy = {}
    for key, value in pairs(type(options) == 'table' and options or {}) do
        copy[key] = value
    end
    copy.space = self.id
    functions.create(name, copy)
end

--- A name that no trigger has.
local function free_name(prefix)
    local number = 1
    while find(prefix .. number) do
        number = number + 1
    end
    return prefix .. number
end

--- space:on_replace(source or procedure, [name]) and its like: makes a trigger and returns its name,
--- which {nil, name} drops. Without arguments: the names.
function trigger.method(event)
    return function(self, what, name)
        if what == nil and name == nil then
            local names = {}
            for _, each in ipairs(functions.list(self.id)) do
                if each.event == event then
                    names[#names + 1] = each.name
                end
            end
            return names
        elseif what == nil then
            functions.drop(name)
            return nil
        elseif type(what) == 'function' and self == trigger.server then
            raise(core.ERROR_INVALID, ('box.session.%s takes Lua source or the name of a procedure, as '
                .. 'box.schema.trigger.create does: a function would be in one worker only'):format(event))
        elseif type(what) == 'function' and not native.trusted then
            raise(core.ERROR_INVALID, CLOSURES)
        elseif type(what) ~= 'string' and type(what) ~= 'function' then
            raise(core.ERROR_INVALID, event .. ' needs Lua source, or the name of a procedure')
        end
        local options = { event = event, space = self.id, replace = name ~= nil }
        if type(what) == 'string' and native.function_info(what) then
            options.func = what
        else
            options.body = what
        end
        name = name or free_name(('%s.%s.'):format(self.name, event))
        functions.create(name, options)
        return name
    end
end

--- What events of no space belong to, where spaces have methods.
trigger.server = { name = 'session' }

--- box.session.on_connect(source or procedure, [name]): as space:on_replace.
function trigger.of_session(event)
    local method = trigger.method(event)
    return function(what, name)
        return method(trigger.server, what, name)
    end
end

return trigger
