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
    bsize()                             how many bytes its tuples have
    compact()                           merges the files of a space on disk
    count([key, {iterator}])            how many tuples there are
    create_index(name, {parts, type, unique, ..})     a new index; the first one is the primary key
    create_trigger(name, {event, body, func, when, ..})   a new trigger
    delete(key)                         removes a tuple and gives it
    drop()                              removes the space
    format([fields])                    the names and types of fields, or sets them
    frommap(map)                        a tuple of a table by names of fields
    get(key)                            the tuple with the key, or nil
    get_many(keys)                      a tuple or nil for each key
    ingest(tuples)                      takes in a list or an iterator at once, as finished files
    insert(tuple)                       a new tuple; one with the key must not be there
    instead_of(body, [name])            a trigger, in place of each write
    len()                               how many tuples there are
    lock(mode)                          locks all of it in this transaction: 'shared', 'exclusive'
    on_delete(body, [name])             a trigger, after a row went
    on_replace(body, [name])            a trigger, after each write
    before_replace(body, [name])        a trigger, before each write; what it returns is written
    pairs([key, {iterator}])            for _, tuple in space:pairs() do .. end
    put(tuple)                          as replace
    rename(name)                        another name
    replace(tuple)                      writes a tuple, new or not
    run_triggers(on)                    whether its triggers run
    select([key, {iterator, limit, offset, after}])   tuples with the key, as a list
    stat()                              rows, bytes, what each index takes
    truncate()                          removes all tuples
    update(key, {{operator, field, value}, ..})       changes fields: = + - & | ^ : ! #
    upsert(tuple, {{operator, field, value}, ..})     inserts the tuple, or updates the one that is there
]])

--- Methods of an index.
signature.index = parse([[
    alter({name, parts, unique, ..})    changes what the index is
    bsize()                             how many bytes it takes
    compact()                           gives back what it can
    count([key, {iterator}])            how many tuples there are
    delete(key)                         removes a tuple and gives it
    drop()                              removes the index
    get(key)                            the tuple with the key, or nil
    get_many(keys)                      a tuple or nil for each key
    len()                               how many tuples there are
    max([key])                          the last tuple
    min([key])                          the first tuple
    pairs([key, {iterator}])            for _, tuple in index:pairs() do .. end
    quantile(share, [from, to])         the tuple before which that share of them lies
    random([seed])                      any tuple
    rebuild()                           makes it again of the rows
    rename(name)                        another name
    select([key, {iterator, limit, offset, after}])   tuples with the key, as a list
    stat()                              figures about the index
    tuple_pos(tuple)                    its position, for select's after
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
        on_commit(fn)                   is called when the transaction has committed
        on_rollback(fn)                 is called when it has not
        once(key, fn, ...)              calls it once in the life of the database
        rollback()                      ends the transaction and undoes it
        rollback_to_savepoint(savepoint)    undoes what was done since
        savepoint()                     a place to which one can go back
        verify([space])                 looks at every row and index
        watch(space, filter, fn, [{from, name, batch}])   calls fn for each change of a space
    ]]),
    ['box.debug.'] = parse([[
        breakpoints([list])             where what was started stops
        eval(text, [frame])             values of an expression, where it has stopped
        flamegraph(folded, [{title}])   an SVG of what profile gave
        frames()                        through which functions it came there
        go(how)                         'continue', 'step', 'next' or 'finish'
        locals([frame])                 variables there
        profile(seconds, [{mode, worker, interval}])   where the time of Lua goes
        quit()                          ends what was started
        start(text, [{breakpoints, step}])   runs it until it stops at a line
        workers()                       the number of this worker, and of all
    ]]),
    ['box.error.'] = parse([[
        clear()                         forgets the last one
        last()                          the error that was raised last
        new([code,] message)            an error, not raised
        set(error)                      makes it the last one
    ]]),
    ['box.schema.space.'] = parse([[
        create(name, {format, engine, if_not_exists, ..})     a new space
        drop(name, [{if_exists}])       removes a space
    ]]),
    ['box.schema.func.'] = parse([[
        create(name, {body, readonly, isolation, if_not_exists, ..})     a stored procedure
        drop(name, [{if_exists}])       removes it
        exists(name)                    whether it is there
        info(name)                      its version, options and body
        list()                          all of them
        rename(name, new)               another name
        restore(name, version)          brings back a former version, as a new one
        versions(name)                  those that are kept
    ]]),
    ['box.schema.migration.'] = parse([[
        apply(name, steps, [{to, dry_run}])     does what was not done yet
        rollback(name, [{to, dry_run}])         takes steps back
        status(name, [steps])           which steps are applied, and which pending
        steps(files)                    steps of a table of names of files and texts
    ]]),
    ['box.schema.role.'] = parse([[
        create(name, [{if_not_exists}])     a new role
        drop(name, [{if_exists}])       removes one
        exists(name)                    whether there is one
        grant(name, privileges, [type, object])     permits something, or gives it another role
        info(name)                      what it may do
        revoke(name, privileges, [type, object])    permits it no longer
    ]]),
    ['box.schema.trigger.'] = parse([[
        create(name, {event, space, body, func, when, ..})     a new trigger
        disable(name)                   it stays, and does not run
        drop(name, [{if_exists}])       removes it
        enable(name)                    it runs again
        exists(name)                    whether it is there
        info(name)                      about one
        list()                          all of them
    ]]),
    ['box.schema.watch.'] = parse([[
        create(name, {space, func, filter, batch, from, ..})   calls a procedure for each change, from now on
        drop(name, [{if_exists}])       removes it
        exists(name)                    whether it is there
        info(name)                      about one
        list()                          all of them
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
        drop(name, [{if_exists}])       removes one
    ]]),
    ['box.module.'] = parse([[
        available([{about}])            those that come with the server; about: with version and summary
        install(name, [options])        installs one
        info(name)                      about one
        list()                          those that are installed
        options(name, [options])        its options, or sets them
        remove(name, [{purge}])         removes one; its spaces stay
        upgrade(name, [{force}])        installs another version
    ]]),
    ['box.session.'] = parse([[
        effective_user()                as whom it runs now
        euid()                          that user's number
        exists(id)                      whether there is a session
        fd()                            its socket
        id()                            the number of this one
        on_auth(body, [name])           a trigger, when somebody has said who he is
        on_connect(body, [name])        a trigger, when somebody connects
        on_disconnect(body, [name])     a trigger, when somebody leaves
        peer([id])                      the address at the other end
        push(value)                     tells the client how far the request is
        su(name, [fn, ...])             as another user
        type()                          'console', 'binary', 'redis' ..
        uid()                           its user's number
        user()                          for whom it speaks
    ]]),
    ['box.stat.'] = parse([[
        io()                            what is read and written, and for whom
        locks()                         who holds which locks and waits for whom
        lsm()                           files of spaces on disk
        memory()                        what takes how much
        schema()                        changes of spaces that look at rows now
        txn()                           commits, rollbacks, conflicts ..
        watch()                         watches, and how far they are
    ]]),
    ['box.tuple.'] = parse([[
        from_msgpack(bytes, [offset])   a tuple of an array of MessagePack
        is(value)                       whether it is a tuple
        new(values)                     a tuple
    ]]),
    ['box.tuple.format.'] = parse([[
        is(value)                       whether it is a format
        new(fields)                     a format that tuples can be made with
    ]]),
    ['redis.'] = parse([[
        call(command, ...)              runs a command of Redis's; its error is raised
        pcall(command, ...)             runs one; its error is returned
        sha1hex(text)                   its digest
        status_reply(text)              a reply that is a status
        acl_check_cmd(command, ...)     whether the user may run it
        error_reply(text)               a reply that is an error
        log(level, message)             a line in the server's log
        setresp(version)                2 or 3: what replies look like from here on
    ]]),
}

local ENGINE = ' bloom_bits compaction compaction_window compression dictionary filter level_size '
    .. 'page_size range_size run_count_per_level run_size_ratio'
local TRANSACTION = 'isolation readonly schema timeout'
local TRIGGER = 'body comment enabled event filter func if_not_exists order replace when'

--- Options of the tables that functions take, by the name of the function.
signature.options = {
    ['box.atomic'] = TRANSACTION .. ' retry',
    ['box.begin'] = TRANSACTION,
    ['box.debug.flamegraph'] = 'title',
    ['box.debug.profile'] = 'interval mode worker',
    ['box.debug.start'] = 'breakpoints step',
    ['box.module.available'] = 'about',
    ['box.module.install'] = 'if_not_exists options',
    ['box.module.remove'] = 'if_exists purge',
    ['box.module.upgrade'] = 'force options',
    ['box.schema.func.create'] = 'args body comment if_not_exists is_deterministic isolation language memory '
        .. 'module readonly replace returns rows_max setuid timeout transaction',
    ['box.schema.func.drop'] = 'if_exists',
    ['box.schema.migration.apply'] = 'dry_run to',
    ['box.schema.migration.rollback'] = 'dry_run to',
    ['box.schema.role.create'] = 'if_not_exists',
    ['box.schema.role.drop'] = 'if_exists',
    ['box.schema.sequence.create'] = 'cache cycle if_not_exists max min start step',
    ['box.schema.sequence.drop'] = 'if_exists',
    ['box.schema.space.create'] = 'constraint engine field_count foreign_key format id if_not_exists '
        .. 'is_local owner temporary' .. ENGINE,
    ['box.schema.space.drop'] = 'if_exists',
    ['box.schema.trigger.create'] = TRIGGER .. ' space',
    ['box.schema.trigger.drop'] = 'if_exists',
    ['box.schema.user.create'] = 'if_not_exists password',
    ['box.schema.user.drop'] = 'if_exists',
    ['box.schema.watch.create'] = 'batch filter from func if_not_exists replace space',
    ['box.schema.watch.drop'] = 'if_exists',
    ['box.watch'] = 'batch from name',
    ['space:alter'] = 'constraint field_count foreign_key format name' .. ENGINE,
    ['space:create_index'] = 'condition covers func id if_not_exists is_multikey parts sequence type unique',
    ['space:create_trigger'] = TRIGGER,
    ['index:alter'] = 'condition covers func name parts sequence unique',
}
for _, kind in ipairs({ 'space:', 'index:' }) do
    signature.options[kind .. 'select'] = 'after fetch_pos fields iterator limit lock offset'
    signature.options[kind .. 'pairs'] = 'after iterator lock'
    signature.options[kind .. 'count'] = 'iterator'
end

--- What the first argument names: 'space', 'func', or these words.
signature.first = {
    ['box.schema.func.drop'] = 'func',
    ['box.schema.func.exists'] = 'func',
    ['box.schema.func.info'] = 'func',
    ['box.schema.func.rename'] = 'func',
    ['box.schema.func.restore'] = 'func',
    ['box.schema.func.versions'] = 'func',
    ['box.schema.space.drop'] = 'space',
    ['box.verify'] = 'space',
    ['box.watch'] = 'space',
    [':lock'] = 'exclusive shared',
}

--- The brackets that are open at the end of the text, and where a quote has begun. Those in strings do not
--- count.
local function open_brackets(line)
    local stack, position, quote, from = {}, 1, nil, nil
    while position <= #line do
        local c = line:sub(position, position)
        if quote then
            if c == '\\' then
                position = position + 1
            elseif c == quote then
                quote = nil
            end
        elseif c == '"' or c == "'" then
            quote, from = c, position
        elseif c == '(' or c == '{' or c == '[' then
            stack[#stack + 1] = position
        elseif c == ')' or c == '}' or c == ']' then
            stack[#stack] = nil
        end
        position = position + 1
    end
    return stack, quote and from
end

--- The call whose arguments stand at the end of the text: what is before its bracket, and the place within
--- it; nil when no bracket is open.
---@param line string up to the cursor
---@return string? callee
---@return table? place {typed: all behind the call's bracket, bracket: the innermost one, level: in how many
--- tables, inner: the text in the innermost bracket up to the quote, quoted: what is behind that, or nil}
function signature.open_call(line)
    local stack, from = open_brackets(line)
    for n = #stack, 1, -1 do
        local callee = line:sub(1, stack[n] - 1):match('([%a_][%w_%.:]*)%s*$')
        local bracket = line:sub(stack[n], stack[n])
        if callee and bracket ~= '[' then
            local last = stack[#stack]
            return callee, {
                typed = line:sub(stack[n] + 1),
                bracket = line:sub(last, last),
                level = #stack - n + (bracket == '{' and 1 or 0),
                inner = line:sub(last + 1, from and from - 1 or -1),
                quoted = from and line:sub(from + 1) or nil,
            }
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
