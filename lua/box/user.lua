-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema.user, box.schema.role and box.session: who there is, who may do what, and who is asking.

local core = require('box.core')

local native = core.native
local raise, ERROR_INVALID = core.raise, core.ERROR_INVALID

local function check_name(name, what)
    if type(name) ~= 'string' then
        raise(ERROR_INVALID, 'the name of a ' .. what .. ' is a string')
    end
end

--- Options are a table with nothing but these names in it.
local function check_options(options, ...)
    if options ~= nil and type(options) ~= 'table' then
        raise(ERROR_INVALID, 'options are a table')
    end
    local result = {}
    for name, value in pairs(options or {}) do
        local known = false
        for n = 1, select('#', ...) do
            known = known or name == select(n, ...)
        end
        if not known then
            raise(ERROR_INVALID, 'unknown option ' .. tostring(name))
        end
        result[name] = value
    end
    return result
end

local function check_password(password)
    if type(password) ~= 'string' then
        raise(ERROR_INVALID, 'a password is a string')
    end
end

--- What of a password is kept, computed by another thread while this fiber sleeps; the password itself
--- where nothing can sleep.
local function hashed(password)
    check_password(password)
    local job = pcall(native.fiber_check) and native.password_start(password)
    if not job then
        return password
    end
    while not native.password_done(job) do
        core.pause(1)
    end
    return job
end

--- Privileges as 'read,write' or {'read', 'write'}.
local function words(privileges)
    if type(privileges) == 'table' then
        return table.concat(privileges, ',')
    elseif type(privileges) ~= 'string' then
        raise(ERROR_INVALID, "privileges are words, such as 'read,write'")
    end
    return privileges
end

--- grant(name, 'read,write', 'space', 'accounts', options), or (name, 'some role', nil, nil, options).
local function change(how, option)
    return function(is_role, name, privileges, object_type, object_name, options)
        check_name(name, is_role and 'role' or 'user')
        if type(object_type) == 'table' and object_name == nil then
            object_type, options = nil, object_type
        elseif type(object_name) == 'table' and options == nil then
            object_name, options = nil, object_name
        end
        local tolerant = check_options(options, option)[option] == true
        if object_type == nil then
            check_name(privileges, 'role')
            return how(name, is_role, 'execute', 'role', privileges, tolerant)
        end
        check_name(object_type, 'type of objects')
        if object_name ~= nil then
            check_name(object_name, object_type)
        end
        how(name, is_role, words(privileges), object_type, object_name, tolerant)
    end
end

local grant, revoke = change(native.grant, 'if_not_exists'), change(native.revoke, 'if_exists')

-- --------------------------------------------------------------------------------------- users

local user = {}

--- box.schema.user.create(name, {password, if_not_exists})
function user.create(name, options)
    check_name(name, 'user')
    options = check_options(options, 'password', 'if_not_exists')
    native.user_may_create()
    local password = options.password ~= nil and hashed(options.password) or nil
    native.user_create(name, false, password, options.if_not_exists == true)
end

--- box.schema.user.drop(name, {if_exists})
function user.drop(name, options)
    check_name(name, 'user')
    native.user_drop(name, false, check_options(options, 'if_exists').if_exists == true)
end

--- box.schema.user.passwd([name,] password): without a name that of the effective user.
function user.passwd(name, password)
    if password == nil then
        name, password = native.user_name(native.euid()), name
    end
    check_name(name, 'user')
    native.password_set(name, hashed(password))
end

--- box.schema.user.exists(name)
---@return boolean
function user.exists(name)
    check_name(name, 'user')
    return native.privileges(name, false) ~= nil
end

--- box.schema.user.grant(name, privileges, object_type, object_name, {if_not_exists}), or with the
--- name of a role alone.
function user.grant(name, ...)
    grant(false, name, ...)
end

function user.revoke(name, ...)
    revoke(false, name, ...)
end

local function info(name, is_role)
    local found = native.privileges(name, is_role)
    if found == nil then
        raise(core.ERROR_NOT_FOUND, ("%s '%s' is not found"):format(is_role and 'Role' or 'User', name))
    end
    return found
end

--- box.schema.user.info([name]): {{privileges, object type, object name}, ..}
function user.info(name)
    name = name or native.user_name(native.euid())
    check_name(name, 'user')
    return info(name, false)
end

-- --------------------------------------------------------------------------------------- roles

local role = {}

--- box.schema.role.create(name, {if_not_exists})
function role.create(name, options)
    check_name(name, 'role')
    native.user_create(name, true, nil, check_options(options, 'if_not_exists').if_not_exists == true)
end

--- box.schema.role.drop(name, {if_exists})
function role.drop(name, options)
    check_name(name, 'role')
    native.user_drop(name, true, check_options(options, 'if_exists').if_exists == true)
end

--- box.schema.role.exists(name)
---@return boolean
function role.exists(name)
    check_name(name, 'role')
    return native.privileges(name, true) ~= nil
end

function role.grant(name, ...)
    grant(true, name, ...)
end

function role.revoke(name, ...)
    revoke(true, name, ...)
end

--- box.schema.role.info(name)
function role.info(name)
    check_name(name, 'role')
    return info(name, true)
end

-- ------------------------------------------------------------------------------------- sessions

local session = {}

--- The number of the connection; 0: none.
function session.id()
    return native.session_id()
end

--- For whom the connection speaks; within box.session.su and setuid procedures code runs for the
--- effective user.
function session.uid()
    return native.uid()
end

function session.user()
    return native.user_name(native.uid())
end

function session.euid()
    return native.euid()
end

function session.effective_user()
    return native.user_name(native.euid())
end

--- box.session.su(user, fn, ...): fn(...) as that user. Without fn: until the request ends.
function session.su(name, fn, ...)
    local id = native.su(name)
    if fn == nil then
        return native.become(id)
    end
    return native.run_as(id, fn, ...)
end

-- What sessions keep, by their numbers; what is in the background, by minus its user and 1.
local storages, said = {}, {}

--- box.session.storage: a table that is there until the session ends.
local function storage()
    local id = native.session_id()
    if id == 0 then
        id = -1 - native.uid()
    elseif not storages[id] and not native.session_about(id) then
        return {} -- it has ended, and a fiber of it goes on
    end
    local kept = storages[id]
    if not kept then
        kept = {}
        native.session_kept()
        storages[id] = kept
    end
    return kept
end

--- A session has ended. Called by C.
local function session_ended(id)
    storages[id], said[id] = nil, nil
end

local function check_id(id)
    if id ~= nil and type(id) ~= 'number' then
        raise(ERROR_INVALID, 'a session is named by its number')
    end
end

--- box.session.peer([id]): the address at the other end; nil: there is none. That of others is for those
--- who administer.
function session.peer(id)
    check_id(id)
    local address = native.session_about(id)
    if address == false then
        raise(core.ERROR_ACCESS, 'the address of another session is for those who administer')
    elseif id and not address then
        raise(core.ERROR_NOT_FOUND, ('there is no session %d'):format(id))
    end
    return address
end

--- box.session.exists(id)
---@return boolean
function session.exists(id)
    if id == nil then
        raise(ERROR_INVALID, 'a session is named by its number')
    end
    check_id(id)
    return native.session_about(id) ~= nil
end

--- box.session.type(): 'binary' (MessagePack-RPC), 'redis', 'console', or 'background' without a connection.
--- With 'console': the session says that it is one.
function session.type(kind)
    local id = native.session_id()
    if kind ~= nil then
        if kind ~= 'console' or not native.session_about(id) then
            raise(ERROR_INVALID, "a connection can say that it is a 'console', and nothing else")
        end
        native.session_kept()
        said[id] = kind
    end
    local _, found = native.session_about(id)
    return said[id] or found or 'background'
end

--- box.session.push(value): tells the client how far its request is, while that goes on; over
--- MessagePack-RPC a notification 'progress' with the request's id. It goes out when the request lets others
--- go on (fiber.sleep). Not within a transaction. false: nobody listens.
---@return boolean
function session.push(value)
    return native.session_push(value)
end

--- box.session.fd(): the descriptor of the connection; -1: there is none.
function session.fd()
    local _, _, fd = native.session_about()
    return fd or -1
end

setmetatable(session, {
    __index = function(_, name)
        if name == 'storage' then
            return storage()
        end
        return nil
    end,
})

return {
    user = core.object(user),
    role = core.object(role),
    session = session,
    session_ended = session_ended,
}
