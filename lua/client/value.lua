-- SPDX-License-Identifier: Apache-2.0
--
-- What client.msgpack is, for code in the server: values as the server itself has them, so that a decimal
-- is a decimal of the module `decimal`, and a tuple can be sent.

local core = require('box.core')
local scan = require('client.scan')

local native = core.native

local OPTIONS_MAX = 255

local value = {
    NULL = core.NULL,
    scanner = scan.scanner,
    scan = scan.scan,
    array_header = scan.array_header,
    encode = native.pack,
    decode_scanned = native.unpack,
}

--- A table as a map, also when it is empty or has keys 1..n: an object that goes out as one.
---@param t table
---@return table
function value.map(t)
    if type(t) ~= 'table' then
        error('client.map(table)', 2)
    end
    return core.object(t, { serialize = function() return t, true end })
end

local function append(parts, count, ...)
    for n = 1, count do
        parts[#parts + 1] = native.pack((select(n, ...)))
    end
    return table.concat(parts)
end

--- As those of client.msgpack.
function value.encode_array(count, ...)
    return append({ scan.array_header(count) }, count, ...)
end

function value.encode_array_behind(extension, kind, count, ...)
    local body = native.pack(extension)
    assert(#body <= OPTIONS_MAX)
    return append({ scan.array_header(count + 1), string.char(0xc7, #body, kind), body }, count, ...)
end

return value
