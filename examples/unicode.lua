-- SPDX-License-Identifier: Apache-2.0
--
-- All of Unicode in a space: what each line of UnicodeData.txt says of a character (Debian's
-- package unicode-data has the file) is loaded by a stored procedure, a thousand characters a
-- transaction, and secondary indexes answer questions about it.
--
--     perigee --dir /tmp/unicode examples/unicode.lua [FILE]
--
-- Run it again and it finds what the first run has loaded.

local path = ... or '/usr/share/unicode/UnicodeData.txt'
local BATCH = 1000

-- ------------------------------------------------------------------------------------ the schema

local function create()
    local space = box.schema.space.create('characters', {
        format = {
            { 'code', 'unsigned' },
            { 'name', 'string' },
            { 'category', 'string' },
            { 'direction', 'string' },
            { 'value', 'string' }, -- of a digit or number, else ''
            { 'upper', 'unsigned', is_nullable = true },
            { 'lower', 'unsigned', is_nullable = true },
        },
    })
    space:create_index('code', { parts = { 'code' } })
    space:create_index('name', { parts = { 'name' }, unique = false })
    space:create_index('category', { parts = { 'category', 'code' }, unique = false })
    space:create_index('value', { parts = { 'value', 'code' }, unique = false })
    box.schema.func.create('load_characters', {
        body = [[function(characters)
            for _, character in ipairs(characters) do
                box.space.characters:replace(character)
            end
            return #characters
        end]],
    })
    box.schema.func.create('count_categories', {
        readonly = true,
        body = [[function()
            local counts = {}
            for _, character in box.space.characters.index.category:pairs() do
                counts[character.category] = (counts[character.category] or 0) + 1
            end
            return counts
        end]],
    })
end

-- ------------------------------------------------------------------------------------- the file

local function split(line)
    local fields = {}
    for field in (line .. ';'):gmatch('([^;]*);') do
        fields[#fields + 1] = field
    end
    return fields
end

local function code_of(hex)
    return hex ~= '' and tonumber(hex, 16) or box.NULL
end

local function parse(line)
    local fields = split(line)
    return {
        tonumber(fields[1], 16), fields[2], fields[3], fields[5], fields[9],
        code_of(fields[13]), code_of(fields[14]),
    }
end

local function count_lines()
    local count = 0
    for _ in io.lines(path) do
        count = count + 1
    end
    return count
end

--- Loads the file; returns the number of characters and of transactions.
local function load_file()
    local batch, characters, transactions = {}, 0, 0
    local function flush()
        if #batch > 0 then
            characters = characters + box.func.load_characters(batch)
            transactions = transactions + 1
            batch = {}
        end
    end
    for line in io.lines(path) do
        batch[#batch + 1] = parse(line)
        if #batch == BATCH then
            flush()
        end
    end
    flush()
    return characters, transactions
end

-- --------------------------------------------------------------------------------- the questions

--- A code point as UTF-8.
local function utf8(code)
    if code < 0x80 then
        return string.char(code)
    elseif code < 0x800 then
        return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64)
    end
    local tail = string.char(0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    if code < 0x10000 then
        return string.char(0xe0 + math.floor(code / 4096)) .. tail
    end
    return string.char(0xf0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64) .. tail
end

local function show(character)
    print(('  U+%04X  %s  %s'):format(character.code, utf8(character.code), character.name))
end

local function heading(text)
    print()
    print(text)
end

--- Characters whose name begins with `prefix`: the index on names, from there on.
local function begins_with(prefix, limit)
    local found = {}
    for _, character in box.space.characters.index.name:pairs(prefix, { iterator = 'GE' }) do
        if character.name:sub(1, #prefix) ~= prefix or #found == limit then
            break
        end
        found[#found + 1] = character
    end
    return found
end

local function ask()
    local characters = box.space.characters

    heading('What is U+00E9, and what is it in upper case?')
    local e = characters:get(0xe9)
    show(e)
    show(characters:get(e.upper))

    heading('Which names begin with CAT?')
    for _, character in ipairs(begins_with('CAT ', 12)) do
        show(character)
    end

    heading('Which characters stand for seven eighths, and which for less than nothing?')
    for _, value in ipairs({ '7/8', '-1/2' }) do
        for _, character in characters.index.value:pairs({ value }) do
            show(character)
        end
    end

    heading('Which are the largest categories?')
    local counts, names = box.func.count_categories(), {}
    for name in pairs(counts) do
        names[#names + 1] = name
    end
    table.sort(names, function(a, b) return counts[a] > counts[b] end)
    for n = 1, 5 do
        print(('  %s  %6d'):format(names[n], counts[names[n]]))
    end

    heading('Which currency signs come from the rupee on?')
    for _, character in ipairs(characters.index.category:select({ 'Sc', 0x20b9 }, {
        iterator = 'GE', limit = 8,
    })) do
        show(character)
    end

    heading('Which letters do not come back when they are made upper and then lower case?')
    local lost = 0
    for _, character in characters.index.category:pairs({ 'Ll' }) do
        local upper = character.upper ~= nil and characters:get(character.upper)
        if upper and upper.lower ~= character.code then
            lost = lost + 1
            if lost <= 3 then
                show(character)
            end
        end
    end
    print(('  and %d more'):format(lost - 3))
end

local function main()
    local clock = require('clock')
    if not box.space.characters then
        create()
    end
    if box.space.characters:len() == count_lines() then
        print(('found %d characters'):format(box.space.characters:len()))
    else
        local started = clock.monotonic()
        local characters, transactions = load_file()
        box.sync()
        print(('loaded %d characters in %d transactions: %.2f s'):format(
            characters, transactions, clock.monotonic() - started))
    end
    ask()
end

main()
