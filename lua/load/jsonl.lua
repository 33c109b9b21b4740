-- SPDX-License-Identifier: Apache-2.0
--
-- Lines of JSON, each an object or an array: a row as MessagePack. The reader works on load.input, as that
-- of load.csv does; empty lines are no records.

local native = require('load.native')

local find, sub, byte = string.find, string.sub, string.byte

local LINE_BYTES_MAX = 64 * 1024 * 1024

local jsonl = {}
local reader = {}
reader.__index = reader

---@param input table load.input
function jsonl.reader(input)
    return setmetatable({ input = input, line = 1 }, reader)
end

local function is_row(packed)
    local first = byte(packed, 1)
    return (first >= 0x80 and first < 0xa0) or (first >= 0xdc and first <= 0xdf)
end

--- The MessagePack of a line; nil and {message, column}.
local function parse(line)
    local packed, message = native.json_decode(line)
    if packed and not is_row(packed) then
        return nil, { message = 'a row is an object or an array', column = 1 }
    elseif not packed then
        local column, what = message:match('^JSON: line %d+, column (%d+): (.*)$')
        return nil, { message = 'JSON: ' .. (what or message), column = tonumber(column) or 1 }
    end
    return packed
end

--- The next row as MessagePack, nil at the end; nil and {message, line, column} for a line that is
--- none, which is passed.
---@return string|nil packed, table|nil problem
function reader:next()
    local input = self.input
    while true do
        local text, first = input.text, input.position
        local stop = find(text, '\n', first, true)
        if not stop and #text - first > LINE_BYTES_MAX then
            return nil, { message = 'a line of more than 64 MB', line = self.line, column = 1, fatal = true }
        elseif not stop and input:more() then -- luacheck: ignore 542
            -- look again
        elseif first > #text then
            return nil
        else
            stop = stop or #text + 1
            self.from, self.raw_first, self.raw_last = input.base + first - 1, first, math.min(stop, #text)
            self.record_line, self.line = self.line, self.line + 1
            input.position = self.raw_last + 1
            local line = sub(text, first, stop - 1)
            if find(line, '%S') then
                local packed, problem = parse(line)
                if problem then
                    problem.line = self.record_line
                end
                return packed, problem
            end
        end
    end
end

--- The text of the record that `next` has given, or refused, last.
function reader:raw()
    return sub(self.input.text, self.raw_first, self.raw_last)
end

return jsonl
