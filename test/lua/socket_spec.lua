-- SPDX-License-Identifier: Apache-2.0

local fiber, socket = require('fiber'), require('socket')

describe('a socket', function()
    local server, port

    local function serve(handler)
        server = assert(socket.tcp_server('127.0.0.1', 0, handler))
        port = server:name().port
    end

    after_each(function()
        if server then
            server:close()
        end
        server = nil
        fiber.yield()
    end)

    it('carries bytes both ways', function()
        serve(function(s)
            while true do
                local line = s:read('\n')
                if line == '' then
                    return
                end
                s:write(line:upper())
            end
        end)
        local s = assert(socket.tcp_connect('127.0.0.1', port))
        assert.equal(6, s:write('hello\n'))
        assert.equal('HELLO\n', s:read(6))
        assert.equal(7, s:send('one\ntwo'))
        s:write('\nthree')
        assert.equal('ONE\n', s:read('\n'))
        assert.equal('TWO\n', s:read({ delimiter = { '\n', '\r\n' } }))
        assert.equal(port, s:peer().port)
        assert.equal('127.0.0.1', s:name().host)
        s:close()
        assert.is_nil(s:peer())
        assert.has_error(function() s:read(1) end, 'the socket is closed')
    end)

    it('serves many at once, each in a fiber of its own', function()
        serve(function(s) s:write(s:read('\n')) end)
        local done = fiber.channel()
        for n = 1, 20 do
            fiber.create(function()
                local s = assert(socket.tcp_connect('127.0.0.1', port))
                fiber.yield()
                s:write(n .. '\n')
                done:put(tonumber(s:read('\n')) == n and s:read(1) == '')
                s:close()
            end)
        end
        for _ = 1, 20 do
            assert.is_true(done:get(60))
        end
    end)

    it('moves more than fits into the buffers of the system', function()
        local size = 5 * 1024 * 1024
        serve(function(s)
            local text = s:read(size)
            fiber.sleep(0.001)
            s:write(text)
        end)
        local s = assert(socket.tcp_connect('127.0.0.1', port))
        local text = ('0123456789abcdef'):rep(size / 16)
        assert.equal(size, s:write(text))
        assert.is_true(text == s:read(size))
        s:close()
    end)

    it('waits no longer than it was told', function()
        serve(function(s) s:read('\n') end)
        local s = assert(socket.tcp_connect('127.0.0.1', port))
        local text, message = s:read(1, 0.001)
        assert.is_nil(text)
        assert.equal('timed out', message)
        assert.is_false(s:readable(0.001))
        s:write('\n')
        assert.is_true(s:readable(60))
        assert.equal('', s:read(1))
        s:close()
    end)

    it('gives what is left when the peer ends', function()
        serve(function(s) s:write('short') end)
        local s = assert(socket.tcp_connect('localhost', port, 60))
        assert.equal('short', s:read(100))
        assert.equal('', s:read('\n'))
        s:close()
    end)

    it('says why it can not connect', function()
        serve(function() end)
        local closed = port
        server:close()
        fiber.yield()
        local s, message = socket.tcp_connect('127.0.0.1', closed)
        assert.is_nil(s)
        assert.equal('connection refused', message)
        assert.is_nil((socket.tcp_connect('name.invalid', 1, 10)))
        assert.has_error(function() socket.tcp_connect('127.0.0.1', 0) end)
    end)

    it('looks names up', function()
        local found = assert(socket.getaddrinfo('localhost', 80))
        assert.equal(80, found[1].port)
        assert.is_truthy(found[1].host == '127.0.0.1' or found[1].host == '::1')
    end)

    it('ends a wait when it is closed, or its fiber cancelled', function()
        serve(function(s) s:read(1) end)
        local function read_beside(s)
            local begun = false
            local reader = fiber.new(function()
                begun = true
                return s:read(1)
            end)
            reader:set_joinable(true)
            repeat fiber.yield() until begun -- one turn may be too short for all who are ready
            return reader
        end
        local s = assert(socket.tcp_connect('127.0.0.1', port))
        local reader = read_beside(s)
        s:close()
        assert.is_true((reader:join()))
        s = assert(socket.tcp_connect('127.0.0.1', port))
        reader = read_beside(s)
        reader:cancel()
        local ok, err = reader:join()
        assert.is_false(ok)
        assert.equal('fiber is cancelled', tostring(err))
        s:close()
    end)

    it('is not to be waited for in a transaction', function()
        serve(function() end)
        box.begin()
        local ok, err = pcall(socket.tcp_connect, '127.0.0.1', port)
        box.rollback()
        assert.is_false(ok)
        assert.is_truthy(tostring(err):find('a transaction does not yield', 1, true))
    end)
end)
