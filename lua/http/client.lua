-- SPDX-License-Identifier: Apache-2.0
--
-- http.client: requests of HTTP and HTTPS, under Tarantool's names. Each parks its fiber until the
-- answer is there.
--
-- What the network does is in the response: status 595 when there was no answer and 408 when the time
-- was over, with the reason in words. A wrong argument, a transaction, and a missing privilege raise
-- an error.

local core = require('box.core')
local fiber = require('fiber')

local native, api, runtime = core.native, core.api, core.runtime

local TIMEOUT_MAX, BODY_MAX, NO_ANSWER, TIMED_OUT = 86400, 64 * 1024 * 1024, 595, 408

local client = {}

local known = {
    headers = 'table', timeout = 'number', max_body = 'number', follow_location = 'boolean',
    verify_peer = 'boolean', verify_host = 'boolean', ca_file = 'string',
}

local function check_options(options)
    for name, value in pairs(options) do
        if not known[name] then
            error(('there is no option %s'):format(tostring(name)), 4)
        elseif type(value) ~= known[name] then
            error(('the option %s is a %s'):format(name, known[name]), 4)
        end
    end
    if options.ca_file and not native.trusted then
        core.raise(core.ERROR_ACCESS, 'files can be named by the operator only: ca_file')
    end
end

local function header_lines(headers)
    local lines = {}
    for name, value in pairs(headers or {}) do
        name, value = tostring(name), tostring(value)
        if name:find('[^%w!#$%%&\'*+.^_`|~-]') or value:find('[\r\n%z]') then
            error(('this can not be a header: %s'):format(name), 4)
        end
        lines[#lines + 1] = value == '' and name .. ';' or name .. ': ' .. value
    end
    lines[#lines + 1] = 'Expect:' -- nobody waits for a 100 Continue
    return lines
end

--- The head of an answer: its first line, and the headers by their names in lower case.
local function parse_head(head)
    local proto, reason = head:match('^HTTP/(%S+) %d+ ?([^\r\n]*)')
    local headers = {}
    for name, value in head:gmatch('\n([^:\r\n]+):[ \t]*([^\r\n]*)') do
        name = name:lower()
        headers[name] = headers[name] and headers[name] .. ', ' .. value or value
    end
    return headers, reason, proto
end

local function wait(request, deadline)
    while true do
        local status, head, body = native.http_result(request)
        if status or body then
            return status, head, body
        end
        local left = deadline - api.monotonic(runtime)
        if left <= 0 then
            return nil, true, 'timed out'
        end
        if core.pause(left) then
            fiber.testcancel()
        end
    end
end

--- request(method, url[, body[, options]]): {status, reason, headers, body, proto}. Options: headers,
--- timeout in seconds, max_body, follow_location, verify_peer, verify_host, ca_file.
local function send(method, url, body, options)
    options = options or {}
    if type(method) ~= 'string' or not method:find('^%u+$') or type(url) ~= 'string' or
        (body ~= nil and type(body) ~= 'string') or type(options) ~= 'table' then
        error('http.client.request(method, url[, body[, options]])', 3)
    end
    check_options(options)
    local timeout = math.min(options.timeout or TIMEOUT_MAX, TIMEOUT_MAX)
    native.fiber_check()
    local request = native.http_start(method, url, {
        headers = header_lines(options.headers), timeout = timeout,
        max_body = math.min(options.max_body or BODY_MAX, BODY_MAX),
        follow_location = options.follow_location, verify_peer = options.verify_peer,
        verify_host = options.verify_host, ca_file = options.ca_file,
    }, body)
    -- curl's own clock ends it at the timeout; this one does when time is somebody's to move
    local ok, status, head, text = pcall(wait, request, api.monotonic(runtime) + timeout + 1)
    native.http_end(request)
    if not ok then
        error(status, 0)
    elseif not status then
        return { status = head and TIMED_OUT or NO_ANSWER, reason = text, headers = {} }
    end
    local headers, reason, proto = parse_head(head)
    return { status = status, reason = reason, headers = headers, body = text, proto = proto }
end

function client.request(method, url, body, options)
    return send(method, url, body, options)
end

for _, name in ipairs({ 'get', 'head', 'delete', 'options', 'trace' }) do
    client[name] = function(url, options) return send(name:upper(), url, nil, options) end
end
for _, name in ipairs({ 'post', 'put', 'patch' }) do
    client[name] = function(url, body, options) return send(name:upper(), url, body, options) end
end

--- client.new(): an object with the same functions as methods.
function client.new()
    local methods = {}
    for name, fn in pairs(client) do
        methods[name] = function(_, ...) return fn(...) end
    end
    return core.object(methods)
end

return core.object(client)
