-- SPDX-License-Identifier: Apache-2.0
--
-- The client and the console through TLS, with certificates that openssl makes here.
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local process = require('process')

describe('TLS', function()
    local folder, server

    local function run(command)
        assert.equal(0, os.execute(('cd %s && %s 2>/dev/null'):format(folder, command)))
    end

    local function certificate(name, alternatives)
        run(('openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s.key -out %s.csr'
            .. ' -subj /CN=%s'):format(name, name, name))
        run(('echo subjectAltName=%s > %s.ext'):format(alternatives, name))
        run(('openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out %s.pem -days 2'
            .. ' -extfile %s.ext'):format(name, name, name))
    end

    local function file(name)
        return folder .. '/' .. name
    end

    local function serve(...)
        server = process.server(file('data'), { '--listen', '127.0.0.1:0 tls',
            '--tls_certificate', file('server.pem'), '--tls_key', file('server.key'), ... })
        server.address = server.address:match('^%S+')
    end

    local function connect(tls)
        return client.connect(server.address, { tls = tls, timeout = 60 })
    end

    local function refused(tls)
        local ok, problem = pcall(connect, tls)
        assert.is_false(ok)
        assert.equal('CLIENT_LOST', problem.name)
        return problem.message
    end

    setup(function()
        folder = process.folder()
        for _, name in ipairs({ 'ca', 'other' }) do
            run(('openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s.key'
                .. ' -out %s.pem -subj /CN=%s -days 2'):format(name, name, name))
        end
        certificate('server', 'DNS:localhost,IP:127.0.0.1')
        certificate('elsewhere', 'DNS:db.example.org')
        certificate('alice', 'DNS:alice')
    end)

    teardown(function()
        process.remove(folder)
    end)

    after_each(function()
        if server then
            assert.equal(0, server:stop())
            server = nil
        end
    end)

    it('carries requests, pipelines and large values', function()
        serve()
        local db = connect({ ca = file('ca.pem') })
        assert.equal('pong', db:ping())
        local numbers = {}
        for n = 1, 5000 do
            numbers[n] = db:send('eval', 'return ...', n)
        end
        for n = 1, #numbers do
            assert.equal(n, db:receive(numbers[n]))
        end
        local text = ('abcdefghij'):rep(500000)
        assert.is_true(db:eval('return ...', text) == text)
        db:close()
    end)

    it('refuses a server whose certificate nobody vouches for', function()
        serve()
        assert.matches("the server's certificate: .*issuer", refused({ ca = file('other.pem') }))
        assert.matches("the server's certificate: ", refused(true))
        assert.equal('pong', connect({ verify = false }):ping())
    end)

    it('refuses a server whose certificate is for another host', function()
        serve('--tls_certificate', file('elsewhere.pem'), '--tls_key', file('elsewhere.key'))
        assert.matches("the server's certificate: IP address mismatch", refused({ ca = file('ca.pem') }))
        assert.matches("the server's certificate: .ostname mismatch",
            refused({ ca = file('ca.pem'), hostname = 'localhost' }))
        local db = connect({ ca = file('ca.pem'), hostname = 'db.example.org' })
        assert.equal('pong', db:ping())
    end)

    it('shows a certificate, and is the user whom that names', function()
        serve('--tls_clients', 'required', '--tls_ca', file('ca.pem'), '--tls_user', 'cn')
        local operator = client.connect('unix:' .. file('data') .. '/socket')
        operator:eval("box.schema.user.create('alice', {password = 'secret'}) "
            .. "box.schema.user.grant('alice', 'super')")
        local db = connect({ ca = file('ca.pem'), cert = file('alice.pem'), key = file('alice.key') })
        assert.equal('alice', db:eval('return box.session.user()'))
        local ok = pcall(function() connect({ ca = file('ca.pem') }):ping() end)
        assert.is_false(ok)
    end)

    it('says what is wrong with a file', function()
        serve()
        assert.matches('/nowhere.pem: No such file', refused({ ca = '/nowhere.pem' }))
        assert.matches('alice.pem: ', refused({ ca = file('ca.pem'), cert = file('alice.pem'),
            key = file('server.key') }))
    end)

    it('is told by a port without it that there is none', function()
        serve('--listen', '127.0.0.1:0')
        assert.matches('TLS: ', refused({ ca = file('ca.pem') }))
    end)

    local function console(...)
        local child = process.spawn({ process.perigee, 'console', server.address, '-e', 'return 6 * 7', ... })
        child:close_input()
        return child:finish()
    end

    it('is missed by a port with it, which says so to whoever comes without', function()
        serve()
        local ok, problem = pcall(function() connect(false):ping() end)
        assert.is_false(ok)
        assert.equal(client.LOST, problem.code)
        assert.matches('^lost the connection to .*: this port speaks TLS, and what came is not TLS: ',
            problem.message)
    end)

    it('is spoken by the console', function()
        serve()
        local output, status = console('--tls', '--cacert', file('ca.pem'))
        assert.equal('42\n', output)
        assert.equal(0, status)
        output = console('--tls', '--cacert', file('other.pem'))
        assert.matches("the server's certificate: ", output)
        output = console('--tls', '--cacert', file('ca.pem'), '--hostname', 'db.example.org')
        assert.matches('mismatch', output)
        assert.equal('42\n', (console('--insecure', '--tls')))
        assert.equal('42\nPONG\n', (console('--tls', '--cacert', file('ca.pem'), '-e', '/ping')))
        output, status = console('--cacert')
        assert.matches('%-%-cacert needs the name of a file', output)
        assert.equal(1, status)
    end)

    it('lets nothing compute on for a client that has gone, or a console that was interrupted', function()
        serve('--workers', '1')
        local loop = "require('log').error('computing') while true do end"
        local db = connect({ ca = file('ca.pem') })
        db:send('eval', loop)
        db:flush()
        server:expect('computing')
        db:close()
        assert.equal('pong', connect({ ca = file('ca.pem') }):ping()) -- by the only worker
        local terminal = process.terminal(
            { process.perigee, 'console', server.address, '--tls', '--cacert', file('ca.pem') },
            { TERM = 'xterm', HOME = folder, NO_COLOR = '', LC_ALL = 'C', PAGER = 'cat' })
        terminal:expect('help for help\n')
        terminal:expect('> ')
        terminal:write(loop .. '\r')
        server:expect('computing')
        terminal:write('\3')
        terminal:expect('\nerror: interrupted\n')
        terminal:expect('> ')
        terminal:write('1 + 1\r')
        terminal:expect('\n2\n')
        terminal:expect('> ')
        terminal:write('BEGIN\r')
        terminal:expect('transaction> ')
        terminal:write(loop .. '\r')
        server:expect('computing')
        terminal:write('\3')
        terminal:expect('\nerror: interrupted\n')
        terminal:expect('transaction> ')
        terminal:write('2 + 2\r')
        terminal:expect('\n4\n')
        terminal:expect('transaction> ')
        terminal:write('\4')
        terminal:finish()
    end)

    it('lets what computes be cancelled, and takes what comes meanwhile in order', function()
        serve('--workers', '1')
        local db = connect({ ca = file('ca.pem') })
        for _, size in ipairs({ 0, 1000, 20000 }) do
            local computes = db:send('eval', "require('log').error('computing') while true do end")
            db:flush()
            server:expect('computing')
            local cancel, numbers = db:send('cancel', computes), {}
            for n = 1, 300 do
                numbers[n] = db:send('eval', 'return {#..., select(2, ...)}', ('x'):rep(size), n)
            end
            local ok, problem = db:wait(computes)
            assert.is_false(ok)
            assert.equal('ERROR_CANCELLED', problem.name)
            assert.is_true(db:receive(cancel))
            for n = 1, 300 do
                assert.same({ size, n }, db:receive(numbers[n]))
            end
        end
        db:close()
    end)

    local function perigee(word, ...)
        local child = process.spawn({ process.perigee, word, ... })
        child:close_input()
        return child:finish()
    end

    it('is spoken to a server that is asked for a backup', function()
        serve('--tls_clients', 'required', '--tls_ca', file('ca.pem'), '--backup_dir', file('backups'))
        local function backup(...)
            return perigee('backup', 'monday', '--dir', file('elsewhere'), '--connect', server.address, ...)
        end
        local output, status = backup('--tls', '--cacert', file('other.pem'))
        assert.matches("the server's certificate: ", output)
        assert.equal(1, status)
        output, status = backup('--cacert', file('ca.pem'), '--hostname', 'db.example.org')
        assert.matches('mismatch', output)
        assert.equal(1, status)
        output, status = backup('--cacert', file('ca.pem'))
        assert.matches('TLS: ', output)
        assert.equal(1, status)
        output, status = backup('--cacert', file('nowhere.pem'))
        assert.matches('nowhere.pem: ', output)
        assert.equal(1, status)
        output, status = backup('--cacert', file('ca.pem'), '--cert', file('alice.pem'),
            '--key', file('alice.key'))
        assert.matches('backups/monday: backup %x+, everything up to timestamp', output)
        assert.equal(0, status)
    end)

    it('carries files into spaces and back, as a user', function()
        serve()
        local operator = client.connect('unix:' .. file('data') .. '/socket')
        operator:eval([[
            box.schema.user.create('carol', { password = 'secret' })
            box.schema.user.grant('carol', 'super')
            box.schema.user.create('dave', { password = 'secret' })]])
        local rows = {}
        for n = 1, 20000 do
            rows[n] = ('%d,name %d\n'):format(n, n)
        end
        local csv = 'id,name\n' .. table.concat(rows)
        local out = assert(io.open(file('people.csv'), 'w'))
        out:write(csv)
        out:close()
        local tls = { '--tls', '--cacert', file('ca.pem') }
        local function as(user, password, word, ...)
            local arguments = { ... }
            for _, argument in ipairs({ '-u', user, '--password', password, unpack(tls) }) do
                arguments[#arguments + 1] = argument
            end
            return perigee(word, unpack(arguments))
        end

        local output, status = as('carol', 'wrong', 'load', file('people.csv'), 'people', server.address)
        assert.matches('[Pp]assword', output)
        assert.equal(1, status)
        output, status = as('dave', 'secret', 'load', file('people.csv'), 'people', server.address,
            '--create')
        assert.matches('ERROR_ACCESS', output)
        assert.equal(1, status)
        output, status = as('carol', 'secret', 'load', file('people.csv'), 'people', server.address,
            '--create')
        assert.matches('20,000 rows loaded into people', output)
        assert.equal(0, status)
        output, status = as('carol', 'secret', 'dump', 'people', file('back.csv'), server.address)
        assert(status == 0, output)
        local back = assert(io.open(file('back.csv')))
        assert.is_true(back:read('*a') == csv)
        back:close()
        output, status = perigee('dump', 'people', '-', server.address, '--tls')
        assert.matches("the server's certificate: ", output)
        assert.equal(1, status)
    end)
end)
