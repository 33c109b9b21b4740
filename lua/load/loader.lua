-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee load`: reads records, makes rows of them by a plan, and sends them in batches.
--
-- A batch is a piece of the file, from one offset to another, with all that is in it: rows, and records
-- that are none. It and its end as the load's new position are one transaction (load.server); so
-- whoever goes on later begins where the last batch ended, wherever either side was killed.

local csv = require('load.csv')
local guess = require('load.guess')
local native = require('load.native')
local plan = require('load.plan')
local progress = require('load.progress')
local rejects = require('load.rejects')
local sender = require('load.sender')
local server = require('load.server')
local source = require('load.source')

local BATCH_BYTES = 512 * 1024

local loader = {}
loader.__index = loader

local function say(self, text)
    self.progress:clear()
    io.stderr:write(text, '\n')
end

-- ---------------------------------------------------------------------------------- before the first row

--- The fields that the file looks like, with the types that --map says.
local function guessed(self)
    local records = self.source:sample()
    local fields = self.source.cells and guess.of_cells(self.source.header, records)
        or guess.of_packed(records)
    for n = #fields, 1, -1 do
        local field = fields[n]
        field.column = self.source.cells and not self.source.header and tostring(n) or field.name
        local target = self.map[field.name] or self.map[tostring(n)]
        if target and target.field == '' or (n == #fields and field.name == '*') then
            table.remove(fields, n)
        elseif target then
            field.name, field.type = target.field, target.type or field.type
        end
    end
    return fields
end

--- Makes the space, or finds that an earlier run has made it.
local function create(self, fields)
    local options = self.options
    local primary = #options.primary > 0 and options.primary or { fields[1] and fields[1].name }
    for _, name in ipairs(primary) do
        local found
        for _, field in ipairs(fields) do
            if field.name == name then
                field.is_nullable, found = false, true
            end
        end
        if not found then
            error(("--primary: the file has no column '%s'"):format(tostring(name)), 0)
        end
    end
    say(self, ('%s space %s, primary key %s:\n%s'):format(options.dry_run and 'would create' or 'creating',
        options.space,
        table.concat(primary, ', '), guess.show(fields)))
    if not options.dry_run then
        local format = {}
        for n, field in ipairs(fields) do
            format[n] = { name = field.name, type = field.type, is_nullable = field.is_nullable }
        end
        self.db:eval(server.CREATE, options.space, format, primary, options.engine)
    end
end

local function has_type(map)
    for _, target in pairs(map) do
        if target.type then
            return true
        end
    end
    return false
end

--- The plan, and the space if there is none.
local function prepare(self)
    local options, from = self.options, self.source
    local space = self.db:eval(server.SPACE, options.space)
    if type(space) ~= 'table' then
        space = nil
    end
    from:read_header()
    if not space and not options.create then
        error(("there is no space '%s'; --create makes it"):format(options.space), 0)
    elseif space and not space.has_index then
        error(("space '%s' has no index, and can hold no rows"):format(options.space), 0)
    end
    local fields = space and space.fields
    local unnamed = from.header and #from.header == 1 and from.header[1] == '*'
    if not space then
        fields = guessed(self)
        create(self, fields)
    elseif #fields == 0 and not unnamed and (from.cells or has_type(self.map)) then
        fields = guessed(self)
        say(self, ('space %s has no format; the columns are taken for:\n%s'):format(options.space,
            guess.show(fields)))
    elseif options.dry_run then
        say(self, ('space %s:\n%s'):format(options.space, guess.show(fields)))
    end
    self.plan = plan.new(fields, self.map, from.cells and from.cells.null)
    if from.cells then
        local count = from.header and #from.header or #fields
        self.plan:columns_are(from.header, count)
    end
end

--- By which options the same file gives other rows.
local function how(options)
    local map = {}
    for _, text in ipairs(options.map) do
        map[#map + 1] = text
    end
    local cells = options.cells
    return table.concat({ options.format, tostring(options.header), cells.delimiter or '', cells.quote
        or 'default',
        cells.null or 'default', table.concat(map, ',') }, ' ')
end

local function say_done(self, state)
    say(self, ('%s has been loaded into %s already: %s rows; --again loads it once more'):format(
        self.source.shown, self.options.space, progress.count(state.loaded)))
end

--- Writes down what was refused up to the load's position. Behind it there may be more: of a load that was
--- killed a moment ago batches may still be done.
local function write_known(self, state, bytes)
    self.rejects:write_known(function(info)
        if info.from < state.position then
            return bytes(info)
        end
    end)
end

--- All that were refused are written: nobody needs to do it again.
local function written(self)
    self.rejects:close()
    sender.ask(self.db, server.WRITTEN, self.options.space, self.name)
end

--- Goes to where the load was stopped. False: it is done.
local function find_position(self)
    local options, from = self.options, self.source
    if options.name then
        self.name = options.name
    elseif options.path == '-' or not from.size then
        self.name, self.once = ('pipe %d %s'):format(os.time(), tostring({}):match('0x(%x+)') or ''), true
    else
        self.name = native.real_path(options.path)
    end
    local state = sender.ask(self.db, server.START, options.space, self.name, options.again or false,
        how(options))
    self.rejects = rejects.new(self.db, from, options, self.name)
    self.loaded, self.rejected, self.begun = state.loaded, state.rejected, state.position
    local complete = state.done and (state.written or state.rejected == 0)
    if complete then
        say_done(self, state)
        return false
    elseif state.how ~= how(options) then
        error('the load was begun with other options; with the same ones it goes on, --again begins anew', 0)
    elseif state.position == 0 then
        return true
    end
    local pieces = not from.size and {} or nil -- of a pipe the bytes are kept for records that were refused
    local input = from.input
    if state.position < input:offset() or not input:skip_to(state.position, pieces and function(_, text)
        pieces[#pieces + 1] = text
    end) or input:checksum() ~= state.crc then
        error(('%s: its first %s bytes are not those that have been loaded; --again begins anew'):format(
            from.shown, progress.count(state.position)), 0)
    end
    from.reader.line = state.line
    local header = state.position - (pieces and #table.concat(pieces) or 0)
    local whole = pieces and table.concat(pieces)
    write_known(self, state, function(info)
        return whole and whole:sub(info.from - header + 1, info.to - header) or from:bytes(info.from, info.to)
    end)
    if state.done then
        written(self)
        say_done(self, state)
        return false
    end
    say(self, ('going on behind %s rows, at line %.0f'):format(progress.count(state.loaded), state.line))
    return true
end

-- ------------------------------------------------------------------------------------------- batches

local function new_batch(self, from)
    local batch = { state = { from = from }, rows = {}, bytes = 0, count = 0, spans = {}, refused = {},
        lines = {},
        offsets = {} }
    if self.options.skip and not self.source.size then
        batch.raws = {}
    end
    return batch
end

--- Its rows as one string, and where it ends; then it goes.
local function send(self, batch, done)
    local input, state = self.source.input, batch.state
    state.to, state.line, state.crc, state.done = input:offset(), self.source.reader.line,
        input:checksum(), done
    batch.rows = table.concat(batch.rows, '', 1, batch.count)
    self.sender:put(batch)
end

--- What a batch has come to: shows it, and writes down what was refused.
local function done(self, batch)
    self.at = batch.state.to
    self.done_rows = self.done_rows + batch.count
    if self.options.skip then
        self.rejects:write_known(function(info)
            if info.from >= batch.state.to then
                return nil
            elseif batch.raws then
                return batch.raws[info.from]
            end
            return self.source:bytes(info.from, info.to)
        end)
    end
    self.progress:show({ done = self.at, total = self.source.size, begun = self.begun, rows = self.done_rows,
        bytes = self.at - self.begun })
end

--- The column of a cell in the line, and which line behind the record's first that is.
local function place_of_cell(self, raw, line, n)
    local down, column = csv.place(raw, n, self.source.cells)
    return line + down, column
end

--- A record that is no row: goes aside, or ends the load.
local function refuse(self, batch, problem)
    local reader = self.source.reader
    local raw = reader:raw()
    if not self.options.skip or problem.fatal then
        -- all that is before it shall be there
        if batch.count + #batch.refused > 0 then
            self.source.input.position = reader.raw_first
            reader.line = reader.record_line
            send(self, batch, false)
        end
        self.sender:finish()
        error(self.source:place(problem.line, problem.column) .. ': ' .. problem.message, 0)
    end
    batch.refused[#batch.refused + 1] = { from = reader.from, to = reader.from + #raw, line = problem.line,
        column = problem.column, message = problem.message }
    batch.bytes = batch.bytes + #raw
    if batch.raws then
        batch.raws[reader.from] = raw
    end
end

--- The problem of a record of cells, or of a value, that is no row.
local function problem_of(self, message, where)
    local reader, from = self.source.reader, self.source
    local problem = { message = message, line = reader.record_line, column = 1 }
    if from.cells and where then
        problem.line, problem.column = place_of_cell(self, reader:raw(), reader.record_line, where)
        local name = self.plan.column_names and self.plan.column_names[where]
        problem.message = (name and ('column "%s": '):format(name) or ('column %d: '):format(where))
            .. message
    elseif from.format == 'msgpack' then
        problem.column = reader.from + 1
    end
    if not from.cells and where then
        problem.message = ('field "%s": '):format(where) .. message
    end
    return problem
end

local function add(self, batch, row)
    local reader = self.source.reader
    local count = batch.count + 1
    batch.count, batch.rows[count], batch.bytes = count, row, batch.bytes + #row
    batch.lines[count], batch.offsets[count] = reader.record_line, reader.from
    if self.options.skip then
        batch.spans[count] = { reader.from, reader.from + reader.raw_last - reader.raw_first + 1,
            reader.record_line }
        if batch.raws then
            batch.raws[reader.from] = reader:raw()
        end
    end
end

local function read_all(self)
    local reader, cells, rows = self.source.reader, self.source.cells, self.plan
    local exact, batch_rows = self.source.format == 'msgpack', self.options.batch
    local batch = new_batch(self, self.begun)
    while true do
        local given, count = reader:next()
        if given then
            local row, message, where
            if cells then
                row, message, where = rows:of_cells(given, count)
            else
                row, message, where = rows:of_packed(given, exact)
            end
            if row then
                add(self, batch, row)
            else
                refuse(self, batch, problem_of(self, message, where))
            end
        elseif count then
            refuse(self, batch, count)
        else
            break
        end
        if batch.count + #batch.refused >= batch_rows or batch.bytes >= BATCH_BYTES then
            send(self, batch, false)
            batch = new_batch(self, batch.state.to)
        end
    end
    send(self, batch, true)
    self.sender:finish()
end

--- What the server says of a row of a batch, with its place.
local function refused_row(self, problem)
    if problem.many then
        return ('more than %d records are no rows; --rejects-max allows more; why: %s.reasons'):format(
            self.options.rejects_max, self.options.rejects)
    end
    local batch, n, from = problem.batch, problem.row, self.source
    local line, column = batch.lines[n], nil
    local position = tonumber(problem.message:match('^field (%d+) '))
    local raw = from:bytes(batch.offsets[n], batch.offsets[n + 1] or batch.state.to)
    if from.cells and position and raw then
        for k, one in pairs(self.plan.columns) do
            if one and one.position == position then
                line, column = place_of_cell(self, raw, line, k)
            end
        end
    end
    return from:place(line, column or (from.format == 'msgpack' and batch.offsets[n] + 1 or 1)) .. ': '
        .. problem.message
end

--- Loads the file. Raises a text, or an error of the client's.
---@param db table a connection with `reconnect`
---@param options table of load.options
function loader.run(db, options)
    local self = setmetatable({ db = db, options = options, map = plan.parse_map(options.map),
        done_rows = 0 }, loader)
    self.source = source.open(options)
    self.progress = progress.new(native, self.source.shown:match('[^/]*$'))
    prepare(self)
    if options.dry_run or not find_position(self) then
        return
    end
    self.sender = sender.new(db, { space = options.space, name = self.name, mode = options.mode,
        skip = options.skip,
        most = options.rejects_max }, function(batch) done(self, batch) end)
    local ok, problem = pcall(read_all, self)
    self.progress:clear()
    if not ok then
        if type(problem) == 'table' and problem.batch then
            problem = refused_row(self, problem)
        end
        error(problem, 0)
    end
    local state = sender.ask(db, server.START, options.space, self.name, false, '')
    if self.once then
        self.rejects:close()
        sender.ask(db, server.FORGET, options.space, self.name)
    else
        written(self)
    end
    local seconds = self.progress:seconds()
    local summary = ('%s: %s rows loaded into %s'):format(self.source.shown, progress.count(state.loaded),
        options.space)
    if state.rejected > 0 then
        summary = ('%s, %s records refused (%s)'):format(summary, progress.count(state.rejected),
            options.rejects)
    end
    say(self, ('%s; %.1f s, %s rows/s, %s/s'):format(summary, seconds,
        progress.count(self.done_rows / seconds),
        progress.bytes((self.at - self.begun) / seconds)))
end

return loader
