-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local complete = require('console.complete')
local console_case = require('console_case')
local signature = require('console.signature')

describe('completion', function()
    local catalog = {
        spaces = { { name = 'accounts', format = { { name = 'balance' } },
            indexes = { { name = 'primary' }, { name = 'owner' } } },
            { name = 'acme', indexes = {} }, { name = 'with blank', indexes = {} } },
        functions = { { name = 'transfer' } },
        by_name = {},
    }
    for _, space in ipairs(catalog.spaces) do
        catalog.by_name[space.name] = space
    end
    local function words(line)
        return (table.concat(complete.candidates(line, catalog), ' '))
    end

    it('knows spaces, their indexes and methods, and procedures', function()
        assert.equal('accounts acme', words('box.space.'))
        assert.equal('accounts acme', words('x = f(box.space.ac'))
        assert.equal('index', words('box.space.accounts.in'))
        assert.equal('owner primary', words('box.space.accounts.index.'))
        assert.equal('select(', words('box.space.accounts:se'))
        assert.equal('max( min(', words('box.space.accounts.index.owner:m'))
        assert.equal('transfer', words('box.func.'))
        assert.equal('call(', words('box.func.transfer:'))
        assert.equal('', words('box.space.unknown:'))
    end)

    it('knows words of Lua, members and commands', function()
        assert.equal('repeat require( return', (words('x() re'):gsub('redis ', '')))
        assert.equal('savepoint( schema sequence session space stat', words('box.s'))
        assert.equal('\\d \\delete \\df \\dm \\down \\dt', words('\\d'))
        assert.equal('accounts acme', words('\\d '))
        assert.equal('transfer', words('\\df t'))
        assert.equal('', words('x = '))
    end)

    it('knows what commands, functions and statements take', function()
        assert.equal('output', words('\\set o'))
        assert.equal('json', words('\\set output j'))
        assert.equal('redis', words('\\help re'))
        assert.equal('off on', words('\\x '))
        assert.equal('engine=', words("box.schema.space.create('a', {en"))
        assert.equal('limit=', words('box.space.accounts:select(1, {iterator = "GE", li'))
        assert.equal('balance', words('box.space.accounts:update(1, {{"+", "ba'))
        assert.equal('print(', words('f({pri'))
    end)

    it('knows the options of calls with and without parentheses, and what they may be', function()
        assert.equal('isolation=', words('box.begin{iso'))
        assert.equal('readonly=', words('box.begin({ isolation = "snapshot", re'))
        assert.equal('foreign_key= format=', words('box.space.accounts:alter{fo'))
        assert.equal('parts=', words('box.space.accounts.index.owner:alter({ name = "x", p'))
        assert.equal('fetch_pos=', words('box.space.accounts.index.owner:select(nil, {fe'))
        assert.equal('if_exists=', words('box.schema.user.drop("bob", {'))
        assert.equal('', words("box.schema.space.create('a', {format = {{na"))
        assert.equal('GE GT', words("box.space.accounts:select(1, {iterator='G"))
        assert.equal('read-committed read-uncommitted repeatable-read', words('box.begin{isolation = "re'))
        assert.equal('hash tree', words("box.space.accounts:create_index('x', {type='"))
        assert.equal('string', words("box.space.accounts:create_index('x', {parts={{'owner', type='st"))
        assert.equal('balance', words("box.space.accounts:create_index('x', {parts={'"))
        assert.equal('lsm', words("box.schema.space.create('a', {engine = 'l"))
        assert.equal('', words("box.space.accounts:get('ba"))
        assert.equal('', words("f('pri"))
        assert.equal('accounts acme', words("box.schema.space.drop('a"))
        assert.equal('transfer', words("box.schema.func.drop('t"))
        assert.equal('exclusive', words("box.space.accounts:lock('e"))
    end)

    it('knows what stands in brackets', function()
        assert.equal("accounts'] acme'] with blank']", words("box.space['"))
        assert.equal('with blank"]', words('return box.space["with b'))
        assert.equal('', words("box.space['p"))
        assert.equal("transfer']", words("box.func['tr"))
        assert.equal("owner'] primary']", words("box.space.accounts.index['"))
        assert.equal('create_index( create_trigger(', words("box.space['with blank']:cr"))
        assert.equal("owner']", words("box.space['accounts'].index['o"))
        assert.equal('owner', words("box.space['accounts'].index.o"))
    end)

    it('knows commands and keys of Redis', function()
        local asked
        local server = {
            names = function() return { get = true, getdel = true, set = true, ['client|list'] = true } end,
            ask = function(...)
                asked = table.concat({ ... }, ' ')
                return { '0', { 'user:1', 'user:2', 'with blank' } }
            end,
        }
        local function for_redis(line)
            return (table.concat(complete.candidates(line, catalog, server), ' '))
        end
        assert.equal('GET GETDEL', for_redis('GE'))
        assert.equal('get getdel', for_redis('/ge'))
        assert.equal('BEGIN', for_redis('BE'))
        assert.equal('user:1 user:2', for_redis('GET us'))
        assert.equal('SCAN 0 MATCH us* COUNT 1000', asked)
        assert.equal('user:1', for_redis('/get user:1'))
        assert.equal('', for_redis('GET a*'))
        assert.equal('SCAN 0 MATCH a\\** COUNT 1000', asked)
    end)

    it('knows what commands of Redis take', function()
        local known = { 'get', 'client', 'client|list', 'client|kill', 'client|no-evict', 'object',
            'object|encoding', 'config', 'config|get', 'config|set', 'space.get', 'space.list', 'call',
            'fcall', 'begin', 'isolation', 'mset', 'ping', 'eval' }
        local names, info = {}, {
            get = { 'get', 2, { kind = 'set' }, 1, 1, 1 },
            ping = { 'ping', -1, { kind = 'set' }, 0, 0, 0 },
            mset = { 'mset', -3, { kind = 'set' }, 1, -1, 2 },
            eval = { 'eval', -3, { kind = 'set', { kind = 'status', text = 'movablekeys' } }, 0, 0, 0 },
            ['object|encoding'] = { 'object|encoding', 3, { kind = 'set' }, 2, 2, 1 },
            ['client|kill'] = { 'client|kill', -3, { kind = 'set' }, 0, 0, 0 },
        }
        for _, name in ipairs(known) do
            names[name] = true
        end
        local server = {
            names = function() return names end,
            ask = function(verb, second, third)
                if verb == 'COMMAND' and second == 'INFO' then
                    return { info[third] or {} }
                elseif verb == 'FUNCTION' then
                    return { { kind = 'map', 'library_name', 'lib', 'functions',
                        { { kind = 'map', 'name', 'my_function', 'flags', {} } } } }
                elseif verb == 'CONFIG' then
                    return { kind = 'map', 'maxmemory', '0', 'maxmemory-policy', 'noeviction' }
                end
                return { '0', { 'key' } }
            end,
        }
        local function for_redis(line)
            return (table.concat(complete.candidates(line, catalog, server), ' '))
        end
        assert.equal('KILL LIST NO-EVICT', for_redis('CLIENT '))
        assert.equal('NO-EVICT', for_redis('CLIENT NO-'))
        assert.equal('kill list no-evict', for_redis('/client '))
        assert.equal('', for_redis('CLIENT KILL '))
        assert.equal('ENCODING', for_redis('OBJECT '))
        assert.equal('key', for_redis('OBJECT ENCODING '))
        assert.equal('accounts acme', for_redis('SPACE.GET a'))
        assert.equal('', for_redis('SPACE.LIST '))
        assert.equal('', for_redis('SPACE.GET accounts '))
        assert.equal('transfer', for_redis('CALL '))
        assert.equal('my_function', for_redis('FCALL '))
        assert.equal('SERIALIZABLE SNAPSHOT', for_redis('BEGIN S'))
        assert.equal('COMMITTED ONLY UNCOMMITTED WRITE', for_redis('BEGIN READ '))
        assert.equal('READ REPEATABLE', for_redis('BEGIN SNAPSHOT R'))
        assert.equal('LEVEL', for_redis('BEGIN ISOLATION '))
        assert.equal('TRANSACTION', for_redis('START '))
        assert.equal('SNAPSHOT', for_redis('ISOLATION SN'))
        assert.equal('maxmemory maxmemory-policy', for_redis('CONFIG SET max'))
        assert.equal('', for_redis('CONFIG SET maxmemory '))
        assert.equal('maxmemory maxmemory-policy', for_redis('/config get max'))
        assert.equal('key', for_redis('MSET '))
        assert.equal('', for_redis('MSET key '))
        assert.equal('', for_redis('PING '))
        assert.equal('', for_redis('GET a '))
        assert.equal('key', for_redis('EVAL "return 1" 1 '))
        assert.equal('', for_redis('GET "a '))
    end)

    it('inserts what all have in common and lists them in columns', function()
        assert.equal('ac', complete.common({ 'accounts', 'acme' }))
        assert.equal('', complete.common({}))
        assert.equal('a    ccc\nbb   d', complete.listing({ 'a', 'bb', 'ccc', 'd' }, 10))
    end)
end)

--- All names in the documentation that match a pattern, each once.
local function names_of_docs(pattern)
    local seen, names = {}, {}
    local files = assert(io.popen('ls docs/*.md'))
    for path in files:lines() do
        local file = assert(io.open(path))
        for name in file:read('*a'):gmatch(pattern) do
            if not seen[name] then
                seen[name] = true
                names[#names + 1] = name
            end
        end
        file:close()
    end
    files:close()
    table.sort(names)
    assert(#names > 20, pattern)
    return names
end

describe('completion and help on a server', function()
    local CATALOG = { spaces = {}, functions = {}, by_name = {
        p = { name = 'p', format = {}, indexes = { { name = 'pk' } } },
    } }

    --- Whether `name` is what may follow `path`, and a function has a signature.
    local function known(path, name, is_function)
        for _, word in ipairs((complete.candidates(path .. name, CATALOG))) do
            if word:gsub('%($', '') == name then
                return not is_function or path == 'redis.' or signature.of(path .. name) ~= nil
            end
        end
        return false
    end

    -- What has a result's fields, or whatever somebody has made, behind it.
    local OTHERS = { 'box.space.', 'box.func.', 'box.cfg.', 'box.sequence.', 'box.info.', 'box.stat.%l+.' }
    -- Other names, which need not be offered.
    local LEFT_OUT = { ['box.schema.create_space'] = true, ['box.schema.space_mt'] = true }

    local function belongs(path, base)
        for _, other in ipairs(OTHERS) do
            if base:find('^' .. other:gsub('%.', '%%.')) then
                return false
            end
        end
        return (base:find('^box%.') or base:find('^redis%.')) and not LEFT_OUT[path]
    end

    it('knows all that is documented and there', function()
        console_case.with_server(function(server)
            local db = client.connect(server.address)
            db:eval("box.schema.space.create('p'):create_index('pk')")
            local TYPE = [[
                local path = ...
                local ok, kind = pcall(function()
                    local at = _G
                    for name in path:gmatch('[%a_]+') do at = at[name] end
                    return type(at)
                end)
                return ok and kind or 'nil'
            ]]
            local missing = {}
            local function look(path, base, name)
                local kind = db:eval(TYPE, path)
                if kind ~= 'nil' and not known(base, name, kind == 'function') then
                    missing[#missing + 1] = path
                end
            end
            for _, path in ipairs(names_of_docs('%f[%w_][br]%l+%.[a-z_.]*[a-z_]')) do
                local base, name = path:match('^(.*%.)([a-z_]+)$')
                if base and belongs(path, base) then
                    look(path, base, name)
                end
            end
            for _, path in ipairs({ 'box.space.p', 'box.space.p.index.pk' }) do
                for _, call in ipairs(names_of_docs('%f[%w_:]:([a-z_]+)%(')) do
                    look(path .. '.' .. call, path .. ':', call)
                end
            end
            db:close()
            assert.equal('', table.concat(missing, ' '))
        end)
    end)
end)
