-- SPDX-License-Identifier: Apache-2.0
--
-- The addresses of servers, as texts.

local address = {}

--- The parts of "host:port", "[host]:port", ":port", "port" or "unix:path".
---@param text string
---@return table|nil parts {path} or {host, port}
function address.parse(text)
    local path = text:match('^unix:(.+)$')
    if path then
        return { path = path }
    end
    local host, port = text:match('^%[([^%]]+)%]:(%d+)$')
    if not host then
        host, port = text:match('^([^:]*):(%d+)$')
    end
    if not host then
        host, port = '', text:match('^(%d+)$')
    end
    if not port or tonumber(port) > 65535 then
        return nil
    end
    return { host = host == '' and '127.0.0.1' or host, port = port }
end

return address
