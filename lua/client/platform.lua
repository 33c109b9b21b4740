-- SPDX-License-Identifier: Apache-2.0
--
-- What the client stands on: in plain LuaJIT, in the programs of `perigee` and in the operator's files
-- sockets of the system and a MessagePack of its own; in the server the loop of the worker and the
-- server's values.

local core = package.loaded['box.core']
local inside = core ~= nil and not core.native.trusted

return {
    msgpack = require(inside and 'client.value' or 'client.msgpack'),
    socket = require(inside and 'client.fiber_socket' or 'client.socket'),
    classes = nil, -- name -> what objects have; set by the client for client.guard
}
