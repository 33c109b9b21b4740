-- SPDX-License-Identifier: Apache-2.0
--
-- What runs on the server for `perigee load` and `perigee dump`, as text that is sent there.
--
-- How far a load has come is a row of the space perigee_load, {space, name, 0, info}, written in the
-- transaction of the batch that it is about; so a batch is there with its position or not at all. A batch
-- says where in the file it begins, and is refused where the position is another: neither one that was sent
-- twice nor one that overtook another does anything. Records that were refused are rows behind it,
-- {space, name, 1..}: where they are in the file, and why.

local server = {}

--- What is known of a space, or nil: (name).
server.SPACE = [[
local space = box.space[...]
if not space then return nil end
local fields = {}
for n, field in ipairs(space:format() or {}) do
    fields[n] = { name = field.name, type = field.type, is_nullable = field.is_nullable or false,
        has_default = field.default ~= nil or field.default_func ~= nil or field.generated ~= nil }
end
local first = space.index[0]
return { id = space.id, fields = fields, has_index = first ~= nil }
]]

--- Makes a space: (name, format, fields of the primary key, engine or nil).
server.CREATE = [[
local name, format, parts, engine = ...
local space = box.schema.space.create(name, { format = format, engine = engine })
local ok, problem = pcall(space.create_index, space, 'primary', { parts = parts })
if not ok then
    space:drop()
    error(problem, 0)
end
]]

--- How far a load is: (space, name, again, how). Gives {position, ..}, or its options if they are others.
server.START = [[
local name, key, again, how = ...
if not (box.space.perigee_load and box.space.perigee_load.index[0]) then
    box.schema.space.create('perigee_load', { if_not_exists = true, format = {
        { 'space', 'unsigned' }, { 'name', 'string' }, { 'record', 'unsigned' }, { 'info', 'map' } } })
    box.space.perigee_load:create_index('primary', { parts = { 'space', 'name', 'record' },
        if_not_exists = true })
end
local progress = box.space.perigee_load
local id = box.space[name].id
return box.atomic({ retry = 10 }, function()
    local incarnation = box.space._space:get(id)[6].incarnation -- another when it was emptied, or made anew
    local before = progress:get({ id, key, 0 })
    if again or (before and before.info.incarnation ~= incarnation) then
        for _, row in ipairs(progress:select({ id, key })) do
            progress:delete({ id, key, row.record })
        end
    end
    local row = progress:get({ id, key, 0 })
    if not row then
        row = progress:insert({ id, key, 0, { position = 0, line = 1, crc = 0, loaded = 0, rejected = 0,
            done = false, how = how, incarnation = incarnation } })
    end
    return row.info
end)
]]

--- The next records that were refused: (space, name, behind which number).
server.REJECTS = [[
local name, key, after = ...
local id = box.space[name].id
local found = {}
for _, row in box.space.perigee_load:pairs({ id, key, after }, { iterator = 'GT' }) do
    if row.space ~= id or row.name ~= key or #found == 1000 then break end
    found[#found + 1] = { row.record, row.info }
end
return found
]]

--- A batch: (space, name, mode, skip, most, state, rows, count, spans, refused). `state` is {from,
--- position, ..}, `spans` where each row is in the file, if rows that the server refuses are to be
--- skipped, `refused` what was no row. Gives {'done', rows of the load, refused of it}, {'elsewhere',
--- position}, {'failed', n, message, name}, {'many'}.
server.BATCH = [[
local name, key, mode, skip, most, state, rows, count, spans, refused = ...
local skippable = { ERROR_INVALID = true, ERROR_DUPLICATE = true, ERROR_SCHEMA = true,
    ERROR_CONSTRAINT = true,
    ERROR_LUA = true, ERROR_TOO_LARGE = true, ERROR_TYPE = true, ERROR_EXISTS = true, ERROR_NOT_FOUND = true }
local space, progress, from_msgpack = box.space[name], box.space.perigee_load, box.tuple.from_msgpack
local id, put = space.id, space[mode]
local answer
local function text_of(problem)
    return type(problem) == 'table' and tostring(problem.message) or tostring(problem)
end
local function name_of(problem)
    return type(problem) == 'table' and problem.name or type(problem) == 'string' and 'ERROR_LUA' or nil
end
local function run()
    answer = nil
    local before = progress:get({ id, key, 0 })
    if not before or before.info.position ~= state.from then
        return { 'elsewhere', before and before.info.position or -1 }
    end
    before = before.info
    local rejected, loaded, offset, tuple = before.rejected, before.loaded + count, 1, nil
    local function reject(info)
        rejected = rejected + 1
        progress:insert({ id, key, rejected, info })
    end
    for _, info in ipairs(refused) do
        reject(info)
    end
    for n = 1, count do
        tuple, offset = from_msgpack(rows, offset)
        if skip then
            local ok, problem = pcall(put, space, tuple)
            if not ok then
                local what = name_of(problem)
                if not skippable[what] then
                    answer = { 'failed', n, text_of(problem), what }
                    error(problem, 0)
                end
                local span = spans[n]
                loaded = loaded - 1
                reject({ from = span[1], to = span[2], line = span[3], message = text_of(problem) })
            end
        else
            local ok, problem = pcall(put, space, tuple)
            if not ok then
                answer = { 'failed', n, text_of(problem), name_of(problem) }
                error(problem, 0)
            end
        end
    end
    if rejected > most then
        answer = { 'many', rejected }
        error('too many', 0)
    end
    progress:replace({ id, key, 0, { position = state.to, line = state.line, crc = state.crc,
        done = state.done,
        how = before.how, incarnation = before.incarnation, loaded = loaded, rejected = rejected } })
    return { 'done', loaded, rejected }
end
local ok, result = pcall(box.atomic, { retry = 10 }, run)
if ok then
    return result
elseif answer and answer[4] ~= 'ERROR_CONFLICT' and answer[4] ~= 'ERROR_DEADLOCK' then
    return answer
end
error(result, 0)
]]

--- The records that were refused have all been written down: (space, name).
server.WRITTEN = [[
local name, key = ...
local progress, id = box.space.perigee_load, box.space[name].id
box.atomic({ retry = 10 }, function()
    local row = progress:get({ id, key, 0 })
    if row and not row.info.written and row.info.rejected > 0 then
        local info = row.info
        info.written = true
        progress:replace({ id, key, 0, info })
    end
end)
]]

--- Forgets a load: (space, name).
server.FORGET = [[
local name, key = ...
local progress, id = box.space.perigee_load, box.space[name].id
box.atomic({ retry = 10 }, function()
    for _, row in ipairs(progress:select({ id, key })) do
        progress:delete({ id, key, row.record })
    end
end)
]]

--- A page of a dump, in a transaction: (name, the last row's bytes or nil, bytes at most). Gives the
--- rows' bytes in one string, their number, and the last one.
server.PAGE = [[
local name, last, most = ...
local after = last and box.tuple.from_msgpack(last) or nil
local rows, count, size = {}, 0, 0
for _, tuple in box.space[name]:pairs(nil, { after = after }) do
    count = count + 1
    local bytes = tuple:to_msgpack()
    rows[count], size = bytes, size + #bytes
    if size >= most then break end
end
return { table.concat(rows), count, rows[count] or '' }
]]

return server
