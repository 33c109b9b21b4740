-- SPDX-License-Identifier: Apache-2.0

describe('uri', function()
    local uri

    setup(function()
        box.module.install('uri')
        uri = require('uri')
    end)

    teardown(function()
        box.module.remove('uri')
    end)

    local table_of_parts = {
        ['http://user:secret@example.com:8080/a/b?x=1&y=2#top'] = {
            scheme = 'http', login = 'user', password = 'secret', host = 'example.com', service = '8080',
            path = '/a/b', query = 'x=1&y=2', params = { x = { '1' }, y = { '2' } }, fragment = 'top',
        },
        ['localhost:3301'] = { host = 'localhost', service = '3301' },
        ['localhost'] = { host = 'localhost' },
        ['3301'] = { service = '3301' },
        ['127.0.0.1:3301'] = { host = '127.0.0.1', ipv4 = '127.0.0.1', service = '3301' },
        ['256.0.0.1'] = { host = '256.0.0.1' },
        ['[::1]:3301'] = { host = '::1', ipv6 = '::1', service = '3301' },
        ['[::ffff:10.0.0.1]'] = { host = '::ffff:10.0.0.1', ipv6 = '::ffff:10.0.0.1' },
        ['admin:pw@[2001:db8:0:0:0:0:0:1]:http/path'] = {
            login = 'admin', password = 'pw', host = '2001:db8:0:0:0:0:0:1', ipv6 = '2001:db8:0:0:0:0:0:1',
            service = 'http', path = '/path',
        },
        ['unix/:/var/run/a.sock'] = { host = 'unix/', service = '/var/run/a.sock', unix = '/var/run/a.sock' },
        ['user:pw@unix/:/tmp/s:/path'] = {
            login = 'user', password = 'pw', host = 'unix/', service = '/tmp/s', unix = '/tmp/s',
            path = '/path',
        },
        ['file:///etc/hosts'] = { scheme = 'file', path = '/etc/hosts' },
        ['http://example.com/?a=1&a=2&b'] = {
            scheme = 'http', host = 'example.com', path = '/', query = 'a=1&a=2&b',
            params = { a = { '1', '2' }, b = { '' } },
        },
        ['urn:isbn:0451450523'] = { scheme = 'urn', path = 'isbn:0451450523' },
        ['ldap://[2001:db8::7]/c=GB?objectClass?one'] = {
            scheme = 'ldap', host = '2001:db8::7', ipv6 = '2001:db8::7', path = '/c=GB',
            query = 'objectClass?one', params = { ['objectClass?one'] = { '' } },
        },
        ['user@host'] = { login = 'user', host = 'host' },
        ['tcp://host:1'] = { scheme = 'tcp', host = 'host', service = '1' },
    }

    it('takes URIs and addresses apart, and puts them together', function()
        for text, parts in pairs(table_of_parts) do
            assert.same(parts, (uri.parse(text)), text)
            assert.equal(text, uri.format(parts, true))
        end
        local socket = uri.parse('/var/run/a.sock')
        assert.equal('/var/run/a.sock', socket.unix)
        assert.equal('unix/:/var/run/a.sock', uri.format(socket))
        assert.equal('./s', uri.parse('./s').unix)
    end)

    it('keeps passwords to itself unless asked, and writes params', function()
        local parts = uri.parse('http://user:secret@host')
        assert.equal('http://user@host', uri.format(parts))
        assert.equal('http://user:secret@host', uri.format(parts, true))
        assert.equal('host:1?a=1&a=2&b=x%20y&c', uri.format({ host = 'host', service = 1,
            params = { b = 'x y', a = { 1, 2 }, c = '' } }))
    end)

    it('says what is wrong', function()
        for text, message in pairs({
            ['http://a b'] = '" " can\'t stand in a URI: escape it',
            ['http://a/%4'] = 'after % two hexadecimal digits are needed',
            ['http://[::1'] = '":1" is no port and no name of a service',
            ['[::1::2]'] = '"::1::2" is no IPv6 address',
            ['[1:2:3]'] = '"1:2:3" is no IPv6 address',
            ['[::1]x'] = '"x" follows the address',
            ['http://host:po!rt'] = '"po!rt" is no port and no name of a service',
            [''] = 'it names nothing',
        }) do
            assert.same({ nil, message }, { uri.parse(text) }, text)
        end
        assert.is_nil((uri.parse(nil)))
    end)

    it('escapes and unescapes', function()
        assert.equal('a%20b%2Fc~-._', uri.escape('a b/c~-._'))
        assert.equal('a+b/c', uri.escape('a b/c', { plus = true, reserved = '/' }))
        assert.equal('%C3%BC%00', uri.escape('\195\188\0'))
        assert.equal('a b+c', uri.unescape('a%20b+c'))
        assert.equal('a b c%', uri.unescape('a%20b+c%', { plus = true }))
        local all = {}
        for byte = 0, 255 do
            all[#all + 1] = string.char(byte)
        end
        local text = table.concat(all)
        assert.equal(text, uri.unescape(uri.escape(text)))
        assert.same({ ['a b'] = { 'c&d', '' } }, uri.params('a+b=c%26d&a%20b'))
        assert.same(uri.params('a=1&a=2&b=x%26y'), uri.params(uri.format_params({ a = { 1, 2 }, b = 'x&y' })))
    end)
end)
