-- SPDX-License-Identifier: Apache-2.0
--
-- Walks docs/lua-names.md: every row names tests that are there and mention its names, every name that
-- is done resolves, and everything that box, its objects and the modules of the sandbox offer is in a
-- row, and in an example that the tests run.

local testing = require('testing')

local PAGE = 'docs/lua-names.md'

-- What the module `testing` has for `perigee test` itself.
local INTERNAL = { end_all = true, forget_seeds = true, show_seeds = true }

local function read(path)
    local file = io.open(path)
    local text = file and file:read('*a')
    if file then
        file:close()
    end
    return text
end

local function lines_of(command)
    local found, pipe = {}, assert(io.popen(command))
    for line in pipe:lines() do
        found[#found + 1] = line
    end
    pipe:close()
    return found
end

--- Lua without its comments.
local function without_comments(text)
    return (text:gsub('%-%-[^\n]*', ''))
end

--- The Lua in a page.
local function examples(path)
    local chunks = {}
    for chunk in read(path):gmatch('\n```lua\n(.-)\n```') do
        chunks[#chunks + 1] = without_comments(chunk)
    end
    return table.concat(chunks, '\n')
end

-- --------------------------------------------------------------------------------- the table

--- `box.begin commit`: words behind the first have what stands before its last name.
local function names_in(cell)
    local names = {}
    for code in cell:gmatch('`([^`]+)`') do
        local prefix
        for word in code:gmatch('%S+') do
            if word:find('[.:]') then
                prefix = word:match('^(.*[.:])')
            elseif prefix then
                word = prefix .. word
            end
            names[#names + 1] = word
        end
    end
    return names
end

local function rows()
    local result, number = {}, 0
    for line in (read(PAGE) .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        local cells = {}
        for cell in line:gmatch('|%s*([^|]-)%s*%f[|]') do
            cells[#cells + 1] = cell
        end
        if #cells == 4 and cells[1] ~= '' and not cells[1]:match('^%-+$') and cells[2] ~= 'state' then
            local row = { what = cells[1], state = cells[2], pages = cells[3], line = number }
            row.names, row.tests = names_in(cells[1]), {}
            for program, title in cells[4]:gmatch('`([%w_]+)`: ([^;`]+)') do
                row.tests[#row.tests + 1] = { program = program, title = title:gsub('%s+$', '') }
            end
            result[#result + 1] = row
        end
    end
    return result
end

--- The file of a program as ./dev test calls it.
local function file_of(program)
    local kind, rest = program:match('^(%l+)_(.+)$')
    if kind == 'lua' then
        return ('test/lua/%s_spec.lua'):format(rest)
    elseif kind == 'client' then
        return ('test/lua-client/%s_spec.lua'):format(rest)
    elseif kind == 'protocol' then
        return ('test/protocol/%s.test.mjs'):format(rest)
    elseif kind == 'unit' then
        return ('test/unit/%s/%s_test.c'):format(rest:match('^(%l+)_(.+)$'))
    elseif kind == 'module' or kind == 'example' then
        local folder, name = rest:match('^(%l+)_(.+)$')
        return ('%ss/%s/specs/%s_spec.lua'):format(kind, folder or rest, name or rest)
    end
    return kind and ('test/%s/%s_test.c'):format(kind, rest)
end

--- Whether a test begins with a title: in C it is the name of a function.
local function has_test(text, path, title)
    if path:match('%.c$') then
        return text:find('static void ' .. title:gsub('%W', '_') .. '(', 1, true) ~= nil
    end
    for _, quote in ipairs({ "'", '"', '`' }) do
        if text:find(quote .. title:gsub("'", "\\'"), 1, true) or text:find(quote .. title, 1, true) then
            return true
        end
    end
    return false
end

--- crypto.cipher.*, where a table has many functions of one kind.
local function all_of(name)
    local group = name:match('^crypto%.%l+%.')
    return group and group .. '*'
end

local function mentions(text, name)
    local last = name:match('([%w_]+)%.?%*?$')
    return text:find('[.:]' .. last .. '%f[^%w_]') ~= nil or text:find("['\"]" .. last .. "['\"]") ~= nil
end

-- ---------------------------------------------------------------------------- what there is

local function upvalue(fn, name)
    for n = 1, 60 do
        local found, value = debug.getupvalue(fn, n)
        if found == name or not found then
            return value
        end
    end
end

--- The methods of objects whose metatable is out of reach, by the file that defines them.
local function methods_in(path, object)
    local methods, text = {}, read(path)
    for name in text:gmatch('\nfunction methods%.([%w_]+)') do
        methods[name] = true
    end
    for name in text:gmatch('\nmethods%.([%w_]+) = ') do
        methods[name] = true
    end
    for name in pairs(methods) do
        assert(type(object[name]) == 'function', path .. ': ' .. name)
    end
    return methods
end

--- The functions in what an object shows, and in its upvalue `name`.
local function methods_of(object, name)
    local methods, index = {}, debug.getmetatable(object).__index
    local inherited = {}
    if type(index) == 'table' then
        for key, value in pairs(index) do
            methods[key] = type(value) == 'function' or nil
        end
        index = debug.getmetatable(index) and debug.getmetatable(index).__index
    end
    if type(index) == 'function' then
        inherited = upvalue(index, name) or {}
    elseif type(index) == 'table' then
        inherited = index
    end
    for key, value in pairs(inherited) do
        methods[key] = type(value) == 'function' or nil
    end
    assert(next(methods), name)
    return methods
end

--- Installs the modules that come with the server; gives what they export.
local function install_all()
    local exported, left = {}, box.module.available()
    while #left > 0 do
        local later = {}
        for _, name in ipairs(left) do
            if not pcall(box.module.install, name) then
                later[#later + 1] = name
            end
        end
        assert(#later < #left, 'a module can not be installed')
        left = later
    end
    for _, module in ipairs(box.module.list()) do
        -- what runs in the background is nobody's to call
        local start = read(('modules/%s/manifest.lua'):format(module.name)):match("start = '([%w_]+)'")
        exported[module.name] = {}
        for _, name in ipairs(module.exports) do
            exported[module.name][name] = name ~= start and require(module.name)[name] or nil
        end
    end
    return exported
end

local function remove_all()
    local left = box.module.list()
    while #left > 0 do
        for _, module in ipairs(left) do
            pcall(box.module.remove, module.name, { purge = true })
        end
        assert(#box.module.list() < #left, 'a module can not be removed')
        left = box.module.list()
    end
end

describe('docs/lua-names.md', function()
    local objects, modules

    setup(function()
        local s = box.schema.space.create('names', { format = { { 'id', 'unsigned' } } })
        local index = s:create_index('pk', { sequence = true })
        box.schema.func.create('names', { body = 'return 1' })
        local fiber, fun = require('fiber'), require('fun')
        objects = {
            space = methods_of(s, 'space_methods'),
            index = methods_of(index, 'index_methods'),
            tuple = methods_in('lua/box/tuple.lua', s:insert({ 1 })),
            sequence = methods_of(box.sequence.names_seq, 'methods'),
            func = methods_of(box.func.names, 'methods'),
            fiber = methods_of(fiber.self(), 'methods'),
            channel = methods_of(fiber.channel(), 'methods'),
            cond = methods_of(fiber.cond(), 'methods'),
            iterator = methods_of(fun.iter({}), 'methods'),
            decimal = methods_in('lua/decimal.lua', require('decimal').new(1)),
            uuid = methods_in('lua/uuid.lua', require('uuid').new()),
            datetime = methods_in('lua/datetime.lua', require('datetime').new()),
            interval = { totable = require('datetime').interval.new().totable },
            error = { unpack = box.error.new('x').unpack, raise = box.error.new('x').raise },
        }
        local watch = box.watch('names', nil, function() end)
        objects.watch = methods_of(watch, 'methods')
        watch:stop()
        local path = os.tmpname()
        local file = require('fio').open(path)
        objects.file = methods_of(file, 'methods')
        file:close()
        os.remove(path)
        local server = testing.server({ workers = 1 })
        objects.server = methods_of(server, 'methods')
        server:remove()
        server = require('socket').tcp_server('127.0.0.1', 0, function() end)
        objects.socket = methods_of(server, 'methods')
        server:close()
        -- what chains have is there as functions, too
        for name in pairs(objects.iterator) do
            assert(type(fun[name]) == 'function', name)
        end
        objects.iterator = nil
        assert(fun.operator.add == fun.op.add)
        local require_of = require('box.sandbox').environment({}).require
        modules = {}
        for name in pairs(upvalue(require_of, 'modules')) do
            modules[name] = require(name)
        end
        for name, exports in pairs(install_all()) do
            modules[name] = exports
        end
        modules.testing = {}
        for name, value in pairs(testing) do
            modules.testing[name] = not INTERNAL[name] and value or nil
        end
    end)

    teardown(function()
        box.space.names:drop()
        box.schema.func.drop('names')
        remove_all()
    end)

    --- What a name means in the running state, or nil.
    local function resolve(name)
        local object, method = name:match('^([%w_]+):([%w_]+)$')
        if object then
            return objects[object] and objects[object][method]
        end
        local root, rest = name:match('^(%l+)%.(.*)$')
        local value = root == 'box' and box or root == 'redis' and redis or nil
        if not value then
            local module = ''
            for known in pairs(modules) do
                if (name .. '.'):sub(1, #known + 1) == known .. '.' and #known > #module then
                    module = known
                end
            end
            if module == '' then
                return nil
            end
            value, rest = modules[module], name:sub(#module + 2)
        end
        for part in rest:gmatch('[%w_]+') do
            if type(value) ~= 'table' then
                return nil
            end
            value = value[part]
        end
        return value
    end

    --- What is a name in a row; the rest are words in the text.
    local function is_name(name)
        local root = name:match('^[%w_]+')
        if root == name then
            return modules[name]
        end
        return root == 'box' or root == 'redis' or root == 'http' or objects[root] or modules[root]
    end

    --- The names of a row that mean something here.
    local function lua_names(row)
        local names = {}
        for _, name in ipairs(row.names) do
            if is_name(name) then
                names[#names + 1] = name
            end
        end
        return names
    end

    --- Calls fn(name) for all functions below an object, and for objects that can be called.
    local function each_function(prefix, object, fn)
        local metatable = debug.getmetatable(object)
        local fields = metatable and metatable.__index or object
        if metatable and metatable.__call then
            fn(prefix)
        end
        for key, value in pairs(type(fields) == 'table' and fields or {}) do
            if key == 'new' and metatable and metatable.__call then -- luacheck: ignore 542
                -- the same in parts
            elseif type(value) == 'function' then
                fn(prefix .. '.' .. key)
            elseif type(value) == 'table' and key ~= 'operator' then
                each_function(prefix .. '.' .. key, value, fn)
            end
        end
    end

    --- Calls fn(name) for everything public.
    local function each_public(fn)
        each_function('box', box, fn)
        each_function('redis', redis, fn)
        for module, value in pairs(modules) do
            each_function(module, value, fn)
        end
        for object, methods in pairs(objects) do
            for method in pairs(methods) do
                fn(object .. ':' .. method)
            end
        end
    end

    it('says of every row whether it is done, and which test shows it', function()
        local wrong, all = {}, rows()
        for _, row in ipairs(all) do
            local state = row.state:match('^%l+')
            if state == 'partly' and not row.state:match('^partly: .') then
                wrong[#wrong + 1] = ('%d: %s: what is missing?'):format(row.line, row.what)
            elseif state ~= 'done' and state ~= 'partly' and state ~= 'not' then
                wrong[#wrong + 1] = ('%d: %s: is it done?'):format(row.line, row.what)
            elseif state ~= 'not' and #row.tests == 0 then
                wrong[#wrong + 1] = ('%d: %s: which test?'):format(row.line, row.what)
            end
            for page in row.pages:gmatch('%(([^)#]+)[^)]*%)') do
                if not read('docs/' .. page) then
                    wrong[#wrong + 1] = ('%d: there is no docs/%s'):format(row.line, page)
                end
            end
        end
        assert.equal('', table.concat(wrong, '\n'))
        assert.is_true(#all > 100)
    end)

    it('names tests that are there', function()
        local wrong = {}
        for _, row in ipairs(rows()) do
            for _, test in ipairs(row.tests) do
                local path = file_of(test.program)
                local text = path and read(path)
                if not text or not has_test(text, path, test.title) then
                    wrong[#wrong + 1] = ('%d: %s: %s'):format(row.line, test.program, test.title)
                end
            end
        end
        assert.equal('', table.concat(wrong, '\n'))
    end)

    it('has names that mean something, and stand in the tests', function()
        local wrong = {}
        for _, row in ipairs(rows()) do
            local texts = {}
            for _, test in ipairs(row.tests) do
                texts[#texts + 1] = read(file_of(test.program)) or ''
                if test.program:match('documentation$') then
                    for page in row.pages:gmatch('%(([^)#]+)[^)]*%)') do
                        texts[#texts + 1] = examples('docs/' .. page)
                    end
                end
            end
            local text = table.concat(texts, '\n')
            for _, name in ipairs(row.state == 'not' and {} or lua_names(row)) do
                if type(resolve(name)) == 'nil' then
                    wrong[#wrong + 1] = ('%d: %s does not exist'):format(row.line, name)
                elseif not mentions(text, name) then
                    wrong[#wrong + 1] = ('%d: %s is in none of its tests'):format(row.line, name)
                end
            end
            for _, name in ipairs(row.state == 'not' and lua_names(row) or {}) do
                if type(resolve(name)) ~= 'nil' then
                    wrong[#wrong + 1] = ('%d: %s exists'):format(row.line, name)
                end
            end
        end
        assert.equal('', table.concat(wrong, '\n'))
    end)

    it('has every public function', function()
        local there, missing = {}, {}
        for _, row in ipairs(rows()) do
            for _, name in ipairs(row.names) do
                there[name] = true
            end
        end
        each_public(function(name)
            if not there[name] and not there[all_of(name)] then
                missing[#missing + 1] = name
            end
        end)
        table.sort(missing)
        assert.equal('', table.concat(missing, '\n'))
    end)

    it('speaks of nothing that has no example', function()
        local texts, missing = {}, {}
        for _, path in ipairs(lines_of('ls docs/*.md')) do
            texts[#texts + 1] = examples(path)
        end
        local text = table.concat(texts, '\n')
        each_public(function(name)
            local short = name:match('^box%..*%f[^.]([%w_]+%.[%w_]+)$')
            if all_of(name) then
                name = all_of(name)
            end
            if short and not text:find(short, 1, true) or not short and not mentions(text, name) then
                missing[#missing + 1] = name
            end
        end)
        table.sort(missing)
        assert.equal('', table.concat(missing, '\n'))
    end)

    it('belongs to pages that README.md leads to', function()
        local text = read('README.md')
        for _, path in ipairs(lines_of('ls docs/*.md')) do
            assert.is_truthy(text:find('(' .. path .. ')', 1, true), path)
        end
    end)

    it('has three applications of less than 300 lines each', function()
        for _, folder in ipairs({ 'examples/exchange', 'examples/messages', 'examples/native' }) do
            local count = 0
            for _, path in ipairs(lines_of('ls ' .. folder .. '/*.lua ' .. folder .. '/*.c 2>/dev/null')) do
                for _ in read(path):gmatch('\n') do count = count + 1 end
            end
            assert.is_true(count > 50 and count < 300)
        end
    end)

    it('belongs to pages whose examples are all run', function()
        local specs, wrong = {}, {}
        for _, path in ipairs(lines_of('ls test/lua/*documentation_spec.lua test/lua-client/*_spec.lua')) do
            specs[#specs + 1] = read(path)
        end
        local text = table.concat(specs, '\n')
        for _, path in ipairs(lines_of("grep -l '^```lua' docs/*.md")) do
            local page = path:match('docs/(.-)%.md')
            local group, part = page:match('^(%l+%-)(%w+)$')
            if not text:find('docs/' .. page .. '.md', 1, true)
                and not (group and text:find('docs/' .. group .. '*.md', 1, true))
                and not text:find("'" .. (group == 'lua-' and part or page) .. "'[ ,]") then
                wrong[#wrong + 1] = path
            end
        end
        assert.equal('', table.concat(wrong, '\n'))
    end)
end)
