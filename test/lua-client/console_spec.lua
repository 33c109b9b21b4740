-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local console_case = require('console_case')
local process = require('process')

local enter, open = console_case.enter, console_case.open
local piped, with_server = console_case.piped, console_case.with_server

local SETUP = [[
box.schema.space.create('people', {format = {{'id', 'unsigned'}, {'name', 'string'}}})
box.space.people:create_index('primary', {parts = {'id'}})
box.space.people:create_index('name', {parts = {'name'}, unique = false})
box.space.people:insert{1, 'Ada'}
box.space.people:insert{2, 'Grace'}
box.schema.func.create('greet', {readonly = true, body = 'function(name) return "hello " .. name end'})
]]

local PEOPLE = ' id | name\n----+------\n  1 | Ada\n  2 | Grace\n'

describe('the console without a terminal', function()
    it('runs the inputs of its standard input and shows the results as tables', function()
        with_server(function(server)
            local _, status = piped(server, SETUP)
            assert.equal(0, status)
            local output
            output, status = piped(server, [[
                box.space.people:select()
                box.space.people.index.name:select('Grace')
                box.space.people:get(3)
                for n = 1, 2 do
                    last = n
                end
                last
                'one', 2
                nothing
                box.func.greet('you')
            ]])
            assert.equal(PEOPLE .. '(2 rows)\n id | name\n----+------\n  2 | Grace\n(1 row)\n(0 rows)\n2\n'
                .. "{'one', 2}\nnil\nhello you\n", output)
            assert.equal(0, status)
        end)
    end)

    it('goes on after an input that fails, and its status is 1', function()
        with_server(function(server)
            local output, status = piped(server, "error('wrong')\n1 +\n*\n'still here'\n")
            assert.equal(1, status)
            assert.is_truthy(output:find('error: eval:1: wrong\n', 1, true))
            assert.is_truthy(output:find("error: eval:1: [^\n]* near [^\n]*\n"))
            assert.is_truthy(output:find('still here\n', 1, true))
            output, status = piped(server, 'for n = 1, 2 do')
            assert.equal(1, status)
            assert.is_truthy(output:find('near', 1, true))
            output, status = piped(server, '\\nothing\n')
            assert.equal(1, status)
            assert.is_truthy(output:find('there is no command', 1, true))
        end)
    end)

    it('runs the texts that it is given', function()
        with_server(function(server)
            local output, status = piped(server, 'ignored', '-e', 'return 6 * 7', '-e', '\\d')
            assert.equal('42\nthere are no spaces\n', output)
            assert.equal(0, status)
            assert.equal(1, (select(2, piped(server, '', '-e', 'nonsense here'))))
        end)
    end)

    it('shows through which stored code an error came', function()
        with_server(function(server)
            local output = piped(server, [[
        box.schema.func.create('inner', {body = "function(n)\nlocal m = n + nil\nreturn m\nend"})
        box.schema.func.create('outer', {body = "function(n)\nlocal m = box.func.inner(n)\nreturn m\nend"})
        (function() local m = box.func.outer(1) return m end)()
            ]])
            assert.is_truthy(output:find('error: inner:2: attempt to perform arithmetic on a nil value\n'
                .. '  inner:2 in [^\n]+\n  outer:2 in [^\n]+\n  eval:1 in '), output)
            output = piped(server, [[
                (function() require('fiber').sleep(0) local function f() error('late') end f() return 1 end)()
            ]])
            assert.is_truthy(output:find('error: eval:1: late\n  eval:1 in f\n  eval:1 in ', 1, true), output)
            output = piped(server, "CALL_ = box.func.outer and 1\nerror('alone')\n")
            assert.is_truthy(output:find('error: eval:1: alone\n', 1, true), output)
        end)
    end)

    it('keeps a transaction that is typed open over its inputs', function()
        with_server(function(server)
            piped(server, SETUP)
            local output, status = piped(server, [[
                BEGIN
                box.space.people:insert{3, 'Barbara'}
                SAVEPOINT three
                box.space.people:insert{4, 'Margaret'}
                \d people
                rollback to three;
                box.space.people:count()
                COMMIT
                box.begin{isolation = 'snapshot'}
                box.space.people:delete(1)
                box.rollback()
                box.space.people:count()
                start transaction isolation level read committed read only
                box.space.people:count()
                commit
            ]])
            assert.equal(0, status, output)
            assert.is_truthy(output:find(' name    | tree | no     | name\n3\n id', 1, true), output)
            assert.is_truthy(output:find('\n3\n3\n$'), output)
            output, status = piped(server, 'COMMIT\nBEGIN nothing\nBEGIN\nBEGIN\nROLLBACK TO nowhere\n')
            assert.equal(1, status)
            assert.is_truthy(output:find('error: no transaction is open: BEGIN opens one\n', 1, true))
            assert.is_truthy(output:find("there is no isolation level 'nothing'", 1, true))
            assert.is_truthy(output:find('a transaction is open already', 1, true))
            assert.is_truthy(output:find("there is no savepoint 'nowhere'", 1, true))
        end)
    end)

    it('runs what is typed line by line, between breakpoints', function()
        with_server(function(server)
            piped(server, SETUP .. [[
        box.schema.func.create('rename', {body = "function(id, name)\nlocal s = box.space.people\n]]
                .. [[local before = s:get(id).name\ns:update(id, {{'=', 'name', name}})\nreturn before\nend"})
            ]])
            local output, status = piped(server, [[
                \break rename:4 name ~= 'Ada'
                \breakpoints
                box.func.rename(1, 'Ada')
                box.func.rename(2, 'Edsger')
                \locals
                \next
                \print s:get(id)
                \where
                \up
                \down
                box.space.people:get(2)
                \continue
                \delete 1
                \breakpoints
                box.func.rename(2, 'Barbara')
                \step box.func.rename(2, 'Grace')
                \step
                \finish
                \continue
                box.space.people:get(2)
                \step box.func.rename(2, 'Margaret')
                \break rename:5
                \continue
                \kill
                \delete all
                box.space.people:get(2)
            ]])
            assert.equal(0, status, output)
            local place = 1
            for _, text in ipairs({
                "breakpoint 1  rename:4 if name ~= 'Ada'\n", "1  rename:4 if name ~= 'Ada'\n", '\nAda\n',
                'stopped at rename:4, breakpoint 1\n', '     3  local before = s:get(id).name\n',
                ">    4  s:update(id, {{'=', 'name', name}})\n", 'id = 2\nname = "Edsger"\n',
                'before = "Grace"\n', 'stopped at rename:5\n', "{2, 'Edsger'}\n",
                '> 1  rename:5\n  2  eval:1\n', "2  eval:1\n>    1  ", "box.func.rename(2, 'Edsger')\n",
                '1  rename:5\n', '  2 | Grace\n', '\nGrace\n', 'there are no breakpoints\n', '\nEdsger\n',
                'stopped at eval:1\n', 'stopped at rename:2\n', 'stopped at eval:1\n', '\nBarbara\n',
                '  2 | Grace\n', 'breakpoint 2  rename:5\n', 'stopped at rename:5, breakpoint 2\n',
                'it has ended there', '  2 | Grace\n',
            }) do
                local _, last = output:find(text, place, true)
                assert.is_truthy(last, 'not there, or too early: ' .. text .. '\nin:\n' .. output)
                place = last
            end
            output, status = piped(server, '\\next\n\\break nothing\n\\delete 7\n\\break f:1 1 +\n'
                .. 'BEGIN\n\\step 1\nROLLBACK\n')
            assert.equal(1, status)
            for _, text in ipairs({
                'nothing has stopped', '\\break procedure:line', 'there is no breakpoint 7',
                'the condition is no expression', 'not in a transaction that is typed',
            }) do
                assert.is_truthy(output:find(text, 1, true), text .. '\nnot in:\n' .. output)
            end
        end)
    end)

    it('describes spaces and procedures', function()
        with_server(function(server)
            piped(server, SETUP)
            local output = piped(server, '\\d\n\\d people\n\\df\n\\df greet\n\\d nobody\n')
            for _, line in ipairs({
                ' space  | engine | rows | fields   | indexes\n',
                ' people | memory |    2 | id, name | primary, name\n',
                '     2 | name | string   | no\n',
                ' name    | tree | no     | name\n',
                ' greet     | yes      | serializable | function(name) return "hello " .. name end\n',
                '\nfunction(name) return "hello " .. name end\n',
                "error: there is no space 'nobody'\n",
            }) do
                assert.is_truthy(output:find(line, 1, true), 'no such line: ' .. line .. '\nin:\n' .. output)
            end
        end)
    end)

    it('shows results as the program that reads them wants them', function()
        with_server(function(server)
            piped(server, SETUP)
            local output, status = piped(server, '', '-o', 'json', '-e', 'box.space.people:select()',
                '-e', '\\d', '-e', "{1, 'a'}", '-e', '/get nothing')
            assert.equal('{"id":1,"name":"Ada"}\n{"id":2,"name":"Grace"}\n{"space":"people",'
                .. '"engine":"memory","rows":2,"fields":"id, name","indexes":"primary, name"}\n'
                .. '[1,"a"]\nnull\n', output)
            assert.equal(0, status)
            output = piped(server, '\\set output csv\nbox.space.people:get(1)\n\\set output markdown\n'
                .. 'box.space.people:get(1)\n\\set output lua\nbox.space.people:get(1)\n\\set output yaml\n'
                .. 'box.space.people:get(1)\n\\set output table\n\\x on\nbox.space.people:get(1)\n')
            assert.equal('id,name\n1,Ada\n| id | name |\n| ---: | --- |\n| 1 | Ada |\n{{1, \'Ada\'}}\n'
                .. '- id: 1\n  name: Ada\nexpanded output is on\n-[ 1 ]--\n id   | 1\n name | Ada\n(1 row)\n',
                output)
            output, status = piped(server, '', '-o', 'xml')
            assert.equal(1, status)
            assert.is_truthy(output:find("there is no output 'xml'; there are: table, lua, json", 1, true))
            output, status = piped(server, '\\set output xml\n\\set nothing\n\\x maybe\n')
            assert.equal(1, status)
            assert.is_truthy(output:find("there is no setting 'nothing'", 1, true), output)
            assert.is_truthy(output:find("is on or off, not 'maybe'", 1, true), output)
        end)
    end)

    it('runs commands of Redis beside Lua, and in the same transaction', function()
        with_server(function(server)
            piped(server, SETUP)
            local output, status = piped(server, [[
                SET greeting "hello\x21\n"
                GET greeting
                /get greeting
                redis.call('GET', 'greeting')
                HSET h f 1
                HGETALL h
                BEGIN
                box.space.people:insert{3, 'Barbara'}
                INCR people
                HGETALL h
                ROLLBACK
                GET people
                GET = 5
                GET
            ]])
            assert.equal('OK\n"hello!\\n"\n"hello!\\n"\nhello!\n\n(integer) 1\n1# "f" => "1"\n id | name\n'
                .. '----+--------\n  3 | Barbara\n(1 row)\n(integer) 1\n1# "f" => "1"\n(nil)\n',
                (output:gsub("error: ERR wrong number of arguments for 'get' command\n", '')))
            assert.equal(1, status)
            output, status = piped(server, 'SUBSCRIBE\n/nothing\nGET "a\n')
            assert.equal(1, status)
            assert.is_truthy(output:find('unknown command', 1, true))
            assert.is_truthy(output:find('the quotes do not end', 1, true))
        end)
    end)

    it('points at the place of an error in what was typed', function()
        with_server(function(server)
            local output = piped(server, 'local a = = 3\nnothing.at.all = 1\n'
                .. 'for n = 1, 2 do\n  nobody(n)\nend\n')
            assert.equal("error: eval:1: unexpected symbol near '='\n  local a = = 3\n            ^\n"
                .. "error: eval:1: attempt to index global 'nothing' (a nil value)\n"
                .. '  nothing.at.all = 1\n  ^\n'
                .. "error: eval:2: attempt to call global 'nobody' (a nil value)\n"
                .. '    nobody(n)\n    ^\n', output)
        end)
    end)

    it('runs files, writes results into files, and opens the editor', function()
        with_server(function(server, folder)
            local path = folder .. '/inputs.lua'
            local out = assert(io.open(path, 'w'))
            out:write('-- a file\n1 +\n1\nerror("in it")\n\\i ' .. folder .. '/nowhere\n')
            out:close()
            local output, status = piped(server, '\\i ' .. path .. '\n2\n')
            assert.equal('error: ' .. path .. ':4: eval:1: in it\nerror: ' .. path .. ':5: ' .. folder
                .. '/nowhere: No such file or directory\n', output:match('error.*directory\n'))
            assert.equal('2\n2\n', (output:gsub('error[^\n]*\n', '')))
            assert.equal(1, status)
            local result = folder .. '/result'
            output = piped(server, '\\set output json\n\\o ' .. result .. "\n{1, 'a'}\n\\o\n3\n")
            assert.equal('3\n', output)
            local input = assert(io.open(result))
            assert.equal('[1,"a"]\n', input:read('*a'))
            input:close()
            local console = process.spawn({ process.perigee, 'console', server.address },
                { EDITOR = "sed -i 's/6/7/'" })
            console:write('6 * 6\n\\e\n')
            console:close_input()
            assert.equal('36\n7 * 6\n42\n', (console:finish()))
            console = process.spawn({ process.perigee, 'console', server.address }, { EDITOR = 'false' })
            console:write('\\e\n')
            console:close_input()
            output, status = console:finish()
            assert.equal('error: the editor has failed; nothing is run\n', output)
            assert.equal(1, status)
        end)
    end)

    it('repeats an input, and tells about triggers, modules, sessions, figures and functions', function()
        with_server(function(server)
            piped(server, SETUP .. "box.space.people:on_replace('return new', 'same')\n")
            local output, status = piped(server, [[
                \dt
                \dt people
                \dm
                \l
                \stat 0 2
                \help
                \help transactions
                \help insert
                \help GETDEL
                total = (total or 0) + 1 return total
                \watch 0 3
            ]])
            assert.equal(0, status, output)
            for _, text in ipairs({
                ' trigger | space  | event      | body\n', ' same    | people | on_replace | return new\n',
                ' csv ', ' session | user ', 'client|list', 'locks held, 0 requests wait for them\n',
                ' commits/s ', '\\watch 2 ', 'SAVEPOINT name', 'insert(tuple)\n', 'GETDEL key\n  Returns',
            }) do
                assert.is_truthy(output:find(text, 1, true), 'not there: ' .. text .. '\nin:\n' .. output)
            end
            assert.matches('\n csv +| +[%d.]+ +| no +| %u', output)
            assert.equal('1\n2\n3\n4\n', output:match('\n(1\n2\n3\n4\n)$'))
            output, status = piped(server, '\\watch\n\\help nonsense\n\\dt nobody\n')
            assert.equal(1, status)
            assert.is_truthy(output:find('no input yet', 1, true))
            assert.is_truthy(output:find("there is no help about 'nonsense'", 1, true))
            assert.is_truthy(output:find("there is no trigger 'nobody'", 1, true))
        end)
    end)

    --- What \\l says of locks, without how long somebody has waited; and the sum in its last line.
    local function locks_of(server)
        local output, status = piped(server, '\\l\n')
        assert.equal(0, status, output)
        local locks = output:match('\n( session | lock .*\n)%d+ sessions;') or ''
        return locks:gsub('| +%d+%.?%d* +| (%d+)\n', '| - | %1\n'), output:match('\n(%d+ sessions;.*)$')
    end

    it('lists who has locked what, and who waits for whom', function()
        with_server(function(server)
            piped(server, SETUP)
            local one, two = client.connect(server.address), client.connect(server.address)
            local first, second = one:eval('return box.session.id()'), two:eval('return box.session.id()')
            local locks, sum = locks_of(server)
            assert.equal('', locks)
            assert.matches('0 transactions open; 0 locks held, 0 requests wait for them', sum, 1, true)
            local holder = one:begin()
            holder:eval("box.space.people:select(1, { lock = 'exclusive' })")
            holder:eval("box.space.people:replace({ 7, 'Edsger' })")
            locks, sum = locks_of(server)
            assert.matches((' %7d | holds | people {1} | exclusive |'):format(first), locks, 1, true)
            assert.is_nil(locks:find('waits |', 1, true), locks)
            assert.matches('1 transactions open; ', sum, 1, true)
            local waiting = two:async('eval', "box.space.people:replace({ 7, 'Tony' })")
            two:flush()
            repeat -- until it has met the row that is written
                local waits = one:eval('return box.stat.locks().waiting')
            until waits > 0
            locks, sum = locks_of(server)
            local line = '\n %7d | waits | transaction of %d | shared    | - | %d\n'
            assert.matches(line:format(second, first, first), locks, 1, true)
            assert.matches((' %7d | holds | people {7} '):format(second), locks, 1, true)
            assert.matches(' locks held, 1 requests wait for them', sum, 1, true)
            holder:rollback()
            waiting:get()
            assert.equal('', (locks_of(server)))
            assert.equal("{7, 'Tony'}\n", (piped(server, 'box.space.people:get(7):totable()\n')))
            one:eval("for id = 8, 150 do box.space.people:insert({ id, 'name' }) end")
            holder = one:begin()
            holder:eval("box.space.people:select({}, { limit = 1000, lock = 'shared' })")
            locks = locks_of(server)
            assert.matches('\nand 46 more: box.stat.locks()\n', locks, 1, true)
            assert.equal(146, one:eval('return box.space.people:count()'))
        end)
    end)

    it('names the columns as the format says now', function()
        with_server(function(server)
            piped(server, SETUP)
            local output = piped(server, [[
                box.space.people:get(1)
                box.space.people:format({{'id', 'unsigned'}, {'called', 'string'}})
                box.space.people:get(1)
            ]])
            assert.is_truthy(output:find(' id | name\n', 1, true))
            assert.is_truthy(output:find(' id | called\n', 1, true))
        end)
    end)

    it('says in one line that there is no server, and its status is 1', function()
        local folder = process.folder()
        local address = 'unix:' .. folder .. '/nobody'
        local output, status = piped({ address = address }, '')
        assert.equal('perigee: cannot connect to ' .. address .. ': No such file or directory\n', output)
        assert.equal(1, status)
        process.remove(folder)
    end)

    it('says in one line that a password is asked for, and takes one', function()
        with_server(function(server)
            local output, status = piped(server, '1\n')
            assert.equal(1, status)
            assert.is_truthy(output:find('^perigee: unix:[^\n]* asks for a password: [^\n]*\n$'))
            output, status = piped(server, '1 + 1\n', '--password', 'secret')
            assert.equal(0, status)
            assert.equal('2\n', output)
            assert.equal(1, (select(2, piped(server, '1\n', '--password', 'wrong'))))
        end, { '--password', 'secret' })
    end)
end)

describe('the console in a terminal', function()
    local WIDE = 250 -- inputs stay on one line behind a prompt that has the path of any socket

    it('gathers lines, shows results and times, and leaves at Ctrl-D', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            enter(console, '6 * 7', '\n42\n%([%d.]+ ms%)\n')
            local rows = '\n' .. PEOPLE:gsub('[-+]', '%%%0') .. '%(2 rows, [%d.]+ ms%)\n'
            enter(console, 'box.space.people:select()', rows)
            console:write('for n = 1, 2 do\r')
            console:expect('%-> ')
            console:write('total = (total or 0) + n\r')
            console:expect('%-> ')
            enter(console, 'end', 'ms%)\n')
            enter(console, 'total', '\n3\n')
            enter(console, "error('wrong')", '\nerror: eval:1: wrong\n')
            enter(console, '"grüße"', '\ngrüße\n')
            enter(console, '\\timing off', '\ntiming is off\n')
            enter(console, '8 * 8', '\n64\n')
            console:write('\4')
            local _, status = console:finish()
            assert.equal(0, status)
        end)
    end)

    it('says in the prompt where it has stopped, and is free at Ctrl-C', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            enter(console, '\\break eval:2', '\nbreakpoint 1  eval:2\n')
            console:write('do local n = 1\r')
            console:expect('%-> ')
            enter(console, 'return n + 1 end', '\nstopped at eval:2, breakpoint 1\n')
            assert.is_truthy(console.text:find('eval:2> $'))
            enter(console, '\\print n', '\n1\n')
            enter(console, 'box.space.people:count()', '\n2\n')
            enter(console, '\\continue', '\n2\n')
            console:write("require('fiber').sleep(1000)\r")
            console:expect('sleep%(1000%)\n')
            console:write('\3')
            console:expect('\nerror: interrupted\n')
            console:expect('> ')
            enter(console, '3', '\nconnected to [^\n]* again\n3\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('shows what a request tells of itself, and how far a change of the schema is', function()
        with_server(function(server, folder)
            piped(server, [[
                many = box.schema.space.create('many')
                many:create_index('primary')
                box.atomic(function() for n = 1, 20000 do many:insert({ n }) end end)
            ]])
            local console = open(server, folder, 120)
            enter(console, "box.session.push('half of it') box.session.push({ 1, 'b' }) return 3",
                "\nhalf of it\n{1, 'b'}\n3\n")
            local slow = 'function(row) local sum = 0 for n = 1, 3e5 do sum = sum + n end return sum end'
            console:write('box.space.many:create_index("slow", { unique = false, '
                .. 'parts = { { 1, "unsigned" } }, func = "' .. slow .. '" })\r')
            console:expect('index "slow" of space "many" is being built +%d+%% %[#*%.*%]  [%d,]+ rows')
            console:write('\3')
            console:expect('error: interrupted\n')
            console:expect('> ')
            enter(console, 'box.space.many.index.slow', '\nnil\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('colours errors where that is wanted', function()
        with_server(function(server, folder)
            local console = process.terminal({ process.perigee, 'console', server.address },
                { TERM = 'xterm', HOME = folder }, WIDE)
            console:expect('> ')
            enter(console, "error('wrong')", '\nerror: eval:1: wrong\n')
            assert.is_truthy(console.text:find('\27[31merror: eval:1: wrong\27[0m', 1, true))
            console:write('\\q\r')
            assert.equal(0, select(2, console:finish()))
        end)
    end)

    it('completes spaces and procedures', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            enter(console, 'box.sp\t.pe\t:cou\t)', '\n2\n')
            enter(console, 'box.func.gr\t("you")', '\nhello you\n')
            console:write('box.space.people:up\t')
            console:expect('\nupdate%(  upsert%(\n')
            console:write('\3')
            console:expect('up^C\n')
            console:expect('> ')
            enter(console, '1', '\n1\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('drops what was typed at Ctrl-C', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            console:write('1 + (\r')
            console:expect('%-> ')
            console:write('2 + \3')
            console:expect('perigee unix:[^\n]*> ')
            enter(console, '3', '\n3\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('stops waiting for a statement at Ctrl-C', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            local db = client.connect(server.address)
            console:write('box.space.people:insert{3, "Edsger"} while true do end\r')
            -- The row is to be seen once it is durable, which it becomes with the next that is.
            local seen = 'box.space.people:replace{4, "Barbara"} return box.space.people:get(3) ~= nil'
            repeat until db:eval(seen) == true
            console:write('\3')
            console:expect('\nerror: interrupted\n')
            console:expect('> ')
            db:close()
            console:write('\4')
            console:finish()
        end)
    end)

    it('cancels what waits at Ctrl-C, and goes on with the next input', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            local db = client.connect(server.address)
            console:write("box.space.people:insert{3, 'x'} require('fiber').sleep(1000)\r")
            local seen = "box.space.people:replace{4, 'y'} return box.space.people:get(3) ~= nil"
            repeat until db:eval(seen) == true
            console:write('\3')
            console:expect('\nerror: interrupted\n')
            console:expect('socket> ')
            enter(console, 'box.space.people:count()', 'count%(%)\n4\n')
            -- Its session has gone, and with it what it was waiting for.
            repeat
                local _, sessions = piped(server, '/client list\n'):gsub('id=%d+ addr=', '')
            until sessions == 4 -- this console, the client, and two of the one that asks
            db:close()
            console:write('\4')
            console:finish()
        end)
    end)

    it('stops what computes at Ctrl-C', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            local caught = 'while true do pcall(function() while true do end end) end'
            for _, text in ipairs({ 'while true do end', caught }) do
                console:write("require('log').error('computing') " .. text .. '\r')
                server:expect('computing')
                console:write('\3')
                console:expect('\nerror: interrupted\n')
                enter(console, '1 + 1', '\n2\n') -- of the only worker
            end
            console:write('BEGIN\r')
            console:expect('transaction> ')
            console:write("require('log').error('computing') while true do end\r")
            server:expect('computing')
            console:write('\3')
            console:expect('\nerror: interrupted\n')
            enter(console, '2 + 2', '\n4\n')
            console:write('ROLLBACK\r')
            console:expect('socket> ')
            console:write('\4')
            console:finish()
        end, { '--workers', '1', '--lua_time_max', '10min' })
    end)

    it('remembers each input as one entry, in a file for its owner only', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            console:write('total = 0 for n = 1, 3 do\r')
            console:expect('%-> ')
            console:write('total = total + n\r')
            console:expect('%-> ')
            enter(console, 'end return total * 10', '\n60\n')
            console:write('\4')
            console:finish()
            local mode = io.popen('stat -c %a ' .. folder .. '/.perigee/history-*')
            assert.equal('600', mode:read('*l'))
            mode:close()
            console = open(server, folder)
            enter(console, '\16', '\n60\n')
            enter(console, "'other'", '\nother\n')
            enter(console, '\16\16', '\n60\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('says that the connection is lost, and connects again at the next input', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            enter(console, '1', '\n1\n')
            server:kill()
            server:finish()
            enter(console, '2', '\nerror: cannot connect to unix:[^\n]*\n')
            enter(console, '3', '\nerror: cannot connect to unix:[^\n]*\n')
            local again = process.server(folder)
            enter(console, 'box.space.people:count()', '\nconnected to [^\n]* again\n2\n')
            console:write('\4')
            assert.equal(0, select(2, console:finish()))
            assert.equal(0, again:stop())
        end)
    end)

    it('connects again by itself after a restart, and runs what is typed once', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            local function restart()
                server:kill()
                server:finish()
                server = process.server(folder)
            end
            enter(console, 'SET visits 1', '\nOK\n')
            restart()
            enter(console, 'box.space.people:count()', '\nconnected to [^\n]* again\n2\n')
            enter(console, 'INCR visits', '\n%(integer%) 2\n')
            restart()
            enter(console, 'INCR visits', '\nconnected to [^\n]* again\n%(integer%) 3\n')
            enter(console, 'box.space.people:count()', '\n2\n')
            local _, notes = console.text:gsub('connected to [^\n]* again', '')
            assert.equal(2, notes)

            -- What was under way is not sent again, and what belongs to a connection is not made up for.
            console:write("do redis.call('INCR', 'visits') require('fiber').sleep(1000) end\r")
            repeat until piped(server, 'GET visits\n') == '"4"\n'
            restart()
            console:expect('\nerror: lost the connection to unix:[^\n]*\n')
            enter(console, 'GET visits', '\nconnected to [^\n]* again\n"4"\n')
            enter(console, 'BEGIN', '\n')
            restart()
            enter(console, 'INCR visits', '\nerror: lost [^\n]*; the transaction is rolled back\n')
            enter(console, 'GET visits', '\nconnected to [^\n]* again\n"4"\n')
            enter(console, 'WATCH visits', '\nOK\n')
            restart()
            enter(console, 'MULTI', '\nerror: lost [^\n]*; what WATCH looked after is forgotten\n')
            enter(console, 'MULTI', '\nconnected to [^\n]* again\nOK\n')
            enter(console, 'DISCARD', '\nOK\n')
            console:write('\4')
            console:finish()
            assert.equal(0, server:stop())
        end)
    end)

    it('says in the prompt what is open, of its own and of Redis', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            enter(console, 'BEGIN', '\n')
            assert.is_truthy(console.text:find('transaction> $'))
            enter(console, 'box.space.people:insert{3, "Barbara"}', 'Barbara\n')
            enter(console, 'ROLLBACK', '\n')
            enter(console, 'SELECT 3', '\nOK\n')
            enter(console, 'MULTI', '\nOK\n')
            assert.is_truthy(console.text:find('socket%[3%] multi> $'))
            enter(console, 'DISCARD', '\nOK\n')
            enter(console, '/select 0', '\nOK\n')
            assert.is_truthy(console.text:find('socket> $'))
            console:write('\4')
            console:finish()
        end)
    end)

    it('listens and repeats until Ctrl-C', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            console:write('SUBSCRIBE news\r')
            console:expect('1%) "subscribe"\n2%) "news"\n3%) %(integer%) 1\n%(listening; Ctrl%-C ends it%)\n')
            assert.equal('(integer) 1\n', (piped(server, 'PUBLISH news hello\n')))
            console:expect('1%) "message"\n2%) "news"\n3%) "hello"\n')
            console:write('\3')
            console:expect('socket> ')
            enter(console, '6 * 7', '\n42\n')
            console:write('\\watch 1000\r')
            console:expect('each 1000 s: 6 %* 7\n42\n%([%d.]+ ms%)\n')
            console:write('\3')
            console:expect('socket> ')
            console:write('\\stat 1000\r')
            console:expect(' resident [^\n]*\n')
            console:write('\3')
            console:expect('socket> ')
            console:write('\4')
            assert.equal(0, select(2, console:finish()))
        end)
    end)

    it('shows what is longer than the screen in a pager', function()
        with_server(function(server, folder)
            local console = process.terminal({ process.perigee, 'console', server.address },
                { TERM = 'xterm', HOME = folder, NO_COLOR = '', PAGER = 'sed s/^/paged:/' }, WIDE)
            console:expect('> ')
            enter(console, "('x\\n'):rep(100)", '\npaged:x\n')
            enter(console, '\\set paging off', '\npaging is off\n')
            enter(console, "('y\\n'):rep(100)", '\ny\ny\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('keeps no password, and nothing in private mode', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            enter(console, "'first'", '\nfirst\n')
            enter(console, "'password'", '\npassword\n')
            enter(console, '\\private', '\nprivate mode is on\n')
            enter(console, "'second'", '\nsecond\n')
            enter(console, '\\private', '\nprivate mode is off\n')
            enter(console, '\16\16', '\nfirst\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('shows what may follow while one types, where there are colours', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = process.terminal({ process.perigee, 'console', server.address },
                { TERM = 'xterm', HOME = folder, PAGER = 'cat' }, WIDE)
            console:see('socket> *$')
            console:write('box.space.people:insert(')
            console:see('insert%({id, name}%)$')
            console:write('{3, "x"}')
            console:see('insert%({3, "x"}%)$')
            console:write(')\r')
            console:see('%(1 row, [%d.]+ ms%)\n[^\n]*socket> *$')
            console:write('SET k ')
            console:see('SET k value %[NX | XX%]')
            console:write('v\r')
            console:see('SET k v\nOK\n[^\n]*socket> *$')
            console:write('\\set hints off\r')
            console:see('hints are off\n[^\n]*socket> *$')
            console:write('box.space.people:get(')
            console:see('people:get%($')
            console:write('1)\r')
            console:see('1 | Ada\n[^\n]*\n[^\n]*socket> *$')
            console:write('\4')
            assert.equal(0, select(2, console:finish()))
        end)
    end)

    it('takes what is pasted as one input, and finds it again', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder)
            console:write('\27[200~local n = 5\n\treturn n\n+ 1\27[201~')
            console:see('local n = 5\n *%-> *return n\n *%-> %+ 1$')
            console:write('\r')
            console:see('%+ 1\n6\n[^\n]*\n[^\n]*socket> *$')
            console:expect('%(%d[^\n]*\n[^\n]*socket> ')
            enter(console, '7', '\n7\n')
            console:write('\18local')
            console:see("search 'local': local n = 5")
            console:write('\r')
            console:see('%+ 1\n6\n.*%+ 1\n6\n[^\n]*\n[^\n]*socket> *$')
            console:write('\4')
            console:finish()
            console = open(server, folder)
            console:write('\27[A\27[A\27[A\27[A')
            console:see('socket> 7$')
            console:write('\3')
            console:see('socket> 7^C\n[^\n]*socket> *$')
            console:write('\4')
            console:finish()
        end)
    end)

    it('teaches, step by step, and leaves nothing behind', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            console:write('\\tutorial\r')
            console:expect('\n1 of 11  [^\n]*\n    box.schema.space.create[^\n]*\n')
            console:expect('socket> ')
            enter(console, "'something else'", '\nsomething else\n')
            for step = 2, 11 do
                enter(console, '', ('\n%d of 11  '):format(step))
            end
            enter(console, '', '\n%(integer%) 1\n\nThat is all')
            assert.is_truthy(console.text:find('  3 | Earth   |     1', 1, true))
            enter(console, '\\d', '\nthere are no spaces\n')
            enter(console, '\\df', '\nthere are no procedures\n')
            enter(console, 'DBSIZE', '\n%(integer%) 0\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('cuts tables to the width of the terminal', function()
        with_server(function(server, folder)
            piped(server, SETUP .. "box.space.people:insert{3, ('long '):rep(50)}\n")
            local console = open(server, folder, 60)
            console:write('box.space.people:get(3)\r')
            console:expect('\n  3 | long [long ]+…\n')
            console:expect('>') -- of the prompt, which may have more than one line
            console:write('\4')
            console:finish()
        end)
    end)
end)
