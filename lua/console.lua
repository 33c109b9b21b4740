-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee console`: reads Lua, runs it on a server, shows what comes back.
--
-- An input is a command of the console's (console.command), one of Redis's (console.redis), one about a
-- transaction (console.transaction), or Lua, which goes to the server as one `eval`; its lines are gathered
-- until they are a whole chunk (console.chunk). Results are shown by console.result. On a terminal they
-- are edited by console.editor; without one they are read from standard input, errors go to standard
-- error, and the exit status tells whether any input failed.

local client = require('client')
local catalog = require('console.catalog')
local chunk = require('console.chunk')
local command = require('console.command')
local complete = require('console.complete')
local editor = require('console.editor')
local format = require('console.format')
local hint = require('console.hint')
local pager = require('console.pager')
local point = require('console.point')
local progress = require('console.progress')
local redis = require('console.redis')
local result = require('console.result')
local socket = require('client.socket')
local stepper = require('console.stepper')
local text = require('console.text')
local transaction = require('console.transaction')
local tutorial = require('console.tutorial')

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

--- To where results go: a file, the pager when they are longer than the screen, or the terminal.
function console:emit(s)
    if self.out then
        self.out:write(s, '\n')
    elseif not pager.show(self, s) then
        self:print(s)
    end
end

--- A text of the server's as a result: as it is when a program reads it.
function console:emit_text(s)
    self:emit(self.out and s or text.printable(s, '\n\t'))
end

function console:columns()
    return self.interactive and (self.native.columns() or COLUMNS_DEFAULT) or nil
end

--- Text in a style of the terminal's, where colours are wanted: a number of SGR.
function console:style(number, s)
    return self.colored and '\27[' .. number .. 'm' .. s .. '\27[0m' or s
end

--- The head of a table stands out.
function console:bold_first(s)
    if not self.colored or self.out then
        return s
    end
    local head, rest = s:match('^([^\n]*)(.*)$')
    return self:style(1, head) .. rest
end

function console:print_rows(rows, names)
    result.show_rows(self, rows, names)
end

function console:show_reply(reply)
    result.show_reply(self, reply)
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

--- Says what went wrong, and remembers that something did. `source` is what was typed.
function console:fail(problem, source)
    self.failed = true
    local message = text.printable(tostring(problem.message), '\n\t')
    if type(problem.name) == 'string' and problem.name ~= 'ERROR_LUA' and problem.code < 0 then
        message = message .. ' (' .. problem.name .. ')'
    end
    if self.place then
        message = self.place .. ': ' .. message
    end
    local place = source and point.at(tostring(problem.message), source)
    message = 'error: ' .. message .. (place and '\n' .. place or '') .. trace_of(problem)
    if self.interactive then
        self:print(self:style(31, message))
    else
        self.write_error(message .. '\n')
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
    local function tell(_, told) progress.show(self, told) end
    local db = client.connect(self.address, {
        user = user,
        password = password,
        tls = self.tls,
        timeout = CONNECT_SECONDS,
        interrupted = self.interactive and self.native.interrupted or nil,
        progress = self.interactive and not self.dumb and tell or nil,
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

--- A connection has been made: that is said when another one was lost before, and while an input runs, for
--- at other times a line may be being edited.
function console:connected()
    self.untold, self.lost = self.untold or self.lost, false
    if self.untold and self.busy then
        self.untold = false
        if self.interactive then
            self:print('connected to ' .. self.address .. ' again')
        end
    end
end

--- Closes connections that have ended since they were used last, so that what comes next is sent on new ones.
--- With what ended with them (a transaction, MULTI) they stay: who goes on there is to be told.
function console:look()
    local ended = redis.look(self)
    if self.db and not self.transaction and not self.stopped and not self.db:alive() then
        self.db:close()
        self.db, ended = nil, true
    end
    self.lost = self.lost or ended
end

--- The connection, a new one when the last one was lost.
function console:database()
    self:look()
    if not self.db then
        self:connect()
        self:connected()
    end
    return self.db
end

--- Forgets the connection when the problem says that it is of no more use, and a transaction with it.
function console:note(problem)
    if self.db and type(problem) == 'table'
        and (problem.code == client.LOST or problem.code == client.PROTOCOL) then
        self.db:close()
        if self.transaction then
            problem.message = problem.message .. '; the transaction is rolled back'
        end
        self.db, self.transaction, self.stopped = nil, nil, nil
        problem.message = problem.message .. (redis.close(self) or '')
        self.lost = true
    end
end

--- Runs a function of the client's, and raises its errors.
function console:try(fn, ...)
    local ok, given = pcall(fn, ...)
    progress.clear(self)
    if not ok then
        self:note(given)
        error(given, 0)
    end
    return given
end

--- Runs text on the server, outside of a transaction that is open: what the console itself asks.
function console:request(source, ...)
    local db = self:database()
    return self:try(db.eval, db, source, ...)
end

-- ----------------------------------------------------------------------------------- evaluation

--- Shows a result; returns its number of rows when it is a list of rows.
function console:show(source, v)
    return result.show(self, source, v)
end

-- What people type first who know other consoles.
local LEAVE = '\\q leaves, or Ctrl-D'
local other_words = { help = '\\help shows what there is', exit = LEAVE, quit = LEAVE }

--- Says what is meant here by words of other consoles that are nothing on this server.
function console:advise(source, given)
    if not self.interactive or given ~= nil then
        return
    end
    local lower = source:lower()
    local _, behind = lower:find('^%s*select%s.*%sfrom%s+["`]?')
    local from = behind and source:match('^[%w_]+', behind + 1)
    local word = other_words[source:match('^%s*(%l+)%s*%(?%s*%)?%s*;?%s*$')]
    if from then
        self:print(('there is no SQL here: box.space.%s:select()'):format(from))
    elseif word or lower:find('^%s*show%s+%a+%s*;?%s*$') then
        self:print(word or '\\d shows what spaces there are')
    end
end

function console:evaluate(source)
    if stepper.wanted(self) then
        return stepper.run(self, source, false, function(given) self:show(source, given) end)
    end
    local started = socket.now()
    local where = self.transaction or self:database()
    local given = self:try(where.eval, where, source)
    local seconds = socket.now() - started
    local rows = self:show(source, given)
    result.summary(self, rows, seconds)
    self:advise(source, given)
end

--- Whether the text is an input as it stands; what is Lua may need more lines.
function console:is_complete(source)
    return command.is(source) or transaction.parse(source) ~= nil or redis.is(self, source)
        or chunk.is_complete(source)
end

--- What runs an input, and its arguments behind the console.
local function runner_of(self, source)
    local wish = transaction.parse(source)
    if command.is(source) then
        return command.run, self, source
    end
    self.last = source
    if wish then
        return self.try, self, transaction.run, self, wish
    elseif redis.is(self, source) then
        return redis.run, self, source
    end
    return self.evaluate, self, source
end

--- A transaction that the server has ended stays until ROLLBACK, and the prompt says so.
local lost = { ERROR_CONFLICT = true, ERROR_DEADLOCK = true, ERROR_CANCELLED = true }

--- Ends what runs at the server, and closes the connection: the next input opens another. One with a
--- transaction, or stopped at a line, stays.
function console:cancel()
    if self.db then
        self.db:abandon()
    end
    if self.db and not self.transaction and not self.stopped then
        self.db:close()
        self.db = nil
    end
end

--- Runs one input: a command of the console's, of Redis's, or Lua.
function console:run(source)
    if chunk.is_blank(source) then
        return
    end
    local within = self.busy -- of \i
    self.busy = true
    if self.untold then
        self:connected()
    end
    local ok, problem = pcall(runner_of(self, source))
    self.busy = within
    if not ok then
        problem = type(problem) == 'table' and problem or { message = problem }
        if problem.code == client.INTERRUPTED then
            self:print('') -- the terminal has shown ^C
            self:cancel()
        elseif self.transaction and lost[problem.name] then
            self.transaction.lost = true
        end
        self:fail(problem, source)
        self:advise(source, nil)
    end
end

-- --------------------------------------------------------------------------------------- input

--- What the prompt says behind the address: where it has stopped, or what is open.
function console:state()
    local redis_state = self.redis_state or {}
    local parts = {}
    if (redis_state.database or 0) ~= 0 then
        parts[#parts + 1] = ('[%d]'):format(redis_state.database)
    end
    if redis_state.multi then
        parts[#parts + 1] = ' multi'
    end
    if self.stopped then
        parts[#parts + 1] = (' %s:%d'):format(text.printable(self.stopped.name), self.stopped.line)
    elseif self.transaction then
        parts[#parts + 1] = self.transaction.lost and ' transaction lost' or ' transaction'
    end
    if self.private then
        parts[#parts + 1] = ' private'
    end
    return table.concat(parts)
end

function console:prompt()
    return 'perigee ' .. self.address .. self:state() .. '> '
end

--- Gathers lines into inputs and runs them. `read` gives a line, nil at the end; `done` is told that a
--- whole input has come.
function console:read_all(read, done)
    local lines = {}
    while not self.leaving do
        local line = read()
        if not line then
            break
        end
        lines[#lines + 1] = line
        local source = table.concat(lines, '\n')
        if self:is_complete(source) then
            done()
            self:run(source)
            lines = {}
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
    local list, prefix = complete.candidates(line, self.catalog, {
        names = function() return redis.names(self) end,
        ask = function(...) return redis.ask(self, ...) end,
    })
    local rest = complete.common(list):sub(#prefix + 1)
    if rest ~= '' then
        return rest
    elseif #list > 1 then
        return nil, complete.listing(list, self:columns())
    end
    return nil
end

--- What may be typed behind the line, where hints are wanted.
function console:hint(line)
    if not self.hints or not self.db then
        return nil
    end
    local ok, found
    if redis.parse(line) and redis.is(self, line) then
        ok, found = pcall(hint.of_redis, self, line)
    else
        ok, found = pcall(hint.of_lua, line, self.catalog)
    end
    return ok and found or nil
end

--- Whether it has a password in it, as far as one can see.
local function secret(source)
    local lower = source:lower()
    return lower:find('^%s*/?%s*auth%s') or lower:find('passw') or lower:find('^%s*/?%s*hello%s.*auth')
        or lower:find('^%s*/?%s*acl%s+setuser')
end

--- Runs what was typed; in the tutorial an empty input is the one that it shows.
function console:enter(source)
    local shown = self.tutorial and not source:find('%S') and tutorial.input(self)
    if shown then
        source = shown
        self:print(shown)
    end
    self.remember(source)
    local before = self.failed
    self.failed = false
    self:run(source)
    if self.tutorial then
        tutorial.follow(self, source, self.failed)
    end
    self.failed = before or self.failed
end

function console:run_interactive()
    local version = select(2, pcall(self.db.eval, self.db, 'return box.info.version'))
    local about = type(version) == 'string' and 'Perigee ' .. version or 'Perigee'
    self:print(about .. ' at ' .. self.address .. '; \\help for help')
    self.native.edit_open()
    local edit = (self.dumb and editor.plain or editor.new)(self.native, {
        folder = self.history,
        address = self.address,
        is_complete = function(source) return self:is_complete(source) end,
        complete = function(line) return self:complete(line) end,
        hint = function(line) return self:hint(line) end,
    })
    self.remember = function(source)
        if source:find('%S') and not self.private and not secret(source) then
            edit.history:add(source)
        end
    end
    while not self.leaving do
        if self.hints and self.colored and self.db then
            pcall(self.catalog.refresh, self.catalog) -- hints name fields
        end
        local prompt = self:prompt()
        local source = edit:read({
            prompt = prompt,
            continuation = (' '):rep(text.width(prompt) - 3) .. '-> ',
            colored = self.colored,
        })
        if source then
            self:enter(source)
        elseif source == nil then
            break
        end
    end
end

--- Runs what a file has, or standard input; a `name` is put before errors, with the line at which the
--- input begins.
function console:run_lines(file, name)
    local number, first = 0, nil
    local function read()
        number = number + 1
        first = first or number
        self.place = name and ('%s:%d'):format(name, first)
        return file:read('*l')
    end
    local rest = self:read_all(read, function() first = nil end)
    if rest ~= '' then
        self:run(rest)
    end
end

--- What is open at the end of the input is undone, and whoever has written it should know.
function console:finish()
    self.place = nil
    if self.transaction then
        self:fail({ message = 'the input ends within a transaction, which is rolled back' })
    elseif self.redis_state and self.redis_state.multi then
        self:fail({ message = 'the input ends within MULTI, whose commands are dropped: EXEC is missing' })
    end
end

--- A console that is connected. Raises an error of the client's.
---@param options table {address, user, password, admin_key, native, interactive, colored, dumb, history,
--- write, write_error, output}
function console.open(options)
    local self = setmetatable({
        address = options.address,
        user = options.user,
        password = options.password,
        tls = options.tls,
        admin_key = options.admin_key,
        native = options.native,
        interactive = options.interactive,
        colored = options.colored,
        dumb = options.dumb,
        history = options.history,
        timing = options.interactive,
        output = options.output or 'table',
        paging = options.interactive and not options.dumb,
        hints = options.interactive and not options.dumb,
        write = options.write or function(s) io.stdout:write(s) end,
        write_error = options.write_error or function(s) io.stderr:write(s) end,
        failed = false,
        remember = function() end, -- an input, in the history
    }, console)
    self.eval = function(source, ...) return self:request(source, ...) end
    self:connect()
    return self
end

--- All of `perigee console`.
---@param options table {address, user, password, admin_key, texts, output}
---@return integer status of the process
function console.main(options)
    local native = require('console.native')
    local term, home = os.getenv('TERM'), os.getenv('HOME')
    if options.output and not format.is(options.output) then
        io.stderr:write(("perigee: there is no output '%s'; there are: %s\n"):format(options.output,
            table.concat(format.names, ', ')))
        return 1
    end
    local interactive = #options.texts == 0 and native.is_terminal(0) and native.is_terminal(1)
    local ok, self = pcall(console.open, {
        address = (options.address:gsub('^%*:', '127.0.0.1:')),
        user = options.user,
        password = options.password,
        tls = options.tls,
        admin_key = options.admin_key,
        native = native,
        output = options.output,
        interactive = interactive,
        dumb = interactive and (term == nil or term == '' or term == 'dumb'),
        colored = interactive and term ~= nil and term ~= 'dumb' and not os.getenv('NO_COLOR'),
        history = home and home ~= '' and home .. '/.perigee' or nil,
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
        self:run_lines(io.stdin)
    end
    io.stdout:flush()
    self:finish()
    io.stdout:flush()
    if self.out then
        self.out:close()
    end
    return self.failed and 1 or 0
end

return console
