-- SPDX-License-Identifier: Apache-2.0
--
-- \tutorial: two minutes with a throw-away space. Each step says something and names an input; who types it,
-- or just Enter, gets the next step. Anything else can be typed in between.

local tutorial = {}

local SPACE = 'tutorial_planets'

--- Each: {what is said, the input}.
local steps = {
    { 'A space holds tuples. This makes one whose tuples have three fields.',
        "box.schema.space.create('" .. SPACE .. "', {format = {{'id', 'unsigned'}, {'name', 'string'}, "
        .. "{'moons', 'unsigned'}}}).name" },
    { 'Its first index is the primary key.',
        "box.space." .. SPACE .. ":create_index('primary', {parts = {'id'}}).name" },
    { 'A tuple. When the answer comes it is on the disk.',
        'box.space.' .. SPACE .. ":insert{3, 'Earth', 1}" },
    { 'Several, by a loop: what is typed is Lua, and runs on the server.',
        "for id, name in ipairs{'Mercury', 'Venus'} do box.space." .. SPACE .. ':insert{id, name, 0} end' },
    { 'All of them. Try \\x and \\set output json as well.',
        'box.space.' .. SPACE .. ':select()' },
    { 'A transaction over several inputs: the prompt shows it.', 'BEGIN' },
    { 'Inside of it.', 'box.space.' .. SPACE .. ':delete(3)' },
    { 'And back: nothing has happened to the Earth.', 'ROLLBACK' },
    { 'A stored procedure is one transaction, which is run again when it meets another.',
        "box.schema.func.create('" .. SPACE .. "_found', {body = [[function(id, more)\n"
        .. '  local planets = box.space.' .. SPACE .. '\n'
        .. "  return planets:update(id, {{'+', 'moons', more}}).moons\nend]]})" },
    { 'It is called by its name, here and from any client.', 'box.func.' .. SPACE .. '_found(3, 2)' },
    { 'Redis commands work on the same prompt.', 'INCR ' .. SPACE .. ':visits' },
}

--- Takes away what the steps have made.
local CLEAN = "local space, found = '" .. SPACE .. "', '" .. SPACE .. "_found' "
    .. 'if box.schema.func.exists(found) then box.schema.func.drop(found) end '
    .. 'if box.space[space] then box.space[space]:drop() end '
    .. "redis.call('DEL', space .. ':visits')"

local function say(console)
    local step = steps[console.tutorial]
    console:print('')
    console:print(console:style(1, ('%d of %d  '):format(console.tutorial, #steps) .. step[1]))
    console:print('    ' .. step[2]:gsub('\n', '\n    '))
end

local function stop(console, text)
    console.tutorial = nil
    console.eval(CLEAN)
    console:print(text)
end

--- \tutorial, \tutorial stop
---@param console table
---@param argument string
function tutorial.run(console, argument)
    if argument == 'stop' then
        return stop(console, 'what the tutorial had made is gone')
    elseif not console.interactive then
        error({ message = '\\tutorial wants a terminal' }, 0)
    elseif console.transaction then
        error({ message = 'a transaction is open: COMMIT or ROLLBACK it first' }, 0)
    end
    console.eval(CLEAN)
    console.tutorial = 1
    console:print('Type what is shown, or press Enter to have it done. \\tutorial stop ends it.')
    say(console)
end

--- What an input that is empty stands for; nil: nothing.
---@param console table
---@return string?
function tutorial.input(console)
    local step = steps[console.tutorial]
    return step and step[2]
end

--- After an input: the next step, when it was this one and has worked.
---@param console table
---@param source string
---@param failed boolean
function tutorial.follow(console, source, failed)
    local step = steps[console.tutorial]
    if failed or not step or (source:gsub('%s+', '')) ~= (step[2]:gsub('%s+', '')) then
        return
    elseif console.tutorial < #steps then
        console.tutorial = console.tutorial + 1
        return say(console)
    end
    stop(console, '\nThat is all. What it has made is gone again; \\help, and docs/tour.md, tell more.')
end

return tutorial
