-- SPDX-License-Identifier: Apache-2.0
--
-- MessagePack, one value behind the other, each an array or a map. The reader works on load.input, as that
-- of load.csv does; `line` counts records.

local native = require('load.native')

local byte, sub = string.byte, string.sub

local VALUE_BYTES_MAX = 64 * 1024 * 1024

local packed = {}
local reader = {}
reader.__index = reader

---@param input table load.input
function packed.reader(input)
    return setmetatable({ input = input, line = 1 }, reader)
end

--- The next row, nil at the end; nil and {message, line, column} for a value that is none, which is passed,
--- or, when no value begins here, is `fatal`. The column is the offset in the file, from 1.
---@return string|nil row, table|nil problem
function reader:next()
    local input = self.input
    while true do
        local text, first = input.text, input.position
        local past = first <= #text and native.check(text, first)
        if past then
            local kind = byte(text, first)
            self.from, self.raw_first, self.raw_last = input.base + first - 1, first, past - 1
            self.record_line, self.line = self.line, self.line + 1
            input.position = past
            if (kind >= 0x80 and kind < 0xa0) or (kind >= 0xdc and kind <= 0xdf) then
                return sub(text, first, past - 1)
            end
            return nil, { message = 'a row is an array or a map', line = self.record_line,
                column = self.from + 1 }
        elseif #text - first > VALUE_BYTES_MAX or not input:more() then
            if first > #text then
                return nil
            end
            return nil, { message = 'no whole MessagePack value begins here', line = self.line,
                column = input:offset() + 1, fatal = true }
        end
    end
end

--- The bytes of the record that `next` has given, or refused, last.
function reader:raw()
    return sub(self.input.text, self.raw_first, self.raw_last)
end

return packed
