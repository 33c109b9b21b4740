-- SPDX-License-Identifier: Apache-2.0
--
-- varbinary: bytes for fields of this type. Lua reads such fields as strings; what it writes as strings
-- is text, so bytes that are to be written as bytes are wrapped.

local core = require('box.core')
local value = require('box.value')

local varbinary = { is = value.is_varbinary }

--- varbinary.new([text]): the text as bytes. tostring gives it back.
---@param text string?
function varbinary.new(text)
    if value.is_varbinary(text) then
        return text
    elseif text ~= nil and type(text) ~= 'string' then
        error('Usage: varbinary.new([text])', 2)
    end
    return value.varbinary(text or '')
end

return core.object(varbinary)
