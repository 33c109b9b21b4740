-- SPDX-License-Identifier: Apache-2.0
--
-- What was entered before, newest first, and its file: a line for each entry, in which newlines are \n and
-- backslashes \\. An entry is appended as soon as it is entered, so that several consoles do not overwrite
-- each other's; a file that has grown to twice the limit is cut when it is opened.

local history = {}
local methods = {}
methods.__index = methods

local ENTRIES_MAX = 1000

local function encode(entry)
    return (entry:gsub('\\', '\\\\'):gsub('\n', '\\n'):gsub('\r', '\\r')) .. '\n'
end

local names = { n = '\n', r = '\r', ['\\'] = '\\' }

local function decode(s)
    return (s:gsub('\\(.)', names))
end

local function push(self, entry)
    if self[#self] ~= entry then
        self[#self + 1] = entry
    end
end

local function load(self)
    local file = io.open(self.path)
    local lines = 0
    for s in file and file:lines() or function() end do
        lines = lines + 1
        push(self, decode(s))
    end
    if file then
        file:close()
    end
    for n = 1, #self do
        self[n] = self[n + math.max(0, #self - ENTRIES_MAX)]
    end
    if lines >= 2 * ENTRIES_MAX then
        local parts = {}
        for n, entry in ipairs(self) do
            parts[n] = encode(entry)
        end
        self.native.write_private(self.path, table.concat(parts), false)
    end
end

--- That of a server, in a folder that only its owner can read; without a folder nothing is kept.
---@param native table of console.native
---@param folder string?
---@param address string
function history.open(native, folder, address)
    local self = setmetatable({ native = native }, methods)
    if folder and native.make_private(folder) then
        self.path = folder .. '/history-' .. address:gsub('[^%w.-]', '_')
        load(self)
    end
    return self
end

--- Entry number `n`, 1 the newest; nil: there are not so many.
function methods:at(n)
    return self[#self - n + 1]
end

--- A new entry. A file that cannot be written keeps none.
---@param entry string
function methods:add(entry)
    if self[#self] == entry then
        return
    end
    push(self, entry)
    if self.path then
        self.native.write_private(self.path, encode(entry), true)
    end
end

return history
