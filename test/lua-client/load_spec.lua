-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee load` and `perigee dump` as their users meet them: real processes, a real server, and both killed.

package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path
local client = require('client')
local process = require('process')

describe('perigee load and dump', function()
    local folder, server, db

    setup(function()
        folder = process.folder()
        server = process.server(folder)
        db = client.connect(server.address, { reconnect = true })
    end)

    teardown(function()
        db:close()
        assert.equal(0, server:stop())
        process.remove(folder)
    end)

    --- What the server says; when it has just been killed, the next one at its address.
    local function ask(text, ...)
        while true do
            local ok, result = pcall(db.eval, db, text, ...)
            if ok then
                return result
            elseif result.code ~= client.LOST then
                error(result, 0)
            end
        end
    end

    local function path_of(name)
        return folder .. '/' .. name
    end

    local function write(name, text)
        local file = assert(io.open(path_of(name), 'wb'))
        file:write(text)
        file:close()
        return path_of(name)
    end

    local function read(path)
        local file = assert(io.open(path, 'rb'), path)
        local text = file:read('*a')
        file:close()
        return text
    end

    --- Starts `perigee WORD ARGUMENT.. ADDRESS OPTION..`.
    local function start(word, names, options, begin)
        local argv = { process.perigee, word }
        for _, name in ipairs(names) do
            argv[#argv + 1] = name
        end
        argv[#argv + 1] = server.address
        for _, option in ipairs(options or {}) do
            argv[#argv + 1] = option
        end
        return (begin or process.spawn)(argv)
    end

    --- Runs it to its end: its output and exit status.
    local function run(word, names, options)
        local text, status = start(word, names, options):finish()
        return text, status
    end

    local function succeed(word, names, options)
        local text, status = run(word, names, options)
        assert(status == 0, text)
        return text
    end

    local function fail(word, names, options)
        local text, status = run(word, names, options)
        assert(status == 1, text)
        return text
    end

    local function json_of(space)
        return succeed('dump', { space, '-' })
    end

    -- -------------------------------------------------------------------------------- the plain way

    it('makes a space by the types of the first rows, shows them, and loads', function()
        local path = write('people.csv', 'id,name,born,balance,vip,key\r\n'
            .. '1,"Ada ""A"", L.",1815-12-10,10.5,true,64d22e4d-ac92-4a23-899a-e59f34af5479\r\n'
            .. '2,,1906-12-09T01:02:03Z,-3,,64d22e4d-ac92-4a23-899a-e59f34af5470\n')
        assert.truthy(fail('load', { path, 'people' }):find("there is no space 'people'; --create makes it",
            1, true))
        local text = succeed('load', { path, 'people' }, { '--create', '--dry-run' })
        assert.truthy(text:find('would create space people, primary key id', 1, true))
        text = succeed('load', { path, 'people' }, { '--create' })
        for _, line in ipairs({ 'id +unsigned\n', 'name +string, or nil\n', 'born +datetime\n',
            'balance +number\n',
            'vip +boolean, or nil\n', 'key +uuid\n', 'people.csv: 2 rows loaded into people' }) do
            assert.truthy(text:find(line), line .. ' in ' .. text)
        end
        assert.falsy(text:find('\27', 1, true))
        assert.equal('{"id":1,"name":"Ada \\"A\\", L.","born":"1815-12-10T00:00:00Z","balance":10.5,'
            .. '"vip":true,' .. '"key":"64d22e4d-ac92-4a23-899a-e59f34af5479"}\n'
            .. '{"id":2,"name":null,"born":"1906-12-09T01:02:03Z","balance":-3,"vip":null,'
            .. '"key":"64d22e4d-ac92-4a23-899a-e59f34af5470"}\n', json_of('people'))
        assert.truthy(succeed('load', { path, 'people' }):find('has been loaded into people already: 2 rows',
            1, true))
        assert.truthy(fail('load', { path, 'people' }, { '--again' }):find('people.csv:2:1: Duplicate key',
            1, true))
        assert.truthy(succeed('load', { path, 'people' }, { '--again', '--mode', 'replace' }):find('2 rows'))
        db:eval('box.space.people:truncate()')
        assert.truthy(succeed('load', { path, 'people' }):find('2 rows loaded', 1, true))
    end)

    it('maps columns to fields', function()
        db:eval([[
            box.schema.space.create('mapped', {format = {{'id', 'unsigned'}, {'name', 'string'},
                {'size', 'unsigned', is_nullable = true}, {'key', 'string', default = 'none'}}})
            box.space.mapped:create_index('primary') ]])
        local path = write('mapped.csv', 'Name,Number,Other,size\nann,1,x,\nbob,2,y,7\n')
        assert.truthy(fail('load', { path, 'mapped' }):find("column 'Name': the space has no such field", 1,
            true))
        succeed('load', { path, 'mapped' }, { '--map', 'Name=name,Number=id', '--map=Other=' })
        path = write('mapped2.csv', '3;cyd;"5"\n')
        succeed('load', { path, 'mapped' }, { '--no-header', '--delimiter', ';' })
        path = write('mapped.jsonl', '{"name":"dan","ident":4,"key":"k"}\n\n[5,"eve",null,"k"]\n')
        succeed('load', { path, 'mapped' }, { '--map', 'ident=id' })
        assert.equal('{"id":1,"name":"ann","size":null,"key":"none"}\n'
            .. '{"id":2,"name":"bob","size":7,"key":"none"}\n'
            .. '{"id":3,"name":"cyd","size":5,"key":"none"}\n{"id":4,"name":"dan","size":null,"key":"k"}\n'
            .. '{"id":5,"name":"eve","size":null,"key":"k"}\n', json_of('mapped'))
    end)

    it('guesses the fields of a space that has no format', function()
        db:eval("box.schema.space.create('plain'):create_index('primary')")
        local path = write('plain.csv', 'n,zip,size\n1,01234,1.5\n2,20095,2\n')
        assert.truthy(succeed('load', { path, 'plain' }):find('zip +string'))
        assert.equal('[1,"01234",1.5]\n[2,"20095",2]\n', json_of('plain'))
    end)

    -- ---------------------------------------------------------------------------------------- errors

    it('names file, line and column of what is no row, and goes on when that is mended', function()
        db:eval([[
            box.schema.space.create('strict', {format = {{'id', 'unsigned'}, {'n', 'integer'}}})
            box.space.strict:create_index('primary') ]])
        local path = write('strict.csv', 'id,n\n1,1\n2,2\n3,many\n4,4\n')
        local text = fail('load', { path, 'strict' }, { '--batch', '2' })
        assert.truthy(text:find("strict.csv:4:3: column \"n\": 'many' is no whole number", 1, true), text)
        assert.equal(2, db:eval('return box.space.strict:count()'))
        write('strict.csv', 'id,n\n1,1\n2,2\n3,3\n4,4\n')
        assert.truthy(succeed('load', { path, 'strict' }):find('going on behind 2 rows, at line 4', 1, true))
        assert.equal(4, db:eval('return box.space.strict:count()'))
        local other = write('strict2.csv', 'id,n\n5,1\n6,1\n8,2,3\n')
        assert.truthy(fail('load', { other,
            'strict' }):find('strict2.csv:4:5: column 3: the record has 3 cells', 1, true))
        other = write('strict4.csv', 'id,n\n15,1\n16\n')
        assert.truthy(fail('load', { other, 'strict' }):find('strict4.csv:3:1: field 2 (n)', 1, true))
        other = write('strict3.csv', 'id,n\n20,1\n20,1\n')
        assert.truthy(fail('load', { other, 'strict' }):find('strict3.csv:3:1: Duplicate key', 1, true))
        other = write('strict.jsonl', '{"id":30,"n":1}\n{"id":31,"n":}\n')
        assert.truthy(fail('load', { other, 'strict' }):find('strict.jsonl:2:%d+: JSON: '))
        other = write('strict2.jsonl', '{"id":40,"n":1}\n{"id":41,"m":1}\n')
        assert.truthy(fail('load', { other,
            'strict' }):find("strict2.jsonl:2:1: field \"m\": the space has no", 1, true))
        other = write('strict3.jsonl', '[50, 5]\n["x", 5]\n')
        assert.truthy(fail('load', { other, 'strict' }):find('strict3.jsonl:2:1: field "id": \'x\' is no', 1,
            true))
        other = write('strict.msgpack', '\146\60\1\146\61\161x')
        assert.truthy(fail('load', { other, 'strict' }):find('strict.msgpack: record 2, byte 4: field 2 (n)',
            1, true))
        other = write('strict2.msgpack', '\146\62\1\146\63')
        assert.truthy(fail('load', { other, 'strict' }):find('record 2, byte 4: no whole MessagePack', 1,
            true))
    end)

    it('refuses to go on in a file that is another one', function()
        db:eval([[
            box.schema.space.create('other', {format = {{'id', 'unsigned'}}}):create_index('primary') ]])
        local path = write('other.csv', 'id\n1\n2\nx\n')
        fail('load', { path, 'other' })
        write('other.csv', 'id\n1\n3\n4\n')
        assert.truthy(fail('load', { path, 'other' }):find('are not those that have been loaded', 1, true))
        write('other.csv', 'id\n1\n2\n4\n')
        assert.truthy(fail('load', { path, 'other' }, { '--null', 'x' }):find('begun with other options', 1,
            true))
        succeed('load', { path, 'other' })
        assert.equal(3, db:eval('return box.space.other:count()'))
    end)

    it('puts what is no row aside, with reasons, so that it can be mended and loaded', function()
        db:eval([[
            box.schema.space.create('aside', {format = {{'id', 'unsigned'}, {'n', 'integer'}}})
            box.space.aside:create_index('primary') ]])
        local lines = { 'id,n' }
        for n = 1, 100 do
            lines[n + 1] = n % 10 == 3 and n .. ',bad' or n % 10 == 7 and '1,' .. n or n .. ',' .. n
        end
        local path = write('aside.csv', table.concat(lines, '\n') .. '\nx"y,1\n')
        local text = succeed('load', { path, 'aside' }, { '--on-error', 'skip', '--batch', '7' })
        assert.truthy(text:find('80 rows loaded into aside, 21 records refused', 1, true), text)
        local refused, reasons = read(path .. '.rejected'), read(path .. '.rejected.reasons')
        assert.equal('id,n\n3,bad\n1,7\n13,bad\n1,17\n', refused:sub(1, 27))
        assert.equal('x"y,1\n', refused:sub(-6))
        assert.truthy(reasons:find("aside.csv:4:3: column \"n\": 'bad' is no whole number", 1, true))
        assert.truthy(reasons:find('aside.csv:8: Duplicate key', 1, true))
        assert.truthy(reasons:find('aside.csv:102:2: a quote in a cell', 1, true))
        write('mended.csv', (refused:gsub('(%d+),bad', '%1,0'):gsub('1,(%d+)7\n', '1%17,7\n')
            :gsub('x"y', '7'):gsub('\n1,7\n', '\n')))
        text = succeed('load', { path_of('mended.csv'), 'aside' }, { '--mode', 'replace' })
        assert.truthy(text:find('rows loaded', 1, true))
        text = fail('load', { path, 'aside' }, { '--on-error', 'skip', '--rejects-max', '5', '--again' })
        assert.truthy(text:find('more than 5 records are no rows', 1, true), text)
    end)

    it('says what is wrong with its words', function()
        assert.truthy(succeed('load', {}, { '--help' }):find('perigee load FILE SPACE', 1, true))
        assert.truthy(succeed('dump', {}, { '--help' }):find('perigee dump SPACE', 1, true))
        local path = write('words.csv', 'id\n1\n')
        assert.truthy(fail('load', { path, 'x' }, { '--mode', 'upsert' }):find('none of insert, replace', 1,
            true))
        assert.truthy(fail('load', { path, 'x' }, { '--pad' }):find('--pad is not for load', 1, true))
        assert.truthy(fail('load', { path, 'x' }, { '--map', 'a' }):find('COLUMN=FIELD', 1, true))
        assert.truthy(fail('load', { path_of('none.csv'), 'x' }):find('No such file', 1, true))
        assert.truthy(fail('load', { path_of('none.doc'), 'x' }):find('does not say of what format', 1, true))
        assert.truthy(fail('dump', { 'x', '127.0.0.1:1' }):find('an address comes behind the file', 1, true))
        local twice = write('twice.csv', 'id,n,id\n1,2,3\n')
        assert.truthy(fail('load', { twice, 'x' },
            { '--create' }):find("columns 1 and 3 are both called 'id'", 1, true))
        assert.truthy(fail('load', { write('empty.csv', ''), 'x' }, { '--create' }):find('not even a header',
            1, true))
        assert.truthy(fail('dump', { 'nowhere', '-' }):find("there is no space 'nowhere'", 1, true))
        assert.truthy(fail('load', { path, 'x' }, { '-u', 'nobody', '--password', 'x' }):find('perigee: '))
    end)

    -- ------------------------------------------------------------------------------------ there and back

    local formats = { 'csv', 'tsv', 'jsonl', 'msgpack' }

    --- How many rows two spaces have, when they are the same bytes.
    local function same(left, right)
        local result = db:eval([[
            local left, right = ...
            local other = {}
            for n, t in ipairs(box.space[right]:select()) do other[n] = t end
            local count = 0
            for n, t in ipairs(box.space[left]:select()) do
                count = n
                if not other[n] or t:to_msgpack() ~= other[n]:to_msgpack() then
                    return 'row ' .. n .. ': ' .. tostring(t) .. ' and ' .. tostring(other[n])
                end
            end
            return #other == count and count or 'there are more rows' ]], left, right)
        return result
    end

    it('give back every value of every type, in each format', function()
        db:eval([[
            local decimal, uuid, datetime = require('decimal'), require('uuid'), require('datetime')
            local varbinary, interval = require('varbinary'), require('datetime').interval
            local types = {'unsigned', 'integer', 'number', 'double', 'decimal', 'uuid', 'datetime',
                'interval',
                'string', 'boolean', 'varbinary', 'array', 'map', 'scalar', 'any'}
            local format = {{'id', 'unsigned'}}
            for n, kind in ipairs(types) do format[n + 1] = {'f_' .. kind, kind, is_nullable = true} end
            for _, name in ipairs{'types', 'types_csv', 'types_tsv', 'types_jsonl', 'types_msgpack'} do
                box.schema.space.create(name, {format = format}):create_index('primary')
            end
            local s, id = box.space.types, 0
            local function put(kind, value)
                for n, known in ipairs(types) do
                    local fits = known == kind or known == 'any' or known == 'scalar'
                    if fits then
                        local row = {id}
                        for k = 1, n do row[k + 1] = box.NULL end
                        row[n + 1] = value
                        if pcall(s.insert, s, row) then id = id + 1; row[1] = id end
                    end
                end
            end
            local texts = {'', 'plain', 'a,b;c\td', '"quoted" \'too\'', 'line\nline\r\nend\r', '\\N', '\\',
                'NULL',
                'null', 'true', '12', '1.5', '{"a":1}', '[1]', '\255\254bytes', 'nul\0nul', 'snowman ☃',
                    '\239\187\191bom',
                ' spaces ', '{"$msgpack":"wA=="}', ('long'):rep(20000)}
            for _, text in ipairs(texts) do
                put('string', text)
                put('varbinary', varbinary.new(text))
                put('array', {text, {text}})
                put('map', {[text] = text, deep = {{['$bin'] = text}}})
            end
            for _, n in ipairs{0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, 2^53,
                9007199254740993ULL,
                9223372036854775807LL, 9223372036854775808ULL, 18446744073709551615ULL, -1, -32, -33, -128,
                    -129, -32768,
                -32769, -2147483648, -2147483649, -9223372036854775807LL - 1} do
                put('unsigned', n) put('integer', n) put('number', n) put('double', n) put('array', {n, {n}})
            end
            for _, n in ipairs{0.1, -0.0, 1e300, 5e-324, 1.5, 1 / 3, 1e15 + 0.5, 0 / 0, 1 / 0, -1 / 0} do
                put('number', n) put('double', n) put('array', {n}) put('map', {n = n})
            end
            for _, text in ipairs{'0', '1', '-1.50', '0.10', '12345678901234567890123456789012345678',
                '-0.00000000000000000000000000000000000001'} do
                local d = decimal.new(text)
                put('decimal', d) put('number', d) put('array', {d}) put('map', {d = d})
            end
            local u = uuid.fromstr('64d22e4d-ac92-4a23-899a-e59f34af5479')
            put('uuid', u) put('array', {u})
            for _, d in ipairs{datetime.new{year = 2024, month = 2, day = 29, hour = 1, min = 2, sec = 3,
                nsec = 4,
                tzoffset = 330}, datetime.new{timestamp = -1.5}, datetime.new{year = 2024,
                    tz = 'Europe/Berlin'}} do
                put('datetime', d) put('array', {d}) put('map', {d = d})
            end
            put('interval', interval.new{month = 1, day = -2, sec = 3})
            put('array', {interval.new{year = 1}})
            put('boolean', true) put('boolean', false)
            put('array', {}) put('array', {{}, box.NULL, {1, {2, {3}}}})
            put('map', setmetatable({}, {__serialize = 'map'}))
            put('map', {[1] = 'one', [3.5] = 'x', [true] = false})
            put('map', {['$uuid'] = 'no', other = 1}) put('map', {['$ext'] = 1, data = 'AA=='})
            -- short ones, nil at the end, and nil in a field that has a value behind it
            s:insert{100000}
            s:insert{100001, box.NULL}
            s:insert{100002, 1, box.NULL, 2}
            -- exactly what was sent: a double without a fraction, a float, an unknown extension
            for n, bytes in ipairs{'\203\63\240\0\0\0\0\0\0', '\202\63\128\0\0', '\212\77\1'} do
                local row = '\220\0\16\206\0\1\134\176' .. ('\192'):rep(14) .. bytes
                row = row:sub(1, 7) .. string.char(0xb0 + n) .. row:sub(9)
                pcall(s.insert, s, box.tuple.from_msgpack(row))
            end ]])
        local count = db:eval('return box.space.types:count()')
        assert.is_true(count > 150, tostring(count))
        for _, format in ipairs(formats) do
            local path = path_of('types.' .. format)
            succeed('dump', { 'types', path })
            local text = succeed('load', { path, 'types_' .. format })
            assert.falsy(text:find('refused', 1, true))
            assert.equal(count, same('types', 'types_' .. format), format)
        end
    end)

    it('give back rows of a space without a format, and fields behind the format', function()
        db:eval([[
            for _, name in ipairs{'bare', 'bare_csv', 'bare_tsv', 'bare_jsonl', 'bare_msgpack'} do
                box.schema.space.create(name):create_index('primary')
                box.schema.space.create('more' .. name, {format = {{'id',
                    'unsigned'}}}):create_index('primary')
            end
            for _, row in ipairs{{1}, {2, 'two', 2.5}, {3, box.NULL, {a = {}}, '3'}, {4, '', true, 'x\ny'}} do
                box.space.bare:insert(row)
                box.space.morebare:insert(row)
            end ]])
        for _, format in ipairs(formats) do
            for _, name in ipairs({ 'bare', 'morebare' }) do
                local path = path_of(name .. '.' .. format)
                local cells = format == 'csv' or format == 'tsv'
                if cells and name == 'morebare' then
                    assert.truthy(fail('dump', { name, path }):find('--rest writes them', 1, true))
                    assert.is_nil((io.open(path)))
                    assert.is_nil((io.open(path .. '.part')))
                end
                succeed('dump', { name, path }, cells and { '--rest' } or {})
                succeed('load', { path, name .. '_' .. format })
                assert.equal(4, same(name, name .. '_' .. format), format)
            end
        end
    end)

    it('work as a pipe', function()
        db:eval([[
            for _, name in ipairs{'from', 'into'} do
                box.schema.space.create(name, {format = {{'id', 'unsigned'}, {'text', 'string'}}})
                box.space[name]:create_index('primary')
            end
            for n = 1, 5000 do box.space.from:insert{n, ('text %d'):format(n)} end ]])
        local pipe = io.popen(('%s dump from - %s --format tsv | %s load - into %s --format tsv 2>&1'):format(
            process.perigee, server.address, process.perigee, server.address))
        local text = pipe:read('*a')
        pipe:close()
        assert.truthy(text:find('standard input: 5,000 rows loaded into into', 1, true), text)
        assert.equal(5000, same('from', 'into'))
        assert.equal(0, db:eval("local n = 0 for _, t in box.space.perigee_load:pairs() do "
            .. "if t.space == box.space.into.id then n = n + 1 end end return n"))
    end)

    it('writes to a pipe as it is, replaces a file when it is whole, and says when it can not', function()
        db:eval([[
            box.schema.space.create('device', {format = {{'id', 'unsigned'}}}):create_index('primary')
            box.space.device:insert{7} ]])
        local full = io.popen(('%s dump device - %s 2>&1 >/dev/full; echo status $?'):format(process.perigee,
            server.address))
        local said = full:read('*a')
        full:close()
        assert.truthy(said:find('No space left on device\nstatus 1\n', 1, true), said)
        local pipe = path_of('pipe.csv')
        os.execute('mkfifo ' .. pipe)
        local load = start('load', { pipe, 'device' }, { '--mode', 'replace' })
        succeed('dump', { 'device', pipe })
        local text, status = load:finish()
        assert(status == 0, text)
        assert.truthy(text:find('pipe.csv: 1 rows loaded', 1, true), text)
        succeed('dump', { 'device', write('real.csv', 'old') })
        os.execute(('ln -s %s %s'):format(path_of('real.csv'), path_of('link.csv')))
        db:eval('box.space.device:insert{8}')
        succeed('dump', { 'device', path_of('link.csv') })
        assert.equal('id\n7\n8\n', read(path_of('real.csv')))
    end)

    it('dumps what was there at one moment while others write', function()
        db:eval([[
            box.schema.space.create('moving', {format = {{'id', 'unsigned'}, {'n', 'integer'}, {'text',
                'string'}}})
            box.space.moving:create_index('primary')
            box.atomic(function()
                for n = 1, 3000 do box.space.moving:insert{n, 0, ('x'):rep(1000)} end
            end) ]])
        local dump = start('dump', { 'moving', '-' }, { '--format', 'csv' })
        dump:expect('\n1,0,x') -- the pipe holds far less than all of it
        for round = 1, 3 do
            db:eval([[
                local round = ...
                box.atomic(function()
                    for n = 1, 3000 do box.space.moving:update(n, {{'=', 'n', round}}) end
                    box.space.moving:insert{3000 + round, round, 'new'}
                end) ]], round)
        end
        local text, status = dump:finish()
        assert.equal(0, status)
        local rows = 0
        for id, n in text:gmatch('\n(%d+),(%d+),x') do
            rows = rows + 1
            assert.equal(rows, tonumber(id))
            assert.equal('0', n)
        end
        assert.equal(3000, rows)
    end)

    it('shows how far it is on a terminal, and there only', function()
        local lines = { 'id,text' }
        for n = 1, 3000 do
            lines[n + 1] = n .. ',' .. ('y'):rep(100)
        end
        local path = write('shown.csv', table.concat(lines, '\n') .. '\n')
        local load = start('load', { path, 'shown' }, { '--create', '--batch', '100' }, process.terminal)
        local _, status = load:finish()
        assert(status == 0, load.text)
        assert.truthy(load.text:find('shown.csv +%d+%% %[#*%.*%]  [%d,]+ rows  [%d,]+/s  [%d.]+ %a+/s'),
            load.text)
        assert.truthy(load.text:find('3,000 rows loaded into shown', 1, true))
        load = start('load', { path, 'shown' }, { '--again', '--mode', 'replace' })
        load:finish()
        assert.falsy(load.text:find('\r', 1, true))
    end)

    -- ----------------------------------------------------------------------------------------- killed

    local ROWS = 2000

    --- Rows that nothing but the server numbers: one that is loaded twice is there twice.
    local function new_counted(name, rows)
        db:eval([[
            local name = ...
            box.schema.sequence.create(name)
            box.schema.space.create(name, {format = {{'id', 'unsigned'}, {'n', 'unsigned'}, {'text',
                'string'}}})
            box.space[name]:create_index('primary', {sequence = name}) ]], name)
        local lines = { 'n,text' }
        for n = 1, rows or ROWS do
            lines[n + 1] = n % 100 == 0 and 'bad ' .. n .. ',x' or n .. ',' .. ('z'):rep(1000)
        end
        return table.concat(lines, '\n') .. '\n'
    end

    local function count_of(name)
        return ask('return box.space[...]:count()', name)
    end

    --- Waits until so many rows are there; what has come out is shown when it ended before.
    local function await(load, name, rows)
        while true do
            local ended = load:has_ended() -- asked before: it may end while one counts
            if count_of(name) >= rows then
                return
            end
            assert(not ended, ended and load:finish())
        end
    end

    local function assert_all(name, rows)
        rows = rows or ROWS
        assert.equal(rows - rows / 100, count_of(name))
        local sum = 0
        for n = 1, rows do
            sum = sum + (n % 100 == 0 and 0 or n)
        end
        assert.equal(sum, db:eval([[
            local sum = 0
            for _, t in box.space[...]:pairs() do sum = sum + t.n end
            return sum ]], name))
    end

    local function assert_rejects(path, rows)
        local lines = { 'n,text' }
        for n = 100, rows or ROWS, 100 do
            lines[#lines + 1] = 'bad ' .. n .. ',x'
        end
        assert.equal(table.concat(lines, '\n') .. '\n', read(path .. '.rejected'))
    end

    it('loses and doubles nothing when it is killed, again and again', function()
        local path = write('killed.csv', new_counted('killed'))
        local options = { '--on-error', 'skip', '--batch', '20' }
        for step = 1, 4 do
            local load = start('load', { path, 'killed' }, options)
            await(load, 'killed', step * 200)
            load:kill(process.SIGKILL)
            load:finish()
        end
        succeed('load', { path, 'killed' }, options)
        assert_all('killed')
        assert_rejects(path)
    end)

    it('goes on in what comes through a pipe again, by its name', function()
        local text = new_counted('piped')
        local options = { '--format', 'csv', '--name', 'mine', '--on-error', 'skip', '--rejects',
            path_of('piped.rejected'),
            '--batch', '50' }
        local load = start('load', { '-', 'piped' }, options)
        load:write(text:sub(1, 1500000)) -- more than it reads at once
        await(load, 'piped', 1)
        load:kill(process.SIGKILL)
        load:finish()
        load = start('load', { '-', 'piped' }, options)
        load:write(text)
        load:close_input()
        local output, status = load:finish()
        assert(status == 0, output)
        assert.truthy(output:find('going on behind', 1, true), output)
        assert_all('piped')
        assert_rejects(path_of('piped'))
    end)

    it('writes down what was refused, though another of its name is about it', function()
        local rows = 3000
        local text = new_counted('beside', rows)
        local function begin(name)
            return start('load', { '-', 'beside' }, { '--format', 'csv', '--name', 'mine', '--batch', '50',
                '--on-error', 'skip', '--rejects', path_of(name) })
        end
        local first = begin('first.rejected')
        first:write(text:sub(1, 2200000)) -- it reads two of 1048576 bytes
        await(first, 'beside', 2000)
        local second = begin('second.rejected')
        second:write(text:sub(1, 1500000)) -- learns where the load is, and has yet to read as far as that
        first:write(text:sub(2200001))
        first:close_input()
        local output, status = first:finish()
        assert(status == 0, output)
        second:write(text:sub(1500001))
        second:close_input()
        output, status = second:finish()
        assert(status == 0, output)
        assert_all('beside', rows)
        assert_rejects(path_of('first'), rows)
        assert_rejects(path_of('second'), rows)
    end)

    it('writes down what was refused when it could not before, at the end as well', function()
        local path = write('unwritten.csv', new_counted('unwritten', 400))
        local text = fail('load', { path, 'unwritten' }, -- one batch, which is there
            { '--on-error', 'skip', '--batch', '5000', '--rejects', path_of('nowhere/rejected') })
        assert.truthy(text:find('nowhere/rejected: No such file', 1, true), text)
        assert_all('unwritten', 400)
        succeed('load', { path, 'unwritten' }, { '--on-error', 'skip', '--batch', '5000' })
        assert_all('unwritten', 400)
        assert_rejects(path, 400)
        os.remove(path .. '.rejected')
        succeed('load', { path, 'unwritten' }, { '--on-error', 'skip', '--batch', '5000' })
        assert.is_nil((io.open(path .. '.rejected'))) -- once is enough
    end)

    it('waits for a server that was killed, and goes on with it', function()
        local path = write('served.csv', new_counted('served'))
        local load = start('load', { path, 'served' }, { '--on-error', 'skip', '--batch', '20' })
        for step = 1, 2 do
            await(load, 'served', step * 300)
            server:kill(process.SIGKILL)
            server:finish()
            server = process.server(folder)
        end
        local output, status = load:finish()
        assert(status == 0, output)
        assert_all('served')
        assert_rejects(path)
    end)

    it('is the admin of a folder that it can read', function()
        local other = process.folder()
        local guarded = process.server(other, { '--password', 'secret' })
        local function perigee(word, ...)
            local child = process.spawn({ process.perigee, word, ... })
            child:close_input()
            return child:finish()
        end
        local path = write('guarded.csv', 'id,name\n1,Ada\n')
        local output, status = perigee('load', path, 'people', guarded.address, '--create', '--dir', folder)
        assert.matches('asks for a password', output)
        assert.equal(1, status)
        output, status = perigee('load', path, 'people', guarded.address, '--create', '--dir', other)
        assert.matches('1 rows loaded', output)
        assert.equal(0, status)
        output = perigee('dump', 'people', '-', guarded.address, '--dir', other)
        assert.equal('{"id":1,"name":"Ada"}\n', output)
        assert.equal(0, guarded:stop())
        process.remove(other)
    end)
end)
