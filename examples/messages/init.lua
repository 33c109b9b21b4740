-- SPDX-License-Identifier: Apache-2.0
--
-- A topic has groups of consumers, and each group a tube of its own (module queue). Sending puts the
-- message into all of them, in one transaction: all groups get it, or it was not sent. A producer names
-- each message by a key, and may send it again when it has not heard whether it arrived: it is there
-- once. A consumer says whether it is done; what has failed too often, or was never reported in time, is
-- among the group's dead letters, until somebody revives it.

local queue = require('queue')

local messages = {}

local groups, sent, done = box.space.messages_groups, box.space.messages_sent, box.space.messages_done

local function tube_of(topic, group)
    if not groups:get({ topic, group }) then
        error(('topic %s has no group %s: MSG.SUBSCRIBE'):format(tostring(topic), tostring(group)), 0)
    end
    return topic .. '/' .. group
end

local function check_name(name, what)
    if type(name) ~= 'string' or not name:match('^[%w_.-]+$') or #name > 100 then
        error(('a %s has a name of letters, digits, points, - and _'):format(what), 0)
    end
end

--- Makes a group of a topic; it gets what is sent from now on.
function messages.subscribe(topic, group, seconds, failures)
    check_name(topic, 'topic')
    check_name(group, 'group')
    if groups:get({ topic, group }) then
        return false
    end
    local tube = topic .. '/' .. group
    queue.create(tube .. '/dead')
    queue.create(tube, {
        ttr = tonumber(seconds) or 60, max_attempts = tonumber(failures) or 5, dead_letter = tube .. '/dead',
    })
    groups:insert({ topic, group })
    return true
end

--- Gives the number of the message: the same for the same key.
function messages.send(topic, key, body, delay)
    local before = sent:get({ topic, key })
    if before then
        return before.number
    end
    local number, count = box.sequence.messages_number:next(), 0
    for _, row in groups:pairs({ topic }) do
        queue.put(tube_of(topic, row.group), { number = number, key = key, body = body }, { delay = delay })
        count = count + 1
    end
    if count == 0 then
        error(('topic %s has no groups: nobody would get this'):format(tostring(topic)), 0)
    end
    sent:insert({ topic, key, number, box.now() })
    return number
end

--- The next message of a group, or nothing when there is none until then.
function messages.receive(topic, group, seconds)
    local task = queue.take(tube_of(topic, group), { timeout = seconds })
    return task and {
        id = task.id, attempt = task.attempts, number = task.payload.number, key = task.payload.key,
        body = task.payload.body,
    }
end

--- That it is done is recorded in the transaction that takes it out of the queue: once.
function messages.done(topic, group, id, attempt)
    local tube = tube_of(topic, group)
    local task = queue.peek(tube, id)
    queue.ack(tube, id, attempt)
    done:insert({ topic, group, task.payload.number, task.attempts, box.now() })
    return true
end

function messages.fail(topic, group, id, attempt, delay)
    return queue.nack(tube_of(topic, group), id, attempt, { delay = delay, reason = 'its consumer failed' })
end

--- The dead letters of a group, at most a hundred.
function messages.dead(topic, group)
    local result = {}
    local index = box.space.queue_tasks.index.next
    for _, task in ipairs(index:select({ tube_of(topic, group) .. '/dead', 'ready' }, { limit = 100 })) do
        result[#result + 1] = {
            number = task.payload.number, key = task.payload.key, body = task.payload.body,
            attempts = task.origin.attempts, reason = task.origin.reason,
        }
    end
    return result
end

--- Puts the dead letters of a group into its queue again; gives how many.
function messages.revive(topic, group)
    local tube, count = tube_of(topic, group), 0
    for task in function() return queue.take(tube .. '/dead') end do
        queue.put(tube, task.payload)
        queue.ack(tube .. '/dead', task.id, task.attempts)
        count = count + 1
    end
    return count
end

--- How many messages each group has in which state.
function messages.status(topic)
    local result = {}
    for _, row in groups:pairs({ topic }) do
        local stats = queue.stats(tube_of(topic, row.group))
        result[row.group] = {
            ready = stats.ready, delayed = stats.delayed, taken = stats.taken,
            dead = queue.stats(tube_of(topic, row.group) .. '/dead').ready,
            done = done:count({ topic, row.group }),
        }
    end
    return result
end

return messages
