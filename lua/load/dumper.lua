-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee dump`: reads a space page by page in one read-only snapshot, each page behind the last row
-- of the one before, and writes its rows. A file has its name only when it is whole.

local csv = require('load.csv')
local native = require('load.native')
local progress = require('load.progress')
local server = require('load.server')
local value = require('load.value')

local PAGE_BYTES = 512 * 1024

local dumper = {}

--- Quotes a name for JSON.
local function json_name(name)
    return (native.json_encode(value.string(name), 1))
end

--- A function(rows, count): the text of a page, a record a row.
local function cells_writer(options, fields)
    local write = csv.writer(csv.options(options.format, options.cells))
    local kinds, cells, lines = {}, {}, {}
    for n, field in ipairs(fields) do
        kinds[n] = field.type
    end
    return function(rows, count)
        local at = 1
        for n = 1, count do
            local size, first = native.array(rows, at)
            if size > #kinds and not options.rest then
                local row = native.json_encode(rows, at)
                error(('row %s has %d fields behind those of the format; --rest writes them as well, as do '
                    .. 'jsonl and msgpack'):format(
                    #row > 200 and row:sub(1, 200) .. '..' or row, size - #kinds), 0)
            end
            at = first
            for k = 1, size do
                cells[k], at = value.text(kinds[k] or 'any', rows, at)
            end
            if options.pad then
                for k = size + 1, #kinds do
                    cells[k] = false
                end
                size = math.max(size, #kinds)
            end
            lines[n] = write(cells, size)
        end
        return table.concat(lines, '', 1, count)
    end, write
end

local function json_writer(fields)
    local heads, kinds, lines = {}, {}, {}
    for n, field in ipairs(fields) do
        kinds[n], heads[n] = field.type, (n > 1 and ',' or '{') .. json_name(field.name) .. ':'
    end
    return function(rows, count)
        local at = 1
        for n = 1, count do
            if #kinds == 0 then
                lines[n], at = native.json_encode(rows, at)
            else
                local out = {}
                local size, first = native.array(rows, at)
                at = first
                for k = 1, math.min(size, #kinds) do
                    local text
                    text, at = value.json(kinds[k], rows, at)
                    out[2 * k - 1], out[2 * k] = heads[k], text
                end
                for k = #kinds + 1, size do
                    out[#out + 1] = k == #kinds + 1 and ',"*":[' or ','
                    out[#out + 1], at = native.json_encode(rows, at)
                end
                lines[n] = table.concat(out) .. (size > #kinds and ']}' or '}')
            end
        end
        return table.concat(lines, '\n', 1, count) .. (count > 0 and '\n' or '')
    end
end

--- The header's line, '' without one.
local function header_of(options, fields, write)
    if not write or not options.header then
        return ''
    end
    local names = {}
    for n, field in ipairs(fields) do
        names[n] = field.name
    end
    if options.rest then
        names[#names + 1] = '*'
    end
    return write(names, #names)
end

local function put(file, text)
    local ok, message = file:write(text)
    if not ok then
        error(message, 0)
    end
    return #text
end

local function write_all(self, file, write)
    local transaction = self.db:begin({ isolation = 'snapshot', readonly = true })
    local last
    while true do
        local page = transaction:eval(server.PAGE, self.options.space, last, PAGE_BYTES)
        if page[2] == 0 then
            break
        end
        self.bytes = self.bytes + put(file, write(page[1], page[2]))
        self.rows, last = self.rows + page[2], page[3]
        self.progress:show({ done = self.rows, total = self.total, rows = self.rows, bytes = self.bytes })
    end
    transaction:rollback()
    local ok, message = file:flush()
    if not ok then
        error(message, 0)
    end
end

--- What is written to: the file, and, unless it is standard output, a device or a pipe, the name that it has
--- until it is whole, and the one it has then.
local function open(options)
    if options.path == '-' then
        return io.stdout
    end
    local path = native.real_path(options.path) or options.path
    local part = native.is_regular(path) ~= false and path .. '.part' or nil
    local file, message = io.open(part or path, 'wb')
    if not file then
        error(message, 0)
    end
    return file, part, path
end

--- Dumps the space. Raises a text, or an error of the client's.
---@param db table a connection
---@param options table of load.options
function dumper.run(db, options)
    local self = { db = db, options = options, rows = 0, bytes = 0, progress = progress.new(native,
        options.space) }
    local space = db:eval(server.SPACE, options.space)
    if type(space) ~= 'table' then
        error(("there is no space '%s'"):format(options.space), 0)
    elseif not space.has_index then
        error(("'%s' has no index: it is a view, or an empty space"):format(options.space), 0)
    end
    if #space.fields == 0 then
        options.rest = true
    end
    local write, write_record
    if options.format == 'jsonl' then
        write = json_writer(space.fields)
    elseif options.format == 'msgpack' then
        write = function(rows) return rows end
    else
        write, write_record = cells_writer(options, space.fields)
    end
    if self.progress.on then
        self.total = db:eval('return box.space[...]:len()', options.space)
    end
    local file, part, path = open(options)
    local ok, problem = pcall(function()
        self.bytes = put(file, header_of(options, space.fields, write_record))
        write_all(self, file, write)
        if part then
            file:close()
            local moved, why = native.sync(part), 'the disk did not take it'
            if moved then
                moved, why = os.rename(part, path)
            end
            if not moved then
                error(path .. ': ' .. tostring(why), 0)
            end
        end
    end)
    self.progress:clear()
    if not ok then
        if part then
            os.remove(part)
        end
        error(problem, 0)
    end
    if file ~= io.stdout then
        local seconds = self.progress:seconds()
        io.stderr:write(('%s: %s rows of %s; %.1f s, %s rows/s, %s/s\n'):format(options.path,
            progress.count(self.rows),
            options.space, seconds, progress.count(self.rows / seconds),
                progress.bytes(self.bytes / seconds)))
    end
end

return dumper
