-- SPDX-License-Identifier: Apache-2.0
--
-- clock: seconds, as numbers. time() stands still inside of a transaction, so that a run that is
-- repeated sees one time.

local core = require('box.core')
local api, runtime = core.api, core.runtime

local function time()
    return api.now(runtime)
end

local function monotonic()
    return api.monotonic(runtime)
end

return core.object({ time = time, realtime = time, monotonic = monotonic })
