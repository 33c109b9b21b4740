-- SPDX-License-Identifier: Apache-2.0
--
-- What functions take: for completion, for the hint behind an opening bracket, and for \help NAME.

local signature = {}

local function parse(lines)
    local list = {}
    for line in lines:gmatch('[^\n]+') do
        local name, arguments, about = line:match('^%s*([%w_]+)(%b())%s*(.-)%s*$')
        if name then
            list[name] = { arguments = arguments, about = about }
        end
    end
    return list
end

--- Methods of a space.
signature.space = parse([[
    alter({name, format, constraint, foreign_key, ..})      changes what the space is
    count([key, {iterator}])            how many tuples there are
    create_index(name, {parts, type, unique, ..})     a new index; the first one is the primary key
    delete(key)                         removes a tuple and gives it
    drop()                              removes the space
    format([fields])                    the names and types of fields, or sets them
    frommap(map)                        a tuple of a table by names of fields
    get(key)                            the tuple with the key, or nil
    insert(tuple)                       a new tuple; one with the key must not be there
    len()                               how many tuples there are
    on_replace(body, [name])            a trigger, after each write
    before_replace(body, [name])        a trigger, before each write; what it returns is written
    pairs([key, {iterator}])            for _, tuple in space:pairs() do .. end
    put(tuple)                          as replace
    rename(name)                        another name
    replace(tuple)                      writes a tuple, new or not
    select([key, {iterator, limit, offset, after}])   tuples with the key, as a list
    truncate()                          removes all tuples
    update(key, {{operator, field, value}, ..})       changes fields: = + - & | ^ : ! #
    upsert(tuple, {{operator, field, value}, ..})     inserts the tuple, or updates the one that is there
]])

--- Methods of an index.
signature.index = parse([[
    alter({name, parts, unique, ..})    changes what the index is
    count([key, {iterator}])            how many tuples there are
    delete(key)                         removes a tuple and gives it
    drop()                              removes the index
    get(key)                            the tuple with the key, or nil
    len()                               how many tuples there are
    max([key])                          the last tuple
    min([key])                          the first tuple
    pairs([key, {iterator}])            for _, tuple in index:pairs() do .. end
    random([seed])                      any tuple
    rebuild()                           makes it again of the rows
    rename(name)                        another name
    select([key, {iterator, limit, offset, after}])   tuples with the key, as a list
    stat()                              figures about the index
    update(key, {{operator, field, value}, ..})       changes fields: = + - & | ^ : ! #
]])

--- Functions by where they are.
signature.path = {
    ['box.'] = parse([[
        atomic([options,] fn, ...)      runs fn as one transaction
        begin([{isolation, readonly}])  opens a transaction
        checkpoint()                    writes what has changed since the last one
        commit()                        ends the transaction
        error([code,] message)          raises an error
        is_in_txn()                     whether a transaction is open
        notify(channel, payload)        a message to those who listen, when it is committed
        now()                           the time of the transaction
        rollback()                      ends the transaction and undoes it
        rollback_to_savepoint(savepoint)    undoes what was done since
        savepoint()                     a place to which one can go back
        verify([space])                 looks at every row and index
    ]]),
    ['box.schema.space.'] = parse([[
        create(name, {format, engine, if_not_exists, ..})     a new space
        drop(name, [{if_exists}])       removes a space
    ]]),
    ['box.schema.func.'] = parse([[
        create(name, {body, readonly, isolation, if_not_exists, ..})     a stored procedure
        drop(name, [{if_exists}])       removes it
        exists(name)                    whether it is there
    ]]),
    ['box.schema.user.'] = parse([[
        create(name, [{password, if_not_exists}])   a new user
        drop(name, [{if_exists}])       removes one
        exists(name)                    whether there is one
        grant(name, privileges, [type, object])     permits something
        info([name])                    what a user may do
        passwd([name,] password)        another password
        revoke(name, privileges, [type, object])    permits it no longer
    ]]),
    ['box.schema.sequence.'] = parse([[
        create(name, [{start, step, min, max, cycle}])   a new sequence
    ]]),
    ['box.module.'] = parse([[
        available()                     those that come with the server
        install(name, [options])        installs one
        info(name)                      about one
        list()                          those that are installed
    ]]),
    ['box.session.'] = parse([[
        exists(id)                      whether there is a session
        id()                            the number of this one
        peer([id])                      the address at the other end
        su(name, [fn, ...])             as another user
        user()                          for whom it speaks
    ]]),
    ['redis.'] = parse([[
        call(command, ...)              runs a command of Redis's; its error is raised
        pcall(command, ...)             runs one; its error is returned
        sha1hex(text)                   its digest
        status_reply(text)              a reply that is a status
        error_reply(text)               a reply that is an error
        log(level, message)             a line in the server's log
    ]]),
}

--- Options of the tables that functions take, by the name of the function.
signature.options = {
    ['box.schema.space.create'] = 'bloom_bits compaction compaction_window compression constraint '
        .. 'dictionary engine field_count filter foreign_key format id if_not_exists is_local level_size '
        .. 'owner page_size range_size run_count_per_level run_size_ratio temporary',
    ['box.schema.func.create'] = 'body if_not_exists isolation readonly setuid transaction',
    ['box.begin'] = 'isolation readonly',
    create_index = 'func if_not_exists parts sequence type unique',
    select = 'after iterator limit offset',
    pairs = 'after iterator',
    count = 'iterator',
}

--- The call whose arguments stand at the end of the text: what is before its bracket, and the text
--- within; nil when no bracket is open. Brackets in strings do not count.
---@param line string up to the cursor
---@return string? callee, string? arguments, string? bracket
function signature.open_call(line)
    local stack, position, quote = {}, 1, nil
    while position <= #line do
        local c = line:sub(position, position)
        if quote then
            if c == '\\' then
                position = position + 1
            elseif c == quote then
                quote = nil
            end
        elseif c == '"' or c == "'" then
            quote = c
        elseif c == '(' or c == '{' or c == '[' then
            stack[#stack + 1] = position
        elseif c == ')' or c == '}' or c == ']' then
            stack[#stack] = nil
        end
        position = position + 1
    end
    for n = #stack, 1, -1 do
        local callee = line:sub(1, stack[n] - 1):match('([%a_][%w_%.:]*)%s*$')
        if callee and line:sub(stack[n], stack[n]) ~= '[' then
            local bracket = line:sub(stack[#stack], stack[#stack])
            return callee, line:sub(stack[n] + 1), quote and '"' or bracket
        end
    end
    return nil
end

--- What a function takes and does: {arguments, about}, or nil.
---@param callee string 'box.space.people:insert', 'insert'
---@return table?
function signature.of(callee)
    local path, name = callee:match('^(.-[.:])([%w_]+)$')
    if not path then
        return signature.space[callee] or signature.index[callee] or signature.path['box.'][callee]
    elseif path:find(':$') then
        return path:find('%.index[%.%[]') and signature.index[name] or signature.space[name]
    end
    return signature.path[path] and signature.path[path][name]
end

return signature
