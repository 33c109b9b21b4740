-- SPDX-License-Identifier: Apache-2.0
--
-- The file that is loaded: its input and the reader of its format, its header, its first rows for a guess,
-- and the bytes of records that were read before.

local csv = require('load.csv')
local input = require('load.input')
local jsonl = require('load.jsonl')
local native = require('load.native')
local packed = require('load.packed')

local SAMPLE_RECORDS = 1000
local BOM = '\xef\xbb\xbf'

local source = {}
source.__index = source

--- Opens it. Raises a text.
---@param options table of load.options
function source.open(options)
    local self = setmetatable({
        path = options.path, format = options.format, options = options,
        shown = options.path == '-' and 'standard input' or options.path,
    }, source)
    if options.path == '-' then
        self.file = io.stdin
    else
        local message
        self.file, message = io.open(options.path, 'rb')
        if not self.file then
            error(message, 0)
        end
        self.size = self.file:seek('end') -- a pipe has none
        if self.size then
            self.file:seek('set', 0)
        end
    end
    if options.format == 'csv' or options.format == 'tsv' then
        self.cells = csv.options(options.format, options.cells)
    elseif options.cells.delimiter or options.cells.quote or options.cells.null then
        error('--delimiter, --quote and --null are for csv and tsv', 0)
    end
    self.input = input.new(function(size)
        local bytes, message = self.file:read(size)
        if not bytes and message then
            error(self.shown .. ': ' .. message, 0)
        end
        return bytes
    end, native.crc32c)
    self.reader = self:reader_of(self.input)
    return self
end

function source:reader_of(from)
    if self.cells then
        return csv.reader(from, self.cells)
    end
    return (self.format == 'jsonl' and jsonl or packed).reader(from)
end

--- What names a place in the file: path:line:column.
function source:place(line, column)
    if self.format == 'msgpack' then
        return ('%s: record %.0f, byte %.0f'):format(self.shown, line, column or 0)
    end
    return column and ('%s:%.0f:%.0f'):format(self.shown, line, column) or ('%s:%.0f'):format(self.shown,
        line)
end

--- Reads the header, if there is one: its names.
function source:read_header()
    self.input:more()
    if self.cells and self.input.text:sub(1, 3) == BOM then
        self.input.position = 4
    end
    if not self.cells or not self.options.header then
        return nil
    end
    local cells, count = self.reader:next()
    if not cells then
        local problem = count
        error(problem and self:place(problem.line, problem.column) .. ': ' .. problem.message
            or self.shown .. ' is empty: not even a header', 0)
    end
    self.header = {}
    local known = {}
    for n = 1, count do
        local name = cells[n] or ''
        if name == '' then
            error(('%s: column %d has no name'):format(self:place(1), n), 0)
        elseif known[name] then
            error(("%s: columns %d and %d are both called '%s'"):format(self:place(1), known[name], n, name),
                0)
        end
        self.header[n], known[name] = name, n
    end
    self.header_text = self.reader:raw():match('^(.-)\r?\n?$') .. '\n'
    return self.header
end

--- The first records, without using them up: arrays of cells with `count`, or strings of MessagePack.
function source:sample()
    local from = self.input
    local pieces = { from.text:sub(from.position) }
    local complete = from.ended or #from.text < 1024 * 1024
    local copy = input.new(function() return table.remove(pieces) end, native.crc32c)
    local reader, records = self:reader_of(copy), {}
    while #records < SAMPLE_RECORDS do
        local given, count = reader:next()
        if given and self.cells then
            local record = { count = count }
            for n = 1, count do
                record[n] = given[n]
            end
            records[#records + 1] = record
        elseif given then
            records[#records + 1] = given
        elseif not count or count.fatal then
            break
        end
    end
    if not complete and #records < SAMPLE_RECORDS and #records > 1 then
        records[#records] = nil -- it may be cut off
    end
    return records
end

--- The bytes of the file from an offset to another, of a file that is no pipe.
function source:bytes(from, to)
    local file = self.size and io.open(self.path, 'rb')
    if not file then
        return nil
    end
    file:seek('set', from)
    local bytes = file:read(to - from)
    file:close()
    return bytes
end

return source
