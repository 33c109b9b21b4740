-- SPDX-License-Identifier: Apache-2.0
--
-- What client.connect and client.pool may be told, checked and copied. Raises texts that say what would be
-- right.

local core = package.loaded['box.core']

local option = {}

local connecting = {
    timeout = 'seconds', user = 'string', password = 'password', tls = 'tls', reconnect = 'reconnect',
    progress = 'function', interrupted = 'function',
}
local tls = { ca = 'string', cert = 'string', key = 'string', hostname = 'string', verify = 'boolean' }
local reconnect = { first = 'seconds', most = 'seconds', seconds = 'seconds' }
local pool = {
    address = 'addresses', min = 'count', max = 'count', wait = 'seconds', waiting_max = 'count',
    idle = 'seconds', check = 'seconds', first = 'seconds', most = 'seconds',
    timeout = 'seconds', user = 'string', password = 'password', tls = 'tls',
    progress = 'function', interrupted = 'function',
}

local check = {}

local function copy(what, given, known)
    if type(given) ~= 'table' then
        error(('%s is a table, not a %s'):format(what, type(given)), 0)
    end
    local result = {}
    for name, value in pairs(given) do
        local kind = known[name]
        if not kind then
            local names = {}
            for key in pairs(known) do
                names[#names + 1] = key
            end
            table.sort(names)
            error(('%s has no option %s; there are: %s'):format(what, tostring(name),
                table.concat(names, ', ')), 0)
        end
        result[name] = check[kind](name, value)
    end
    return result
end

local function of_type(kind)
    return function(name, value)
        if type(value) ~= kind then
            error(('%s is a %s, not a %s'):format(name, kind, type(value)), 0)
        end
        return value
    end
end

check.boolean, check['function'] = of_type('boolean'), of_type('function')

function check.string(name, value)
    of_type('string')(name, value)
    if value:find('%z') then
        error(name .. ' has a zero byte in it', 0)
    end
    return value
end

--- A text, or a function that gives it, for each connection anew.
function check.password(name, value)
    return type(value) == 'function' and value or check.string(name, value)
end

function check.seconds(name, value)
    if value ~= nil and (type(value) ~= 'number' or value ~= value or value < 0) then
        error(('%s is a number of seconds, from 0 on'):format(name), 0)
    end
    return value
end

function check.count(name, value)
    if type(value) ~= 'number' or value < 0 or value % 1 ~= 0 then
        error(('%s is a whole number, from 0 on'):format(name), 0)
    end
    return value
end

--- Files of the server's machine are not for everybody who may open connections.
function check.tls(name, value)
    if type(value) == 'boolean' then
        return value
    end
    local result = copy(name, value, tls)
    for _, file in ipairs({ 'ca', 'cert', 'key' }) do
        if core and not core.native.trusted and result[file]
            and not (file == 'ca' and result.ca:find('^%s*%-%-%-%-%-BEGIN ')) then
            core.raise(core.ERROR_ACCESS, ('files can be named by the operator only: tls.%s%s'):format(file,
                file == 'ca' and '; the text of a certificate is allowed' or ''))
        end
    end
    return result
end

function check.reconnect(name, value)
    return type(value) == 'boolean' and value or type(value) == 'table' and copy(name, value, reconnect)
        or check.boolean(name, value)
end

function check.addresses(_, value)
    if type(value) == 'table' and #value > 0 then
        local result = {}
        for n, address in ipairs(value) do
            result[n] = option.address(address)
        end
        return result
    end
    return { option.address(value) }
end

---@param name string
---@param value number?
---@return number?
function option.seconds(name, value)
    return check.seconds(name, value)
end

---@param value string
---@return string
function option.address(value)
    if type(value) ~= 'string' then
        error('an address is a text, host:port or unix:path, not a ' .. type(value), 0)
    end
    return value
end

--- Those of client.connect.
---@param given table?
---@return table
function option.connecting(given)
    return copy('client.connect', given or {}, connecting)
end

--- Those of client.pool.
---@param given table
---@return table
function option.pool(given)
    local options = copy('client.pool', given, pool)
    if not options.address then
        error('client.pool needs an address, host:port, or an array of them', 0)
    elseif options.max and options.max < math.max(options.min or 0, 1) then
        error('max is a number of connections from 1 on, and not below min', 0)
    end
    return options
end

return option
