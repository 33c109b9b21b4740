-- SPDX-License-Identifier: Apache-2.0
--
-- yaml: Lua values to YAML and back, by the rules by which tuples are stored. null is box.NULL.

local core = require('box.core')

local native = core.native

local yaml = { NULL = core.NULL }

--- yaml.encode(value [, ..]) -> text, a document of each value.
function yaml.encode(...)
    if select('#', ...) == 0 then
        error('Usage: yaml.encode(value)', 2)
    end
    return native.yaml_encode(...)
end

--- yaml.decode(text) -> the value of each document.
function yaml.decode(text)
    if type(text) ~= 'string' then
        error('Usage: yaml.decode(text)', 2)
    end
    return native.yaml_decode(text)
end

return core.object(yaml)
