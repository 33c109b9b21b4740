-- SPDX-License-Identifier: Apache-2.0
--
-- Sends batches, several ahead of the answers, and sees to it that each is done once: when the connection is
-- lost, or a batch finds the load elsewhere, it asks how far the load is and goes on from there with
-- the batches that are not done.

local client = require('client')
local server = require('load.server')
local socket = require('client.socket')

local AHEAD = 8         -- batches that wait for their answer
local TRIES = 20        -- without any progress

local sender = {}
sender.__index = sender

--- What is worth another try.
local passing = { ERROR_CONFLICT = true, ERROR_DEADLOCK = true, ERROR_LOCK_TIMEOUT = true, ERROR_BUSY = true,
    ERROR_CANCELLED = true, ERROR_TIMEOUT = true, CLIENT_LOST = true }

---@param db table a client's connection, with `reconnect`
---@param load table {space, name, mode, skip, most}
---@param done function done(batch): a batch is there
function sender.new(db, load, done)
    return setmetatable({ db = db, load = load, done = done, waiting = {}, tries = 0 }, sender)
end

local function send(self, batch)
    local load = self.load
    batch.number = self.db:send('eval', server.BATCH, load.space, load.name, load.mode, load.skip, load.most,
        batch.state, batch.rows, batch.count, batch.spans, batch.refused)
    self.db:flush()
end

--- The result of a batch, or nil and an error of the client's.
local function receive(self, batch)
    if not batch.number then
        return nil, { name = 'CLIENT_LOST', message = 'lost' }
    end
    local answered, ok, result = pcall(self.db.wait, self.db, batch.number)
    if not answered then
        return nil, ok
    elseif not ok then
        return nil, result
    end
    return result
end

--- Asks the server what may be asked twice; again when it was lost meanwhile.
function sender.ask(db, text, ...)
    for try = 1, TRIES do
        local ok, result = pcall(db.eval, db, text, ...)
        if ok then
            return result
        elseif try == TRIES or type(result) ~= 'table' or result.code ~= client.LOST
            or result.message:find('^cannot connect') then
            error(result, 0)
        end
    end
end

--- The load's position on the server, when nothing of it is under way any more.
local function position_now(self)
    for _, batch in ipairs(self.waiting) do
        if batch.number then
            pcall(self.db.wait, self.db, batch.number)
            batch.number = nil
        end
    end
    local info = self.db:eval(server.START, self.load.space, self.load.name, false, '')
    return info.position
end

--- Sends again what the server has not done.
local function go_on(self, problem)
    self.tries = self.tries + 1
    if self.tries > TRIES then
        error(problem, 0)
    elseif self.tries > 1 then
        socket.pause(math.min(1, 0.01 * 2 ^ self.tries) * (0.5 + math.random() / 2))
    end
    local ok, position = pcall(position_now, self)
    if not ok then
        local reached = type(position) == 'table' and not tostring(position.message):find('^cannot connect')
        if reached and passing[position.name] then
            return
        end
        error(position, 0)
    end
    while self.waiting[1] and self.waiting[1].state.to <= position
        and self.waiting[1].state.from < position do
        local batch = table.remove(self.waiting, 1)
        self.tries = 0
        self.done(batch)
    end
    if self.waiting[1] and self.waiting[1].state.from ~= position then
        error({ message = ("another load goes on under the name '%s': it is at byte %.0f")
            :format(self.load.name, position) }, 0)
    end
    for _, batch in ipairs(self.waiting) do
        local sent = pcall(send, self, batch)
        if not sent then
            batch.number = nil
            return
        end
    end
end

--- Waits for the oldest batch.
local function settle(self)
    local batch = self.waiting[1]
    local result, problem = receive(self, batch)
    if not result then
        if not passing[problem.name] then
            error(problem, 0)
        end
        go_on(self, problem)
    elseif result[1] == 'done' then
        table.remove(self.waiting, 1)
        batch.number, self.tries = nil, 0
        self.done(batch)
    elseif result[1] == 'elsewhere' then
        batch.number = nil
        go_on(self, { message = ("another load goes on under the name '%s'"):format(self.load.name) })
    else
        error({ batch = batch, row = result[1] == 'failed' and result[2] or nil, message = result[3],
            name = result[4], many = result[1] == 'many' }, 0)
    end
end

--- Sends a batch: {state = {from, to, line, crc, done}, rows, count, spans, refused}. Raises an error of the
--- client's, or {batch, row, message, name} for a row that the server refuses.
function sender:put(batch)
    while #self.waiting >= AHEAD do
        settle(self)
    end
    self.waiting[#self.waiting + 1] = batch
    local ok, problem = pcall(send, self, batch)
    if not ok then
        if type(problem) ~= 'table' or problem.code ~= client.LOST then
            error(problem, 0)
        end
        batch.number = nil
    end
end

--- Waits for all of them.
function sender:finish()
    while self.waiting[1] do
        settle(self)
    end
end

return sender
