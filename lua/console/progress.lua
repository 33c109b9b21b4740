-- SPDX-License-Identifier: Apache-2.0
--
-- What a request tells of itself while it runs (box.session.push, and changes of the schema that go over many
-- rows): how far it is as a bar that is drawn in place, anything else as it comes.

local bar = require('load.progress')
local text = require('console.text')
local value = require('console.value')

local progress = {}

--- Takes the bar away, before anything else is written.
function progress.clear(console)
    if console.bar then
        console.bar:clear()
        console.bar = nil
    end
end

--- Shows it: {what, done, total} is a bar.
function progress.show(console, told)
    local is_bar = type(told) == 'table' and type(told.done) == 'number' and type(told.total) == 'number'
    if is_bar then
        console.bar = console.bar or bar.new(console.native, text.printable(tostring(told.what or '')))
        console.bar:show({ done = told.done, total = told.total, rows = told.done })
        return
    end
    progress.clear(console)
    if type(told) == 'string' then
        console:print_text(told)
    else
        console:print(value.pretty(told, console:columns()))
    end
end

return progress
