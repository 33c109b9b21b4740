-- SPDX-License-Identifier: Apache-2.0
--
-- Versions of modules, "1.4.2", and what one module requires of another: "queue", "queue >= 1.2",
-- "queue 1.2" (at least that, and below 2), several conditions with commas between them.

local core = require('box.core')

local version = {}

--- The numbers of a version, or nil.
---@param text string
---@return table?
function version.parse(text)
    local numbers = {}
    if type(text) ~= 'string' or not text:match('^%d[%d%.]*$')
        or text:find('%.%.') or text:sub(-1) == '.' then
        return nil
    end
    for number in text:gmatch('%d+') do
        numbers[#numbers + 1] = tonumber(number)
    end
    return numbers
end

local function compare(left, right)
    left, right = version.parse(left), version.parse(right)
    for position = 1, math.max(#left, #right) do
        local a, b = left[position] or 0, right[position] or 0
        if a ~= b then
            return a < b and -1 or 1
        end
    end
    return 0
end

--- Whether one version is older than another.
function version.less(left, right)
    return compare(left, right) < 0
end

local operators = {
    ['>='] = function(order) return order >= 0 end,
    ['<='] = function(order) return order <= 0 end,
    ['>'] = function(order) return order > 0 end,
    ['<'] = function(order) return order < 0 end,
    ['='] = function(order) return order == 0 end,
    ['=='] = function(order) return order == 0 end,
}

local function refuse(text)
    local message = '"%s" is no requirement: "queue", "queue >= 1.2", "queue 1.2"'
    core.raise(core.ERROR_INVALID, message:format(text))
end

local function condition(text, whole)
    local operator, wanted = text:match('^%s*([<>=]*)%s*([%d%.]+)%s*$')
    if not operator or not version.parse(wanted) or (operator ~= '' and not operators[operator]) then
        refuse(whole)
    end
    if operator ~= '' then
        return function(present) return operators[operator](compare(present, wanted)) end
    end
    local major = version.parse(wanted)[1]
    return function(present) return compare(present, wanted) >= 0 and version.parse(present)[1] == major end
end

--- The name in a requirement, and a function that says whether a version meets it.
---@param text string
---@return string, function
function version.requirement(text)
    local name, rest = tostring(text):match('^%s*([%a_][%w_]*)%s*(.-)%s*$')
    if not name then
        refuse(tostring(text))
    end
    local conditions = {}
    for part in rest:gmatch('[^,]+') do
        conditions[#conditions + 1] = condition(part, text)
    end
    return name, function(present)
        for _, holds in ipairs(conditions) do
            if not holds(present) then
                return false
            end
        end
        return true
    end
end

return version
