-- SPDX-License-Identifier: Apache-2.0
--
-- msgpack: Lua values to MessagePack and back, by the rules by which tuples are stored.

local core = require('box.core')

return core.object({
    NULL = core.NULL,
    --- msgpack.encode(value) -> bytes
    encode = core.native.pack,
    --- msgpack.decode(bytes [, position]) -> value, position of what follows
    decode = core.native.unpack,
})
