-- SPDX-License-Identifier: Apache-2.0

describe('csv', function()
    local csv

    setup(function()
        box.module.install('csv')
        csv = require('csv')
    end)

    teardown(function()
        box.module.remove('csv')
    end)

    it('reads what RFC 4180 shows', function()
        for text, rows in pairs({
            ['aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n'] = { { 'aaa', 'bbb', 'ccc' }, { 'zzz', 'yyy', 'xxx' } },
            ['aaa,bbb,ccc\r\nzzz,yyy,xxx'] = { { 'aaa', 'bbb', 'ccc' }, { 'zzz', 'yyy', 'xxx' } },
            ['"aaa","bbb","ccc"\r\nzzz,yyy,xxx'] = { { 'aaa', 'bbb', 'ccc' }, { 'zzz', 'yyy', 'xxx' } },
            ['"aaa","b \r\nbb","ccc"\r\nzzz'] = { { 'aaa', 'b \r\nbb', 'ccc' }, { 'zzz' } },
            ['"aaa","b""bb","ccc"'] = { { 'aaa', 'b"bb', 'ccc' } },
        }) do
            assert.same(rows, csv.parse(text))
        end
    end)

    it('reads empty fields, spaces, all kinds of line ends, and leaves out empty lines', function()
        assert.same({ { '', '' } }, csv.parse(','))
        assert.same({ { '' } }, csv.parse('""'))
        assert.same({ { ' a ', ' b' } }, csv.parse(' a , b'))
        assert.same({ { 'a' }, { 'b' }, { 'c' }, { 'd' } }, csv.parse('a\nb\rc\r\n\n\r\rd\n'))
        assert.same({ { 'a' }, { '' }, { 'b' } }, csv.parse('a\n\nb', { empty_lines = true }))
        assert.same({}, csv.parse(''))
        assert.same({ { 'a', '' } }, csv.parse('a,\n'))
    end)

    it('has other delimiters and quotes, headers, and lines to skip', function()
        assert.same({ { 'a;b', "it's" } }, csv.parse("'a;b';'it''s'", { delimiter = ';', quote = "'" }))
        assert.same({ { 'a', 'b' } }, csv.parse('a%b', { delimiter = '%' }))
        assert.same({ { name = 'ann', age = '5' }, { name = 'bob' } }, csv.parse('name,age\nann,5\nbob',
            { header = true }))
        assert.same({ { x = '1' } }, csv.parse('made by hand\n1', { header = { 'x' }, skip_lines = 1 }))
        assert.error_matches(function() csv.parse('a\n1,2', { header = true }) end,
            'record 1 has 2 fields, and the header 1')
    end)

    it('reads pieces of any size, and no more than it needs', function()
        local text = 'a,"b\r\n""c""",d\r\n"",e\n\n"f"\r\n'
        local expected = csv.parse(text)
        for size = 1, #text do
            assert.same(expected, csv.parse(text, { chunk_size = size }))
            local position = 1
            assert.same(expected, csv.parse(function()
                if position <= #text then
                    position = position + size
                    return text:sub(position - size, position - 1)
                end
            end))
        end
        local reads = 0
        for number, row in csv.iterate(function()
            reads = reads + 1
            return reads .. '\n'
        end) do
            assert.equal(tostring(number), row[1])
            if number == 3 then
                break
            end
        end
        assert.equal(3, reads)
        local path = os.tmpname()
        local file = io.open(path, 'w')
        file:write(text)
        file:close()
        file = io.open(path)
        assert.same(expected, csv.parse(file, { chunk_size = 5 }))
        file:close()
        os.remove(path)
    end)

    it('says where something is wrong', function()
        for text, message in pairs({
            ['a,b\nc,"d'] = 'csv: line 2, field 2: the text ends within quotes',
            ['a,b\nc"d'] = 'csv: line 2, field 1: a quote in a field that does not begin with one',
            ['"a\nb"c'] = 'csv: line 2, field 1: "c" follows the closing quote',
        }) do
            local ok, err = pcall(csv.parse, text)
            assert.is_false(ok)
            assert.equal(message, err)
        end
        for message, options in pairs({
            ['the delimiter is one character'] = { delimiter = ',,' },
            ['the quote is one character'] = { quote = '\n' },
            ['the delimiter and the quote differ'] = { delimiter = '"' },
            ['there is no option "separator"'] = { separator = ',' },
            ["quoting is 'needed' or 'all'"] = { quoting = 'none' },
        }) do
            assert.error_matches(function() csv.format({}, options) end, message)
        end
        assert.error_matches(function() csv.parse(5) end, 'what is read is a string')
    end)

    it('has other names for reading and writing', function()
        assert.equal(csv.parse, csv.load)
        assert.equal(csv.format, csv.dump)
    end)

    it('writes rows, with quotes where they are needed', function()
        assert.equal('1,a,"b,c","d""e","f\ng"\r\n', csv.format({ { 1, 'a', 'b,c', 'd"e', 'f\ng' } }))
        assert.equal('""\r\na,,b\r\n', csv.format({ { '' }, { 'a', nil, 'b' } }))
        assert.equal('a,\n', csv.format({ { 'a', box.NULL } }, { line_end = '\n' }))
        assert.equal('"a";"1"\r\n', csv.format({ { 'a', 1 } }, { quoting = 'all', delimiter = ';' }))
        assert.equal('x,y\r\n1,2\r\n3,\r\n',
            csv.format({ { y = 2, x = 1 }, { 3 } }, { header = { 'x', 'y' } }))
        assert.equal('%a%%b%\r\n', csv.format({ { 'a%b' } }, { quote = '%' }))
        local written = {}
        csv.format({ { 1 }, { 2 } }, nil, function(text) written[#written + 1] = text end)
        assert.same({ '1\r\n', '2\r\n' }, written)
        assert.equal('1,x\r\n', csv.format({ box.tuple.new({ 1, 'x' }) }))
    end)

    it('reads again what it has written', function()
        local seed = tonumber(os.getenv('PERIGEE_SEED')) or os.time()
        math.randomseed(seed)
        local alphabet = { 'a', 'b', ',', ';', '"', "'", '\r', '\n', ' ', '%', '' }
        local function word()
            local letters = {}
            for n = 1, math.random(0, 6) do
                letters[n] = alphabet[math.random(#alphabet)]
            end
            return table.concat(letters)
        end
        for _ = 1, 300 do
            local rows, columns = {}, math.random(1, 4)
            for n = 1, math.random(0, 5) do
                rows[n] = {}
                for m = 1, columns do
                    rows[n][m] = word()
                end
            end
            local options = {
                delimiter = alphabet[math.random(3, 4)], quote = alphabet[math.random(5, 6)],
                quoting = math.random(2) == 1 and 'all' or nil,
                line_end = ({ '\n', '\r', '\r\n' })[math.random(3)],
            }
            local text = csv.format(rows, options)
            options.chunk_size = math.random(1, 9)
            assert.same(rows, csv.parse(text, options), ('seed %d: %q'):format(seed, text))
        end
    end)
end)
