-- SPDX-License-Identifier: Apache-2.0
--
-- Types what docs/tour.md says into a console in a pseudo-terminal, and compares what comes back. In the
-- page `> ` begins an input, `-> ` goes on with it, and `…` stands for anything.
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local process = require('process')

local PROMPT = 'perigee unix:[^\n]*> '

--- The inputs of the page and what they give: {input, lines of output}.
local function steps_of(path)
    local file = assert(io.open(path))
    local page = file:read('*a')
    file:close()
    local steps = {}
    for block in page:gmatch('\n```\n(.-)\n```') do
        for text in (block:sub(1, 2) == '> ' and block or ''):gmatch('[^\n]+') do
            local step = steps[#steps]
            if text:sub(1, 2) == '> ' then
                steps[#steps + 1] = { input = text:sub(3), output = {} }
            elseif text:sub(1, 3) == '-> ' and #step.output == 0 then
                step.input = step.input .. '\n' .. text:sub(4)
            else
                table.insert(step.output, text)
            end
        end
    end
    return steps
end

--- A pattern for lines of output, from the line behind the input to the next prompt.
local function pattern_of(lines)
    local text = table.concat(lines, '\n')
    if text == '…' then
        return '^\n.-\n' .. PROMPT
    end
    text = text:gsub('[%^%$%(%)%%%.%[%]%*%+%-%?]', '%%%0')
    return '^\n' .. text .. (text ~= '' and '\n' or '') .. PROMPT
end

describe('docs/tour.md', function()
    it('has inputs that give what it says', function()
        local folder = process.folder()
        local server = process.server(folder)
        local console = process.terminal({ process.perigee, 'console', server.address },
            { TERM = 'xterm', HOME = folder, NO_COLOR = '', PAGER = 'cat', LC_ALL = 'C' }, 200)
        local ok, problem = pcall(function()
            console:expect(PROMPT)
            local steps = steps_of('docs/tour.md')
            assert.is_true(#steps > 30)
            for n, step in ipairs(steps) do
                -- Pasted, as each line of it would be; Enter comes when the screen shows the end of it.
                console:write('\27[200~' .. step.input .. '\27[201~')
                console:expect(step.input:match('[^\n]*$'):gsub('%p', '%%%0'))
                console:write('\r')
                if n == #steps then
                    break
                end
                local given = console:expect('(\n.-' .. PROMPT .. ')')
                assert.is_truthy(given:match(pattern_of(step.output)), ('%s\ngives\n%s\nand not\n%s'):format(
                    step.input, given, table.concat(step.output, '\n')))
            end
            assert.equal(0, select(2, console:finish()))
        end)
        console:kill()
        server:kill()
        server:finish()
        process.remove(folder)
        assert(ok, problem)
    end)
end)
