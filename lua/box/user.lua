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
    if options.password ~= nil then
        check_password(options.password)
    end
    native.user_create(name, false, options.password, options.if_not_exists == true)
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
    check_password(password)
    native.password_set(name, password)
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

return {
    user = core.object(user),
    role = core.object(role),
    session = session,
}
