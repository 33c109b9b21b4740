-- SPDX-License-Identifier: Apache-2.0
--
-- Words of commands (DELAY 5 PRIORITY 1) as options.

local words = {}

--- The options that the words name, {WORD = {option, 'number'}}; an error names the words there are.
---@param known table
---@return table
function words.options(known, ...)
    local options = {}
    for position = 1, select('#', ...), 2 do
        local word, value = select(position, ...)
        local option = known[tostring(word):upper()]
        if not option or value == nil then
            local all = {}
            for name in pairs(known) do
                all[#all + 1] = name
            end
            table.sort(all)
            error(('%s: after the arguments come %s, each with a value'):format(tostring(word),
                table.concat(all, ', ')), 0)
        end
        options[option[1]] = option[2] == 'number' and (tonumber(value) or value) or value
    end
    return options
end

local NUMBER, TEXT = 'number', 'string'

--- The functions of the commands that have such words.
---@param queue table
---@return table
function words.commands(queue)
    return {
        create = function(tube, ...)
            return queue.create(tube, words.options({
                TTR = { 'ttr', NUMBER }, MAXATTEMPTS = { 'max_attempts', NUMBER },
                DEADLETTER = { 'dead_letter', TEXT }, RETRYDELAY = { 'retry_delay', NUMBER },
            }, ...))
        end,
        put = function(tube, payload, ...)
            return queue.put(tube, payload, words.options({
                DELAY = { 'delay', NUMBER }, PRIORITY = { 'priority', NUMBER }, TTR = { 'ttr', NUMBER },
            }, ...)).id
        end,
        take = function(tube, ...)
            return queue.take(tube, words.options({ TIMEOUT = { 'timeout', NUMBER } }, ...))
        end,
        nack = function(tube, id, attempt, ...)
            return queue.nack(tube, id, attempt, words.options({ DELAY = { 'delay', NUMBER } }, ...))
        end,
    }
end

return words
