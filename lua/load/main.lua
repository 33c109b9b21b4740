-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee load` and `perigee dump`: connects, runs, and says what went wrong.

local client = require('client')
local native = require('load.native')
local options = require('load.options')

local main = {}

--- A connection as the user that the arguments name; the admin when its key can be read.
local function connect_as(arguments, admin, reconnect)
    local given = { tls = arguments.tls, reconnect = reconnect, user = arguments.user,
        password = arguments.password }
    if admin then
        -- each start of the server has another key
        given.user, given.password = 'admin', function()
            return native.admin_key(arguments.dir, arguments.address)
        end
    end
    local db = client.connect(arguments.address, given)
    local ok, problem = pcall(db.ping, db)
    if not ok then
        db:close()
        if problem.name == 'ERROR_AUTH' then
            problem.message = arguments.address .. ' asks for a password: --password, or PERIGEE_PASSWORD'
        end
        error(problem, 0)
    end
    return db
end

local function connect(arguments, reconnect)
    if arguments.admin_key then
        -- the key may be left over from a server that was killed, and another be there now
        local ok, db = pcall(connect_as, arguments, true, reconnect)
        if ok then
            return db
        end
    end
    return connect_as(arguments, false, reconnect)
end

--- Runs a command; gives the status of the process.
local function run(name, help, module, arguments, names, words, reconnect)
    local ok, problem = pcall(function()
        local given = options[name](names, words)
        if given.help then
            io.stdout:write(help, options.COMMON_HELP)
            return
        end
        local db = connect(arguments, reconnect)
        require(module).run(db, given)
        db:close()
    end)
    if ok then
        return 0
    end
    local message = type(problem) == 'table' and problem.message or problem
    local code = type(problem) == 'table' and problem.name
    io.stderr:write('perigee: ', tostring(message), code and code:find('^ERROR_') and ' (' .. code .. ')'
        or '', '\n')
    return 1
end

function main.load(arguments, names, words)
    return run('load', options.LOAD_HELP, 'load.loader', arguments, names, words, true)
end

function main.dump(arguments, names, words)
    return run('dump', options.DUMP_HELP, 'load.dumper', arguments, names, words, false)
end

return main
