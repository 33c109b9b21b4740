-- SPDX-License-Identifier: Apache-2.0

local fiber, socket, http = require('fiber'), require('socket'), require('http.client')

describe('the http client', function()
    local server, url, seen

    --- Answers each request with what `answer` makes of its head and body.
    local function serve(answer)
        server = assert(socket.tcp_server('127.0.0.1', 0, function(s)
            while true do
                local head = s:read('\r\n\r\n')
                if not head or head == '' then
                    return
                end
                local size = tonumber(head:lower():match('content%-length: (%d+)') or 0)
                seen = { head = head, body = s:read(size) }
                s:write(answer(head, seen.body))
            end
        end))
        url = 'http://127.0.0.1:' .. server:name().port
    end

    local function ok(body, more)
        return ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s'):format(#body, more or '', body)
    end

    after_each(function()
        if server then
            server:close()
        end
        server = nil
        fiber.yield()
    end)

    it('gets a page', function()
        serve(function(head) return ok('page of ' .. head:match('GET (%S+)'), 'X-One: 1\r\nx-one: 2\r\n') end)
        local response = http.get(url .. '/here', { headers = { ['X-Asked'] = 'yes' } })
        assert.equal(200, response.status)
        assert.equal('OK', response.reason)
        assert.equal('page of /here', response.body)
        assert.equal('1, 2', response.headers['x-one'])
        assert.is_truthy(seen.head:find('X%-Asked: yes\r\n'))
    end)

    it('sends bodies with every method', function()
        serve(function(head, body) return ok(head:match('^%u+') .. ' ' .. body) end)
        assert.equal('POST a\0b', http.post(url, 'a\0b').body)
        assert.equal('PUT b', http.put(url, 'b').body)
        assert.equal('PATCH c', http.patch(url, 'c').body)
        assert.equal('DELETE ', http.delete(url).body)
        assert.equal('PURGE d', http.request('PURGE', url, 'd').body)
        assert.equal('POST e', http.new():post(url, 'e').body)
        assert.equal('', http.head(url).body)
    end)

    it('follows redirects unless it is told not to', function()
        serve(function(head)
            if head:find('^GET /old') then
                return 'HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n'
            end
            return ok('new')
        end)
        assert.equal('new', http.get(url .. '/old').body)
        assert.equal(302, http.get(url .. '/old', { follow_location = false }).status)
    end)

    it('says in the response why there is none', function()
        serve(function() fiber.sleep(1000) end)
        local response = http.get(url, { timeout = 0.05 })
        assert.equal(408, response.status)
        local closed = url
        server:close()
        fiber.yield()
        response = http.get(closed)
        assert.equal(595, response.status)
        assert.is_truthy(response.reason:find('connect'))
        assert.equal(595, http.get('ftp://127.0.0.1/').status)
    end)

    it('takes no more than it was told', function()
        serve(function() return ok(('x'):rep(1000)) end)
        local response = http.get(url, { max_body = 100 })
        assert.equal(595, response.status)
        assert.is_truthy(response.reason:find('max_body'))
    end)

    it('has many requests going on at once', function()
        serve(function(head)
            fiber.sleep(0.001)
            return ok(head:match('GET /(%d+)'))
        end)
        local answers = fiber.channel(10)
        for n = 1, 10 do
            fiber.create(function() answers:put(http.get(url .. '/' .. n).body == tostring(n)) end)
        end
        for _ = 1, 10 do
            assert.is_true(answers:get(60))
        end
    end)

    it('refuses what is no request', function()
        assert.has_error(function() http.get(1) end)
        assert.has_error(function() http.get('http://x', { nonsense = 1 }) end)
        assert.has_error(function() http.get('http://x', { headers = { ['A: b\r\nC'] = 'd' } }) end)
        assert.has_error(function() http.get('http://x', { headers = { A = 'b\r\nC: d' } }) end)
        box.begin()
        assert.has_error(function() http.get('http://127.0.0.1:1') end)
        box.rollback()
    end)

    it('lets a cancelled fiber go', function()
        serve(function() fiber.sleep(1000) end)
        local f = fiber.new(http.get, url)
        f:set_joinable(true)
        fiber.sleep(0.01)
        f:cancel()
        local succeeded, err = f:join()
        assert.is_false(succeeded)
        assert.equal('fiber is cancelled', tostring(err))
    end)
end)
