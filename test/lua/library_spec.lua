-- SPDX-License-Identifier: Apache-2.0
--
-- C libraries of modules: that of examples/native, and some that are compiled here.

local fiber = require('fiber')
local test = require('testing')

local build = assert(os.getenv('TEST_PERIGEE'), 'TEST_PERIGEE names no executable'):match('^(.*)/[^/]*$')
local geo_folder = build .. '/examples/native/geo'

describe('a library in C', function()
    setup(function() box.module.install(geo_folder) end)
    teardown(function() box.module.remove('geo', { purge = true }) end)
    before_each(function() box.space.geo_places:truncate() end)
    after_each(function() box.rollback() end)

    local geo
    before_each(function() geo = require('geo') end)

    it('takes arguments and gives a result', function()
        local metres = geo.distance(52.52, 13.405, 48.8566, 2.3522) -- from Berlin to Paris
        assert.is_true(math.abs(metres - 877463) < 100)
        assert.equal(0, geo.distance(1, 2, 1, 2))
        assert.is_true(math.abs(geo.distance('0', '0', '0', '180') - 20015115) < 10)
    end)

    it('reads and writes rows in the transaction of the caller', function()
        assert.equal(1, geo.visit('Paris', 48.8566, 2.3522))
        box.begin()
        assert.equal(2, geo.visit('Paris'))
        assert.equal(2, box.space.geo_places:get('Paris').visits)
        box.rollback()
        assert.equal(1, box.space.geo_places:get('Paris').visits)
        assert.equal(2, geo.visit('Paris'))
        geo.visit('Berlin', 52.52, 13.405)
        geo.visit('Potsdam', 52.3906, 13.0645)
        assert.same({ 'Berlin', 'Potsdam' }, geo.near(52.52, 13.405, 50000))
        assert.same({ 'Berlin', 'Potsdam', 'Paris' }, geo.near(52.52, 13.405, 1e6))
        assert.same({}, geo.near(0, 0, 1))
    end)

    it('reports errors with their codes', function()
        local ok, problem = pcall(geo.visit, 'nowhere')
        assert.is_false(ok)
        assert.equal(box.error.NOT_FOUND, problem.code)
        assert.equal('there is no such place: say where it is', problem.message)
        assert.error_matches(geo.visit, 'visit takes the name of a place')
        assert.error_matches(function() geo.near('x') end, 'near takes degrees')
        box.space.geo_places:rename('elsewhere')
        assert.error_matches(function() geo.visit('Paris') end, 'there is no space geo_places')
        box.space.elsewhere:rename('geo_places')
    end)

    it('runs triggers, which may call it again', function()
        box.space.geo_places:create_trigger('twin', { event = 'on_replace', body = [[function(_, new)
            if new.name == 'Paris' then require('geo').visit('Lyon', 45.764, 4.8357) end
        end]] })
        geo.visit('Paris', 48.8566, 2.3522)
        assert.equal(2, geo.visit('Paris'))
        assert.equal(2, box.space.geo_places:get('Lyon').visits)
        box.schema.trigger.drop('twin')
    end)

    it('sees what a trigger refuses', function()
        box.space.geo_places:create_trigger('refuse', { event = 'before_replace', body = [[function()
            error('not now', 0)
        end]] })
        assert.error_matches(function() geo.visit('Paris', 1, 2) end, 'not now')
        box.schema.trigger.drop('refuse')
        assert.equal(0, box.space.geo_places:count())
    end)
end)

describe('a library in C on a server', function()
    local server

    before_each(function() server = test.server({ workers = 2, modules = { geo_folder } }) end)
    after_each(function() server:remove() end)

    it('is called by many at once and loses nothing', function()
        server:call('geo.visit', 'Paris', 48.8566, 2.3522)
        test.concurrently(8, function()
            for _ = 1, 25 do server:call('geo.visit', 'Paris') end
        end)
        assert.equal(202, server:call('geo.visit', 'Paris'))
    end)

    it('waits for those who have locked what it writes, in procedures and in fibers', function()
        server:call('geo.visit', 'Paris', 48.8566, 2.3522)
        server:eval('box.schema.func.create(...)', 'late', {
            transaction = false,
            body = "function() require('fiber').sleep(0.001) return require('geo').visit('Paris') end",
        })
        server:eval('box.schema.func.create(...)', 'late_in_transaction', {
            transaction = false,
            body = [[function()
                require('fiber').sleep(0.001)
                return box.atomic(function()
                    require('geo').visit('Paris')
                    return require('geo').visit('Paris')
                end)
            end]],
        })
        for _, name in ipairs({ 'geo.visit', 'late', 'late_in_transaction' }) do
            local db = server:connect()
            local transaction = db:begin()
            local before = server:eval("return box.space.geo_places:get('Paris').visits")
            local result
            transaction:eval("return box.space.geo_places:get('Paris', { lock = 'exclusive' })")
            fiber.create(function() result = server:call(name, 'Paris') end)
            test.eventually(function()
                return server:eval('return box.stat.locks().waiting') == 1
            end)
            assert.is_nil(result)
            transaction:rollback()
            test.eventually(function() return result end)
            assert.equal(name == 'late_in_transaction' and before + 2 or before + 1, result)
            db:close()
        end
    end)

    it('leaves what triggers of a statement have left for the commit once, when that had to wait', function()
        server:call('geo.visit', 'Paris', 48.8566, 2.3522)
        server:eval("box.space.geo_places:insert({ 'Lyon', 45.764, 4.8357, 0 })")
        server:eval("box.schema.space.create('ends'):create_index('pk', { sequence = true })")
        server:eval('box.space.geo_places:create_trigger(...)', 'chain', {
            event = 'on_replace',
            body = [[function(_, new)
                if new.name ~= 'Paris' then return end
                box.on_commit(function() box.space.ends:insert({ box.NULL }) end)
                require('geo').visit('Lyon')
            end]],
        })
        server:eval('box.schema.func.create(...)', 'late', {
            transaction = false,
            body = [[function()
                require('fiber').sleep(0.001)
                return box.atomic(function() return require('geo').visit('Paris') end)
            end]],
        })
        local db, result = server:connect(), nil
        local transaction = db:begin()
        transaction:eval("return box.space.geo_places:get('Lyon', { lock = 'exclusive' })")
        fiber.create(function() result = server:call('late') end)
        test.eventually(function() return server:eval('return box.stat.locks().waiting') == 1 end)
        transaction:rollback()
        test.eventually(function() return result end)
        assert.equal(2, result)
        assert.equal(1, server:eval("return box.space.geo_places:get('Lyon').visits"))
        assert.equal(1, server:eval('return box.space.ends:count()'))
        db:close()
    end)

    it('has the privileges of who calls', function()
        server:eval([[
            box.schema.user.create('eve', { password = 'secret' })
            box.schema.user.grant('eve', 'execute', 'function', 'geo.visit')
            box.schema.user.grant('eve', 'read', 'space', 'geo_places')
        ]])
        local db = server:connect({ user = 'eve', password = 'secret' })
        local ok, problem = pcall(db.call, db, 'geo.visit', 'Paris', 1, 2)
        assert.is_false(ok)
        assert.equal('ERROR_ACCESS', problem.name)
        server:eval("box.schema.user.grant('eve', 'write', 'space', 'geo_places')")
        assert.equal(1, db:call('geo.visit', 'Paris', 1, 2))
        ok, problem = pcall(db.eval, db, "box.module.install('" .. geo_folder .. "')")
        assert.is_false(ok)
        assert.equal('ERROR_ACCESS', problem.name)
        db:close()
    end)

    it('is there again after a kill, and in a restored backup', function()
        assert.equal(1, server:call('geo.visit', 'Paris', 48.8566, 2.3522))
        server:kill()
        server.options.backup_dir = server.folder
        server:restart()
        assert.equal(2, server:call('geo.visit', 'Paris'))
        local function run(command)
            assert.equal(0, os.execute(('%s/perigee %s >>%s 2>&1'):format(build, command, server.log)))
        end
        run(('backup copy --dir %s/data'):format(server.folder))
        assert.equal(3, server:call('geo.visit', 'Paris'))
        server:stop()
        os.execute(('mv %s/data %s/old'):format(server.folder, server.folder))
        run(('restore %s/copy %s/data'):format(server.folder, server.folder))
        server:restart()
        assert.equal(3, server:call('geo.visit', 'Paris'))
    end)
end)

describe('loading a library', function()
    local folder

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
        os.execute('mkdir ' .. folder)
    end)
    after_each(function()
        box.module.remove('made', { if_exists = true })
        os.execute('rm -rf ' .. folder)
    end)

    local function write(name, text)
        local file = assert(io.open(folder .. '/' .. name, 'w'))
        file:write(text)
        file:close()
    end

    local function compile(text)
        write('made.c', '#include <perigee/module.h>\n' .. text)
        assert.equal(0, os.execute(('cc -shared -fPIC -Wall -Werror -I%s/include -o %s/made.so %s/made.c')
            :format(build, folder, folder)))
        os.remove(folder .. '/made.c')
    end

    local function install(version)
        write('manifest.lua', ("return { name = 'made', version = '%s', library = 'made.so' }")
            :format(version or '1'))
        write('init.lua', 'return library')
        box.module[version and 'upgrade' or 'install'](folder)
    end

    local function check(problem)
        assert.error_matches(install, problem)
        assert.is_nil(box.module.info('made'))
    end

    local answer = [[
        static int answer(const struct perigee_api *api, struct perigee_call *call)
        {
            static char calls;
            char result = (char)(ANSWER + calls++);
            return api->result(call, &result, 1);
        }
        static const struct perigee_function functions[] = {{"answer", answer}};
    ]]

    it('refuses what is no library, is made for another version, or of another module', function()
        check('module "made" has no file made.so')
        write('made.so', 'no library\0at all')
        check('the library of module made: .*')
        compile('int nothing;')
        check('exports no symbol perigee_module')
        compile('const struct perigee_module perigee_module = {2, sizeof perigee_module, "made", 0, 0};')
        check('made for version 2 of perigee/module.h, this server has version 1')
        compile('const struct perigee_module perigee_module = {1, 8, "made", 0, 0};')
        check('says that its struct perigee_module has 8 bytes; version 1 has 32')
        compile('#define ANSWER 1\n' .. answer .. 'PERIGEE_MODULE("other", functions);')
        check('calls itself other')
        compile('static const struct perigee_function functions[] = {{"empty", 0}};'
            .. 'PERIGEE_MODULE("made", functions);')
        check('function 0 of module made has no name, or no code')
    end)

    it('takes the new one after an upgrade, with new static variables', function()
        compile('#define ANSWER 10\n' .. answer .. 'PERIGEE_MODULE("made", functions);')
        install()
        local made = require('made')
        assert.equal(10, made.answer())
        assert.equal(11, made.answer())
        compile('#define ANSWER 20\n' .. answer .. 'PERIGEE_MODULE("made", functions);')
        install('2')
        package.loaded.made = nil
        assert.equal(20, require('made').answer())
        assert.equal(12, made.answer())
        collectgarbage()
        collectgarbage()
        assert.equal(21, require('made').answer())
    end)

    it('does with the example of docs/modules.md what is said there', function()
        local file = assert(io.open('docs/modules.md'))
        local text = file:read('*a'):match('\n```c\n(.-)\n```'):gsub('deep_thought', 'made')
        file:close()
        compile(text)
        install()
        assert.equal(42, require('made').answer())
    end)

    it('keeps files of any bytes', function()
        local bytes = {}
        for n = 0, 255 do bytes[#bytes + 1] = string.char(n) end
        write('data.bin', table.concat(bytes):rep(10))
        write('manifest.lua', "return { name = 'made', version = '1' }")
        write('init.lua', 'return 1')
        box.module.install(folder)
        local id = box.space._module:select()[1].id
        local row = box.space._module_file:get({ id, 'data.bin' })
        assert.equal(table.concat(bytes):rep(10), row[3])
        assert.equal(row[3], require('msgpack').decode(require('msgpack').encode(row[3])))
    end)

    it('forgets what triggers have left for the commit when the whole call is made again', function()
        compile([[
            static int both(const struct perigee_api *api, struct perigee_call *call)
            {
                int code = api->replace(call, "s", "\x91\x01", 2, 0);
                return code ? code : api->replace(call, "s", "\x91\x02", 2, 0);
            }
            static const struct perigee_function functions[] = {{"both", both}};
            PERIGEE_MODULE("made", functions);
        ]])
        write('manifest.lua', "return { name = 'made', version = '1', library = 'made.so' }")
        write('init.lua', 'return library')
        local server = test.server({ modules = { folder } })
        server:eval("box.schema.space.create('s'):create_index('pk'); box.space.s:insert({ 2 })")
        server:eval("box.schema.space.create('ends'):create_index('pk', { sequence = true })")
        server:eval('box.space.s:create_trigger(...)', 'first', {
            event = 'on_replace',
            body = [[function(_, new)
                if new[1] ~= 1 then return end
                box.on_commit(function() box.space.ends:insert({ box.NULL }) end)
            end]],
        })
        server:eval('box.schema.func.create(...)', 'late', {
            transaction = false,
            body = [[function()
                require('fiber').sleep(0.001)
                box.atomic(function() require('made').both() end)
                return 'done'
            end]],
        })
        local db, result = server:connect(), nil
        local transaction = db:begin()
        transaction:eval("return box.space.s:get(2, { lock = 'exclusive' })")
        fiber.create(function() result = server:call('late') end)
        test.eventually(function() return server:eval('return box.stat.locks().waiting') == 1 end)
        transaction:rollback()
        test.eventually(function() return result end)
        assert.equal(1, server:eval('return box.space.ends:count()'))
        db:close()
        server:remove()
    end)

    it('refuses what is no MessagePack, and says what went wrong', function()
        compile([[
            #include <string.h>
            static int bad_result(const struct perigee_api *api, struct perigee_call *call)
            { return api->result(call, "\xd9\xff", 2); }
            static int bad_tuple(const struct perigee_api *api, struct perigee_call *call)
            { return api->insert(call, "s", "\x01", 1, 0); }
            static int bad_iterator(const struct perigee_api *api, struct perigee_call *call)
            { return api->select(call, "s", 0, 99, 0, 0, 0, 1, 0); }
            static int code_alone(const struct perigee_api *api, struct perigee_call *call)
            { return PERIGEE_BUSY; }
            static int goes_on(const struct perigee_api *api, struct perigee_call *call)
            {
                if (api->insert(call, "s", "\x91\x01", 2, 0) != PERIGEE_DUPLICATE ||
                    !strstr(api->message(call), "Duplicate"))
                    return api->error(call, 0, api->message(call));
                struct perigee_bytes row;
                int code = api->remove(call, "s", 0, "\x91\x01", 2, &row);
                return code ? code : api->result(call, row.data, row.size);
            }
            static int nothing(const struct perigee_api *api, struct perigee_call *call)
            { return api->version == 1 && api->now(call) > 1e9 ? 0 : -1; }
            static int rows(const struct perigee_api *api, struct perigee_call *call)
            {
                struct perigee_bytes found;
                int code = api->select(call, "s", "pk", PERIGEE_GE, "\x91\x02", 2, 1, 2, &found);
                return code ? code : api->result(call, found.data, found.size);
            }
            static const struct perigee_function functions[] = {
                {"bad_result", bad_result}, {"bad_tuple", bad_tuple}, {"bad_iterator", bad_iterator},
                {"code_alone", code_alone}, {"goes_on", goes_on}, {"nothing", nothing}, {"rows", rows}};
            PERIGEE_MODULE("made", functions);
        ]])
        install()
        local made = require('made')
        assert.error_matches(made.bad_result, 'the result is not one MessagePack value')
        assert.error_matches(made.bad_tuple, 'the tuple is not a MessagePack array')
        assert.error_matches(made.bad_iterator, 'there is no iterator 99')
        assert.error_matches(made.code_alone, 'busy')
        assert.is_nil(made.nothing())
        local s = box.schema.space.create('s')
        s:create_index('pk')
        for n = 1, 5 do s:insert({ n }) end
        assert.equal(1, made.goes_on()[1])
        assert.equal(4, s:count())
        assert.same({ { 3 }, { 4 } }, made.rows())
        s:drop()
    end)
end)
