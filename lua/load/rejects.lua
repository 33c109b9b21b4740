-- SPDX-License-Identifier: Apache-2.0
--
-- What was no row, written aside as it was in the file, with the reasons in a second file. Which
-- records these are is known to the server, from the transaction of their batch; so the files are
-- complete whenever and however often a load was killed.

local sender = require('load.sender')
local server = require('load.server')

local rejects = {}
rejects.__index = rejects

---@param db table a connection
---@param source table load.source
---@param options table of load.options
---@param name string of the load
function rejects.new(db, source, options, name)
    return setmetatable({ db = db, source = source, options = options, name = name, written = 0, from = {} },
        rejects)
end

local function open(self)
    local path = self.options.rejects
    local file, message = io.open(path, 'wb')
    local reasons, why
    if file then
        reasons, why = io.open(path .. '.reasons', 'wb')
    end
    if not reasons then
        error(message or why, 0)
    end
    self.file, self.reasons = file, reasons
    file:write(self.source.header_text or '')
end

--- Writes a record and why it was refused.
local function write(self, info, raw)
    if not self.file then
        open(self)
    end
    local is_text = self.source.format ~= 'msgpack'
    self.file:write(raw, is_text and raw:sub(-1) ~= '\n' and '\n' or '')
    self.reasons:write(self.source:place(info.line, info.column), ': ', info.message, '\n')
end

--- Writes those that the server knows and that are not written yet, as long as `raw_of(info)` gives their
--- bytes.
function rejects:write_known(raw_of)
    while true do
        local rows = sender.ask(self.db, server.REJECTS, self.options.space, self.name, self.written)
        for _, row in ipairs(rows) do
            local raw = raw_of(row[2])
            if not raw then
                return
            end
            write(self, row[2], raw)
            self.written = row[1]
        end
        if #rows == 0 then
            break
        end
    end
    self:flush()
end

function rejects:flush()
    if self.file then
        self.file:flush()
        self.reasons:flush()
    end
end

function rejects:close()
    if self.file then
        self.file:close()
        self.reasons:close()
    end
end

return rejects
