-- SPDX-License-Identifier: Apache-2.0
--
-- box.verify: C looks at a space in steps of about a millisecond (db/ddl_verify.c), as at those that change
-- one (box/job.lua), and others have their turns in between.

local core = require('box.core')
local job = require('box.job')
local space = require('box.space')

local native = core.native

--- box.verify(space): whether all rows are what the space demands, and its indexes lead to all of them and
--- to nothing else; true, or raises what is wrong. By name, number or object.
local function verify(which)
    local id = type(which) == 'table' and which.id or which
    local object = (type(id) == 'string' or type(id) == 'number') and space.space[id]
    if not object then
        core.raise(core.ERROR_NOT_FOUND, 'there is no space ' .. tostring(id) .. ': box.verify(space)')
    end
    job.finish(native.space_verify(object.id))
    return true
end

return verify
