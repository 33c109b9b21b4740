-- SPDX-License-Identifier: Apache-2.0
--
-- What the process of one spec file does: busted, with three things more. What it has found is told to the
-- runner; the seeds of a test that has failed are shown; and `require` finds the module whose specs these
-- are.

local native = require('testing.native')
local testing = require('testing')

-- --------------------------------------------------------------------------------- the module

local function exists(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

--- The folder of the module in whose folder `specs` the file lies.
local function module_folder(path)
    local folder = path and path:match('^(.-)/?specs/[^/]+$')
    if folder == '' then
        folder = path:sub(1, 1) == '/' and '/' or '.'
    end
    return folder and exists(folder .. '/manifest.lua') and folder or nil
end

local function read_manifest(folder)
    local chunk = loadfile(folder .. '/manifest.lua')
    local ok, manifest = pcall(setfenv(chunk or function() end, {}))
    return ok and type(manifest) == 'table' and manifest or {}
end

--- Installs the module in the folder, and before that those that it needs: from beside it, or from those
--- that come with the server.
local function install(folder)
    for _, requirement in ipairs(read_manifest(folder).requires or {}) do
        local name = requirement:match('^[%a_][%w_]*')
        local beside = folder .. '/../' .. name
        if not box.module.info(name) then
            if exists(beside .. '/manifest.lua') then
                install(beside)
            else
                box.module.install(name)
            end
        end
    end
    box.module.install(folder:find('/', 1, true) and folder or './' .. folder, { if_not_exists = true })
end

--- A loader for package.loaders: the first `require` of the module installs it.
local function loader_of(folder)
    local own = read_manifest(folder).name
    return function(name)
        if not own or name:match('^[%a_][%w_]*') ~= own or box.module.info(own) then
            return nil
        end
        install(folder)
        for _, loader in ipairs(package.loaders) do
            local found = loader(name)
            if type(found) == 'function' then
                return found
            end
        end
    end
end

-- ------------------------------------------------------------------------------------- busted

local function attach(busted)
    local counts = { success = 0, failure = 0, error = 0, pending = 0 }
    local function count(what)
        counts[what] = counts[what] + 1
        native.report(counts.success, counts.failure, counts.error, counts.pending)
    end
    busted.subscribe({ 'test', 'start' }, function()
        testing.forget_seeds()
        return nil, true
    end)
    busted.subscribe({ 'test', 'end' }, function(_, _, status)
        count(counts[status] and status or 'error')
        if status == 'failure' or status == 'error' then
            testing.show_seeds()
        end
        return nil, true
    end)
    busted.subscribe({ 'error' }, function(element)
        if element.descriptor ~= 'it' then
            count('error')
        end
        return nil, true
    end)
    busted.subscribe({ 'failure' }, function(element)
        if element.descriptor ~= 'it' then
            count('error')
        end
        return nil, true
    end)
    busted.subscribe({ 'exit' }, function()
        testing.end_all()
        return nil, true
    end)
end

return function()
    local folder = module_folder(arg[1])
    if folder then
        table.insert(package.loaders, loader_of(folder))
    end
    native.report(0, 0, 0, 0)
    local core = require('busted.core')
    package.loaded['busted.core'] = function(...)
        local busted = core(...)
        attach(busted)
        return busted
    end
    -- a chunk without a file name makes busted call os.exit with what it has found, always
    loadstring("require('busted.runner')({ standalone = false })")()
end
