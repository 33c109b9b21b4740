-- SPDX-License-Identifier: Apache-2.0
--
-- URIs as in RFC 3986, and the short forms in which addresses are given: 3301, localhost:3301,
-- [::1]:3301, /var/run/socket, unix/:/var/run/socket.

local uri = {}

-- ---------------------------------------------------------------------------------- escaping

--- uri.escape(text, {plus, reserved}): all bytes but letters, digits and - . _ ~ become %XX. `plus`: a
--- space becomes +. `reserved`: these characters stay as well.
function uri.escape(text, options)
    options = options or {}
    local keep = {}
    for character in (options.reserved or ''):gmatch('.') do
        keep[character] = true
    end
    return (tostring(text):gsub('[^%w%-._~]', function(character)
        if keep[character] then
            return character
        elseif options.plus and character == ' ' then
            return '+'
        end
        return ('%%%02X'):format(character:byte())
    end))
end

--- uri.unescape(text, {plus}): the reverse. What is no %XX stays.
function uri.unescape(text, options)
    text = tostring(text)
    if options and options.plus then
        text = text:gsub('%+', ' ')
    end
    return (text:gsub('%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end))
end

--- uri.params('a=1&a=2&b'): {a = {'1', '2'}, b = {''}}.
function uri.params(query)
    local result = {}
    for pair in query:gmatch('[^&]+') do
        local key, value = pair:match('^([^=]*)=(.*)$')
        key = uri.unescape(key or pair, { plus = true })
        result[key] = result[key] or {}
        table.insert(result[key], uri.unescape(value or '', { plus = true }))
    end
    return result
end

--- uri.format_params({a = {1, 2}, b = 'x y'}): 'a=1&a=2&b=x%20y', in order of the keys.
function uri.format_params(params)
    local keys, pairs_ = {}, {}
    for key in pairs(params) do
        keys[#keys + 1] = tostring(key)
    end
    table.sort(keys)
    for _, key in ipairs(keys) do
        local values = params[key]
        for _, value in ipairs(type(values) == 'table' and values or { values }) do
            local text = uri.escape(value)
            pairs_[#pairs_ + 1] = uri.escape(key) .. (text ~= '' and '=' .. text or '')
        end
    end
    return table.concat(pairs_, '&')
end

-- ----------------------------------------------------------------------------------- parsing

local function is_ipv4(host)
    local count = 0
    for number in (host .. '.'):gmatch('(%d+)%.') do
        if #number > 3 or tonumber(number) > 255 then
            return false
        end
        count = count + 1
    end
    return count == 4 and host:match('^%d+%.%d+%.%d+%.%d+$') ~= nil
end

local function groups_of(text)
    if text == '' then
        return 0
    end
    local count = 0
    for group in (text .. ':'):gmatch('([^:]*):') do
        if not group:match('^%x%x?%x?%x?$') then
            return nil
        end
        count = count + 1
    end
    return count
end

local function is_ipv6(host)
    host = host:gsub('%%[%w._~-]+$', '') -- the zone
    local front, last = host:match('^(.*:)([%d.]+)$')
    if front and last:find('.', 1, true) then
        if not is_ipv4(last) then
            return false
        end
        host = front .. '0:0'
    end
    local left, right = host:match('^(.-)::(.*)$')
    if not left then
        return groups_of(host) == 8
    end
    left, right = groups_of(left), groups_of(right)
    return left ~= nil and right ~= nil and left + right < 8
end

local function parse_host(text, result)
    local literal, rest = text:match('^%[([^%]]*)%](.*)$')
    if literal then
        if not is_ipv6(literal) then
            return ('"%s" is no IPv6 address'):format(literal)
        elseif rest ~= '' and not rest:match('^:') then
            return ('"%s" follows the address'):format(rest)
        end
        result.host, result.ipv6 = literal, literal
        text = rest
    else
        local host = text:match('^[^:]*')
        text = text:sub(#host + 1)
        if host ~= '' then
            result.host = host
            result.ipv4 = is_ipv4(host) and host or nil
        end
    end
    if #text > 1 then
        result.service = text:sub(2)
        if not result.service:match('^%w[%w_-]*$') then
            return ('"%s" is no port and no name of a service'):format(result.service)
        end
    end
end

local function parse_authority(text, result)
    local user, host = text:match('^(.*)@(.*)$')
    if user then
        result.login, result.password = user:match('^([^:]*):(.*)$')
        result.login = result.login or user
    end
    return parse_host(host or text, result)
end

local function parse_unix(path, result)
    result.host, result.service, result.unix = 'unix/', path, path
end

--- What stands before ? and #. Returns what is wrong.
local function parse_rest(text, result)
    local scheme, rest = text:match('^(%a[%w+.-]*)://(.*)$')
    if scheme then
        result.scheme, text = scheme, rest
    end
    local user, socket = text:match('^(.-)@?unix/:(.+)$')
    if socket and (user == '' or text:sub(#user + 1, #user + 1) == '@') then
        if user ~= '' then
            parse_authority(user .. '@', result)
        end
        local path
        socket, path = socket:match('^([^:]+):?(.*)$')
        result.path = path ~= '' and path or nil
        return parse_unix(socket, result)
    elseif not scheme and text:match('^%.?%.?/') then
        return parse_unix(text, result)
    elseif not scheme and text:match('^%d+$') then
        result.service = text
        return
    end
    local name, opaque = text:match('^(%a[%w+.-]*):([^/].*)$')
    if not scheme and name and not opaque:match('^[%w_-]+$') and not opaque:match('^[%w_-]*/')
        and not opaque:find('@', 1, true) then
        result.scheme, result.path = name, opaque -- urn:isbn:..
        return
    end
    local authority, path = text:match('^([^/]*)(.*)$')
    if path ~= '' then
        result.path = path
    end
    if authority == '' and not scheme then
        return 'it names nothing'
    end
    return parse_authority(authority, result)
end

--- uri.parse(text): {scheme, login, password, host, service, path, query, fragment, params, ipv4, ipv6,
--- unix}, of which those are there that the text has; nil and what is wrong. Only `params` is unescaped.
function uri.parse(text)
    if type(text) ~= 'string' then
        return nil, 'a URI is a string'
    end
    local bad = text:match('[%z\1-\32\127<>"{}|\\^`]')
    if bad then
        return nil, ('%q can\'t stand in a URI: escape it'):format(bad)
    elseif text:gsub('%%%x%x', ''):find('%', 1, true) and not text:find('[', 1, true) then
        return nil, 'after % two hexadecimal digits are needed'
    end
    local result = {}
    local rest, fragment = text:match('^([^#]*)#(.*)$')
    result.fragment, text = fragment, rest or text
    local before, query = text:match('^([^?]*)%?(.*)$')
    if query then
        result.query, text = query, before
        result.params = uri.params(query)
    end
    local wrong = parse_rest(text, result)
    if wrong then
        return nil, wrong
    end
    return result
end

--- uri.format(parts, [with_password]): the text of them. Without `query` the params are written.
function uri.format(parts, with_password)
    local out = {}
    local function put(...)
        for position = 1, select('#', ...) do
            out[#out + 1] = tostring((select(position, ...)))
        end
    end
    local authority = parts.login or parts.host or parts.service
    if parts.scheme then
        put(parts.scheme, (authority or (parts.path or ''):sub(1, 1) == '/') and '://' or ':')
    end
    if parts.login then
        put(parts.login)
        if parts.password and with_password then
            put(':', parts.password)
        end
        put('@')
    end
    if parts.unix or parts.host == 'unix/' then
        put('unix/:', parts.unix or parts.service, parts.path and ':' or '')
    else
        local host = parts.host or parts.ipv4 or parts.ipv6
        if host then
            put(host:find(':', 1, true) and '[' .. host .. ']' or host)
        end
        if parts.service then
            put(host and ':' or '', parts.service)
        end
    end
    put(parts.path or '')
    local query = parts.query or (parts.params and uri.format_params(parts.params))
    if query and query ~= '' then
        put('?', query)
    end
    if parts.fragment then
        put('#', parts.fragment)
    end
    return table.concat(out)
end

return uri
