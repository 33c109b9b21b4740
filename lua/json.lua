-- SPDX-License-Identifier: Apache-2.0
--
-- json: Lua values to JSON text and back. Integers keep 64 bits; null is box.NULL.

local core = require('box.core')

return core.object({
    NULL = core.NULL,
    --- json.encode(value) -> text
    encode = core.native.json_encode,
    --- json.decode(text) -> value
    decode = core.native.json_decode,
})
