-- SPDX-License-Identifier: Apache-2.0
--
-- What is longer than the screen goes through a pager: that of PAGER, else less.

local pager = {}

local DEFAULT = 'less -FRSX'

local function found()
    return os.execute('command -v less >/dev/null 2>&1') == 0
end

--- The user's, or less where it is installed.
local function default_command()
    local wish = os.getenv('PAGER')
    if wish and wish ~= '' then
        return wish
    end
    return found() and DEFAULT or false
end

local function command_of(console)
    if console.pager == nil then
        console.pager = default_command()
    end
    return console.pager
end

--- Shows a text that is longer than the screen; false when it is not, or there is no pager.
---@param console table
---@param s string
---@return boolean
function pager.show(console, s)
    local rows = console.paging and console.native.rows()
    local _, lines = s:gsub('\n', '\n')
    if not rows or lines + 3 <= rows or not command_of(console) then
        return false
    end
    io.stdout:flush()
    local pipe = io.popen(console.pager, 'w')
    if not pipe then
        return false
    end
    pipe:write(s, '\n')
    pipe:close()
    console.native.interrupted() -- was meant for the pager
    return true
end

return pager
