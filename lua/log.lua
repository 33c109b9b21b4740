-- SPDX-License-Identifier: Apache-2.0
--
-- log: lines in the server's log. log.info(format, ...) formats as string.format does when there
-- are arguments.

local core = require('box.core')
local native = core.native

local function writer(level)
    return function(format, ...)
        local text = select('#', ...) > 0 and string.format(format, ...) or tostring(format)
        native.log(level, text)
    end
end

return core.object({
    error = writer(0),
    warn = writer(1),
    info = writer(2),
    verbose = writer(3),
    debug = writer(3),
})
