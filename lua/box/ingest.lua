-- SPDX-License-Identifier: Apache-2.0
--
-- Rows that become part of a space as finished files: db/ingest.h.

local core = require('box.core')
local encode = require('box.encode')
local job = require('box.job')
local tuple = require('box.tuple')

local native, raise = core.native, core.raise

local ingest = {}

local function add(handle, content)
    if type(content) ~= 'table' and not tuple.is(content) then
        raise(core.ERROR_INVALID, 'a tuple or a table is expected')
    end
    encode.array(0, content)
    native.ingest_add(handle)
end

local function is_list(source)
    local meta = getmetatable(source)
    return type(source) == 'table' and meta ~= 'iterator' and not (type(meta) == 'table' and meta.__call)
end

--- A table with other keys is no list: what it has there would be passed over.
local function list_check(source)
    local size = #source
    for key in pairs(source) do
        if type(key) ~= 'number' or key < 1 or key > size or key % 1 ~= 0 then
            raise(core.ERROR_INVALID, 'a list of tuples or an iterator is expected: this table has the key '
                .. tostring(key) .. ', where a list has 1 to its length')
        end
    end
end

--- Adds each tuple of a list, or of an iterator that gives them alone or behind its state.
local function add_all(handle, source, param, state)
    if is_list(source) then
        for n = 1, #source do
            add(handle, source[n])
        end
        return
    end
    for first, second in source, param, state do
        add(handle, second == nil and first or second)
    end
end

--- How many they were, and whether there is a job of it. Whatever fails, the handle is to be ended.
local function take(handle, source, param, state)
    add_all(handle, source, param, state)
    return native.ingest_run(handle)
end

--- Makes tuples, in any order, part of a space of the engine 'lsm' at once, without the log and a
--- transaction. Rows with their keys are replaced; triggers do not run.
---@param source table|function a list, what pairs gives, or a function that gives one each time
---@return number rows how many there were
function ingest.all(space_id, source, param, state)
    if type(source) ~= 'table' and type(source) ~= 'function' then
        raise(core.ERROR_INVALID, 'a list of tuples or an iterator is expected')
    end
    if is_list(source) then
        list_check(source)
    end
    local handle = native.ingest_begin(space_id)
    local ok, rows, pending = pcall(take, handle, source, param, state)
    if not ok then -- beyond a limit on time nothing runs here: C ends it with the request, or the procedure
        native.ingest_end(handle)
        error(rows, 0)
    end
    job.finish(pending)
    return rows
end

return ingest
