-- SPDX-License-Identifier: Apache-2.0
--
-- \set: what can be chosen while the console runs.

local format = require('console.format')

local setting = {}

--- Each: {name, values as text, what it is}; the value is a field of the console of that name.
local list = {
    { 'output', table.concat(format.names, '|'), 'how results are written' },
    { 'expanded', 'on|off', 'one field a line instead of a table (\\x)' },
    { 'types', 'on|off', 'the types of fields below their names, where a space has a format' },
    { 'timing', 'on|off', 'whether times are shown (\\timing)' },
    { 'paging', 'on|off', 'a pager for what is longer than the screen' },
    { 'colored', 'on|off', 'colours' },
    { 'hints', 'on|off', 'missing arguments are shown while one types, in grey' },
    { 'private', 'on|off', 'inputs are not kept in the history (\\private)' },
}
setting.list = list

local titles = { colored = 'colours are', hints = 'hints are', private = 'private mode is',
    types = 'types are', expanded = 'expanded output is' }

local function value_text(console, name)
    local v = console[name]
    return type(v) == 'string' and v or v and 'on' or 'off'
end

local function say(console, name)
    console:print(('%s %s'):format(titles[name] or name .. ' is', value_text(console, name)))
end

--- Sets what is on or off; without a word it becomes what it is not.
---@param console table
---@param name string
---@param word string
function setting.switch(console, name, word)
    if word == 'on' or word == 'off' then
        console[name] = word == 'on'
    elseif word == '' then
        console[name] = not console[name]
    else
        error({ message = ("'%s' is on or off, not '%s'"):format(name, word) }, 0)
    end
    say(console, name)
end

local function set_output(console, word)
    if word ~= '' and not format.is(word) then
        error({ message = ("there is no output '%s'; there are: %s"):format(word,
            table.concat(format.names, ', ')) }, 0)
    elseif word ~= '' then
        console.output = word
    end
    if word == '' or console.interactive then
        say(console, 'output')
    end
end

--- \set, \set NAME, \set NAME VALUE
---@param console table
---@param argument string
function setting.run(console, argument)
    local name, word = argument:match('^(%S*)%s*=?%s*(.-)$')
    if name == '' then
        local rows = {}
        for n, one in ipairs(list) do
            rows[n] = { one[1], value_text(console, one[1]), one[2], one[3] }
        end
        return console:print_rows(rows, { 'setting', 'value', 'values', 'about' })
    elseif name == 'output' then
        return set_output(console, word)
    end
    for _, one in ipairs(list) do
        if one[1] == name then
            if word == '' then
                return say(console, name)
            end
            return setting.switch(console, name, word)
        end
    end
    error({ message = ("there is no setting '%s'; \\set lists them"):format(name) }, 0)
end

return setting
