-- SPDX-License-Identifier: Apache-2.0
--
-- The reader and the writer of CSV and TSV by themselves: what comes back, however the bytes arrive.

package.path = 'lua/?.lua;' .. package.path
local csv = require('load.csv')
local input = require('load.input')

local ROUNDS = 300

--- A sum that depends on each byte and its place.
local function sum(before, text, first, last)
    for n = first, last do
        before = (before * 31 + text:byte(n)) % 4294967291
    end
    return before
end

--- An input of a text that comes in pieces of these sizes, again and again.
local function input_of(text, sizes)
    local position, n = 1, 0
    return input.new(function()
        if position > #text then
            return nil
        end
        n = n % #sizes + 1
        position = position + sizes[n]
        return text:sub(position - sizes[n], position - 1)
    end, sum)
end

--- All records: arrays of cells, or {problem = ..}; and the input.
local function read(text, options, sizes)
    local from = input_of(text, sizes or { math.max(1, #text) })
    local reader, records, offset = csv.reader(from, options), {}, 0
    while true do
        local cells, count = reader:next()
        if cells then
            local record = { count = count, line = reader.record_line }
            for n = 1, count do
                record[n] = cells[n]
            end
            records[#records + 1] = record
        elseif count then
            records[#records + 1] = { problem = count.message, line = count.line, column = count.column }
        else
            break
        end
        -- what is passed without being a record is empty lines
        assert(text:sub(offset + 1, reader.from):find('^[\r\n]*$'))
        assert.equal(text:sub(reader.from + 1, from:offset()), reader:raw())
        offset = from:offset()
    end
    assert.equal(#text, from:offset())
    assert.equal(sum(0, text, 1, #text), from:checksum())
    return records
end

local comma, tab = csv.options('csv', {}), csv.options('tsv', {})

describe('the reader of CSV', function()
    it('reads quotes, line ends, nil and empty texts', function()
        local records = read('a,"b,""c""\nd",\r\n\n"",x y,\\N\r\nlast', comma)
        assert.same({
            { 'a', 'b,"c"\nd', false, count = 3, line = 1 },
            { '', 'x y', '\\N', count = 3, line = 4 },
            { 'last', count = 1, line = 5 },
        }, records)
    end)

    it('reads what TSV has for tabs, lines and nil', function()
        assert.same({ { 'a\tb', '\\N', false, '', 'c"\n', count = 5, line = 1 } },
            read('a\\tb\t\\\\N\t\\N\t\tc"\\n\n', tab))
    end)

    it('names line and column of what is wrong, and goes on behind that line', function()
        assert.same({
            { 'ok', 'ok', count = 2, line = 1 },
            { problem = 'a quote in a cell that does not begin with one', line = 2, column = 5 },
            { 'x', count = 1, line = 3 },
            { problem = 'text behind the closing quote', line = 4, column = 8 },
            { 'y', count = 1, line = 5 },
            { problem = 'the text ends within quotes', line = 6, column = 3 },
            { 'z', count = 1, line = 7 },
        }, read('ok,ok\na,bb"c\nx\nab,"cd"e\ny\n1,"2\nz', comma))
    end)

    it('finds the place of a cell', function()
        assert.same({ 0, 1 }, { csv.place('a,"b\nc",d', 1, comma) })
        assert.same({ 0, 3 }, { csv.place('a,"b\nc",d', 2, comma) })
        assert.same({ 1, 4 }, { csv.place('a,"b\nc",d', 3, comma) })
    end)

    it('refuses options that mean nothing', function()
        for _, given in ipairs({ { delimiter = 'ab' }, { delimiter = '"' }, { quote = 'x' }, { quote = '\n' },
            { quote = '' }, { null = 'a,b' } }) do
            assert.is_false((pcall(csv.options, 'csv', given)))
        end
    end)
end)

describe('random texts', function()
    local seed = tonumber(os.getenv('PERIGEE_SEED')) or os.time() * 1000 + math.floor(os.clock() * 1e6) % 1000
    local alphabet = { 'a', 'b', '"', ',', '\n', '\r', '\t', '\\', 'N', '\0', '\255', ' ', ';', "'", '' }

    setup(function()
        print('load_csv_spec: seed ' .. seed)
        math.randomseed(seed)
    end)

    local function random_text(most)
        local parts = {}
        for n = 1, math.random(0, most) do
            parts[n] = alphabet[math.random(#alphabet)]
        end
        return table.concat(parts)
    end

    local function random_sizes()
        local sizes = {}
        for n = 1, math.random(1, 4) do
            sizes[n] = math.random(1, 9)
        end
        return sizes
    end

    local function random_options()
        local kind = math.random(4)
        if kind == 1 then
            return tab
        elseif kind == 2 then
            return comma
        elseif kind == 3 then
            return csv.options('csv', { delimiter = ';', quote = "'", null = 'NULL' })
        end
        return csv.options('tsv', { quote = '"' })
    end

    it('come back from what is written, in pieces of any size', function()
        for round = 1, ROUNDS do
            local options, records, texts = random_options(), {}, {}
            local write = csv.writer(options)
            for n = 1, math.random(0, 6) do
                local record = { count = math.random(1, 4) }
                for k = 1, record.count do
                    record[k] = math.random(6) > 1 and random_text(6)
                end
                if record.count == 1 and not record[1] then
                    record[1] = 'x' -- a row that is nothing but nil has an empty key
                end
                records[n], texts[n] = record, write(record, record.count)
            end
            local back = read(table.concat(texts), options, random_sizes())
            for _, record in ipairs(back) do
                record.line = nil
            end
            assert.same(records, back, ('seed %d, round %d'):format(seed, round))
        end
    end)

    it('are read alike however they arrive, and never raise', function()
        for round = 1, ROUNDS do
            local options, text = random_options(), random_text(40)
            assert.same(read(text, options), read(text, options, random_sizes()),
                ('seed %d, round %d: %q'):format(seed, round, text))
        end
    end)
end)
