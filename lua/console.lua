-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee console`: reads Lua, runs it on a server, shows what comes back.
--
-- Each input goes to the server as one `eval`. Lines are gathered until they are a whole chunk
-- (console.chunk). Results are drawn by console.grid; when the input is one statement on a space,
-- the columns have the names of that space's format (console.catalog), which the result itself does
-- not carry. On a terminal lines are edited by libedit, through the functions of console.native;
-- without one they are read from standard input, errors go to standard error, and the exit status
-- tells whether any input failed.

local client = require('client')
local catalog = require('console.catalog')
local chunk = require('console.chunk')
local command = require('console.command')
local complete = require('console.complete')
local grid = require('console.grid')
local socket = require('client.socket')
local stepper = require('console.stepper')
local text = require('console.text')
local transaction = require('console.transaction')
local value = require('console.value')

local COLUMNS_DEFAULT = 80
local CONNECT_SECONDS = 10 -- until a server must have answered; statements may take as long as they like

local console = {}
console.__index = console

-- -------------------------------------------------------------------------------------- output

function console:print(s)
    self.write(s .. '\n')
end

--- Text that comes from the server: lines stay lines.
function console:print_text(s)
    self:print(text.printable(s, '\n\t'))
end

function console:columns()
    return self.interactive and (self.native.columns() or COLUMNS_DEFAULT) or nil
end

function console:print_rows(rows, names)
    if #rows > 0 then
        self:print(grid.draw(grid.shape(rows, names), self:columns()))
    end
end

--- Where an error came from, when that is more than what the message says: a line for each call.
local function trace_of(problem)
    local lines = {}
    for n, frame in ipairs(type(problem.trace) == 'table' and #problem.trace > 1 and problem.trace or {}) do
        local name = tostring(frame.name or '?')
        lines[n] = ('\n  %s:%s in %s'):format(text.printable(tostring(frame.file)), tostring(frame.line),
            text.printable(name))
    end
    return table.concat(lines)
end

--- Says what went wrong, and remembers that something did.
function console:fail(problem)
    self.failed = true
    local message = text.printable(tostring(problem.message), '\n\t')
    if type(problem.name) == 'string' and problem.name ~= 'ERROR_LUA' and problem.code < 0 then
        message = message .. ' (' .. problem.name .. ')'
    end
    message = message .. trace_of(problem)
    if not self.interactive then
        self.write_error('error: ' .. message .. '\n')
    elseif self.colored then
        self:print('\27[31merror: ' .. message .. '\27[0m')
    else
        self:print('error: ' .. message)
    end
end

-- ---------------------------------------------------------------------------------- the server

--- Connects, and asks for a first answer, so that who is no server or wants a password is found out.
function console:connect()
    -- The key may be left over from a server that was killed, and another be there now.
    if self.admin_key and not pcall(self.connect_as, self, 'admin', self.admin_key) then
        self.admin_key = nil
    end
    if not self.admin_key then
        self:connect_as(self.user, self.password)
    end
end

function console:connect_as(user, password)
    local db = client.connect(self.address, {
        user = user,
        password = password,
        timeout = CONNECT_SECONDS,
        interrupted = self.interactive and self.native.interrupted or nil,
    })
    local ok, problem = pcall(db.ping, db)
    if not ok then
        db:close()
        if problem.name == 'ERROR_AUTH' then
            problem.message = self.address .. ' asks for a password: --password, or PERIGEE_PASSWORD'
        end
        error(problem, 0)
    end
    pcall(db.eval, db, "box.session.type('console')") -- who may not run text gets on without
    db:set_timeout(nil)
    self.db = db
    self.catalog = catalog.new(self.eval)
end

--- The connection, a new one when the last one was lost.
function console:database()
    if not self.db then
        self:connect()
        if self.interactive then
            self:print('connected to ' .. self.address .. ' again')
        end
    end
    return self.db
end

--- Forgets the connection when the problem says that it is of no more use, and a transaction with it.
function console:note(problem)
    if self.db and type(problem) == 'table'
        and (problem.code == client.LOST or problem.code == client.PROTOCOL) then
        self.db:close()
        self.db, self.transaction, self.stopped = nil, nil, nil
    end
end

--- Runs a function of the client's, and raises its errors.
function console:try(fn, ...)
    local ok, result = pcall(fn, ...)
    if not ok then
        self:note(result)
        error(result, 0)
    end
    return result
end

--- Runs text on the server, outside of a transaction that is open: what the console itself asks.
function console:request(source, ...)
    local db = self:database()
    return self:try(db.eval, db, source, ...)
end

-- ----------------------------------------------------------------------------------- evaluation

--- Names of the columns of what a statement on a space gave, when they can be known.
function console:names_of(space)
    local ok = pcall(self.catalog.refresh, self.catalog)
    return ok and self.catalog:field_names(space) or nil
end

--- A value that is no list of rows.
function console:show_value(source, result)
    if type(result) == 'string' then
        self:print_text(result)
    elseif result ~= nil then
        self:print(value.pretty(result, self:columns() or COLUMNS_DEFAULT))
    elseif chunk.is_expression(source) and not chunk.is_silent(source) then
        self:print('nil')
    end
end

--- Shows a result; returns its number of rows when it is a list of rows.
function console:show(source, result)
    local space, method = chunk.space_of(source)
    if space and (result == nil or (value.is_array(result) and #result == 0)) then
        return 0
    end
    local names
    if space and value.is_array(result) then
        names = self:names_of(space)
        result = method == 'select' and result or { result }
    end
    local shape = grid.shape(result, names)
    if not shape then
        self:show_value(source, result)
        return nil
    end
    self:print(grid.draw(shape, self:columns()))
    return #shape.rows
end

function console:show_summary(rows, seconds)
    local parts = {}
    if rows then
        parts[1] = grid.row_count(rows)
    end
    if self.timing then
        local scale = seconds < 1 and '%.1f ms' or '%.2f s'
        parts[#parts + 1] = scale:format(seconds < 1 and seconds * 1000 or seconds)
    end
    if #parts > 0 then
        self:print('(' .. table.concat(parts, ', ') .. ')')
    end
end

function console:evaluate(source)
    if stepper.wanted(self) then
        return stepper.run(self, source, false, function(result) self:show(source, result) end)
    end
    local started = socket.now()
    local where = self.transaction or self:database()
    local result = self:try(where.eval, where, source)
    local seconds = socket.now() - started
    local rows = self:show(source, result)
    self:show_summary(rows, seconds)
end

--- Runs one input: a command of the console's or Lua.
function console:run(source)
    if chunk.is_blank(source) then
        return
    end
    local ok, problem
    local wish = transaction.parse(source)
    if command.is(source) then
        ok, problem = pcall(command.run, self, source)
    elseif wish then
        ok, problem = pcall(self.try, self, transaction.run, self, wish)
    else
        ok, problem = pcall(self.evaluate, self, source)
    end
    if not ok then
        if type(problem) == 'table' and problem.code == client.INTERRUPTED then
            self:print('') -- the terminal has shown ^C
        end
        self:fail(type(problem) == 'table' and problem or { message = problem })
    end
end

-- --------------------------------------------------------------------------------------- input

--- Gathers lines into inputs and runs them. `read(prompt)` gives a line, nil at the end, or false
--- when what was typed so far is to be dropped.
function console:read_all(read, remember)
    local lines = {}
    while not self.leaving do
        local state = self.transaction and ' transaction' or ''
        if self.stopped then
            state = (' %s:%d'):format(text.printable(self.stopped.name), self.stopped.line)
        end
        local prompt = 'perigee ' .. self.address .. state .. '> '
        local continuation = (' '):rep(#prompt - 3) .. '-> '
        local line = read(#lines == 0 and prompt or continuation)
        if line then
            lines[#lines + 1] = line
            local source = table.concat(lines, '\n')
            if command.is(source) or transaction.parse(source) or chunk.is_complete(source) then
                remember(source)
                self:run(source)
                lines = {}
            end
        elseif line == false then
            lines = {}
        else
            break
        end
    end
    return table.concat(lines, '\n')
end

--- What to insert for Tab, and what to list when there are several ways to go on.
function console:complete(line)
    if not line:find('%S') then
        return '  '
    end
    if self.db then
        pcall(self.catalog.refresh, self.catalog)
    end
    local list, prefix = complete.candidates(line, self.catalog)
    local rest = complete.common(list):sub(#prefix + 1)
    if rest ~= '' then
        return rest
    elseif #list > 1 then
        return nil, complete.listing(list, self:columns())
    end
    return nil
end

function console:run_interactive()
    local version = select(2, pcall(self.db.eval, self.db, 'return box.info.version'))
    local about = type(version) == 'string' and 'Perigee ' .. version or 'Perigee'
    self:print(about .. ' at ' .. self.address .. '; \\help for help')
    local native = self.native
    native.edit_open(self.history, function(line) return self:complete(line) end)
    self:read_all(native.read_line, function(source)
        if source:find('%S') then
            native.history_add(source)
        end
    end)
    native.edit_close()
end

function console:run_lines()
    local rest = self:read_all(function() return io.read('*l') end, function() end)
    if rest ~= '' then
        self:run(rest)
    end
end

--- A console that is connected. Raises an error of the client's.
---@param options table {address, user, password, admin_key, native, interactive, colored, history, write,
--- write_error}
function console.open(options)
    local self = setmetatable({
        address = options.address,
        user = options.user,
        password = options.password,
        admin_key = options.admin_key,
        native = options.native,
        interactive = options.interactive,
        colored = options.colored,
        history = options.history,
        timing = options.interactive,
        write = options.write or function(s) io.stdout:write(s) end,
        write_error = options.write_error or function(s) io.stderr:write(s) end,
        failed = false,
    }, console)
    self.eval = function(source, ...) return self:request(source, ...) end
    self:connect()
    return self
end

--- All of `perigee console`.
---@param options table {address, user, password, admin_key, texts}
---@return integer status of the process
function console.main(options)
    local native = require('console.native')
    local term, home = os.getenv('TERM'), os.getenv('HOME')
    local interactive = #options.texts == 0 and native.is_terminal(0) and native.is_terminal(1)
    local ok, self = pcall(console.open, {
        address = (options.address:gsub('^%*:', '127.0.0.1:')),
        user = options.user,
        password = options.password,
        admin_key = options.admin_key,
        native = native,
        interactive = interactive,
        colored = interactive and term ~= nil and term ~= 'dumb' and not os.getenv('NO_COLOR'),
        history = home and home ~= '' and home .. '/.perigee_history' or nil,
    })
    if not ok then
        io.stderr:write('perigee: ', tostring(self), '\n')
        return 1
    end
    for _, source in ipairs(options.texts) do
        self:run(source)
    end
    if interactive then
        self:run_interactive()
        return 0
    elseif #options.texts == 0 then
        self:run_lines()
    end
    io.stdout:flush()
    return self.failed and 1 or 0
end

return console
