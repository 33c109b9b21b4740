-- SPDX-License-Identifier: Apache-2.0
--
-- box.module: modules kept in the database, and `require` for code in the sandbox.
--
-- A module is a folder with a manifest; its files are rows of _module_file, so that whoever restores
-- the database has them. Installing, upgrading and removing is one schema transaction: files, spaces,
-- migrations, procedures and triggers come and go together.
--
-- Each Lua state compiles a module when it is first asked for, in one environment for all its files,
-- and again when another version has been installed.

local core = require('box.core')
local library = require('box.library')
local migration = require('box.migration')
local sandbox = require('box.sandbox')
local transaction = require('box.transaction')
local version_of = require('box.version')

local native, api, runtime = core.native, core.api, core.runtime
local SPACE_ID_MODULE, SPACE_ID_MODULE_FILE = 336, 337

local function fail(format, ...)
    core.raise(core.ERROR_INVALID, format:format(...))
end

-- ---------------------------------------------------------------------------------- manifests

local known = {
    name = 'string', version = 'string', summary = 'string', requires = 'table', main = 'string',
    exports = 'table', options = 'table', spaces = 'table', sequences = 'table', migrations = 'string',
    procedures = 'table', triggers = 'table', commands = 'table', start = 'string', library = 'string',
}

local function check_names(manifest, where)
    for key, value in pairs(manifest) do
        if not known[key] then
            fail('%s: the manifest has no field `%s`', where, tostring(key))
        end
        if type(value) ~= known[key] then
            fail('%s: `%s` of the manifest is a %s, not a %s', where, key, known[key], type(value))
        end
    end
end

--- Checks one of the tables of definitions: name -> table; with the fields that it may have.
local function check_definitions(where, what, definitions, fields)
    for name, definition in pairs(definitions or {}) do
        if type(name) ~= 'string' or type(definition) ~= 'table' then
            fail('%s: `%s` of the manifest is {name = {..}}', where, what)
        end
        for field in pairs(definition) do
            if fields and not fields[field] then
                fail('%s: "%s" in `%s` has no field `%s`', where, name, what, tostring(field))
            end
        end
    end
end

local procedure_fields = {
    call = true, isolation = true, readonly = true, transaction = true, setuid = true, args = true,
    returns = true, timeout = true, memory = true, rows_max = true, comment = true,
}
local command_fields = {
    procedure = true, arity = true, summary = true, since = true, readonly = true, keys = true,
    arguments = true,
}
local option_fields = { type = true, default = true, description = true }

local function check_commands(where, manifest)
    for name, command in pairs(manifest.commands or {}) do
        if not name:match('^%u[%u%d%._-]*$') or #name > 32 then
            fail('%s: a command has a name of up to 32 letters in upper case, digits, points: "%s"', where,
                name)
        end
        if not (manifest.procedures or {})[command.procedure] then
            fail('%s: command %s calls a procedure of the module: procedure = ..', where, name)
        end
        local arity = command.arity
        if arity ~= nil and (type(arity) ~= 'number' or arity % 1 ~= 0 or arity == 0) then
            fail('%s: the arity of %s counts its name and arguments; negative: at least so many', where, name)
        end
    end
end

--- The manifest that the text returns, checked.
local function read_manifest(text, where)
    local fn = sandbox.compile(text, where .. '/manifest.lua', sandbox.environment({}))
    local ok, manifest = pcall(fn)
    if not ok or type(manifest) ~= 'table' then
        fail('%s/manifest.lua returns no table%s', where, ok and '' or ': ' .. tostring(manifest))
    end
    check_names(manifest, where)
    if not (manifest.name or ''):match('^[%a_][%w_]*$') then
        fail('%s: the name of a module is made of letters, digits and _', where)
    end
    if not manifest.version or not version_of.parse(manifest.version) then
        fail('%s: the version of a module is like "1.0.2"', where)
    end
    for _, requirement in ipairs(manifest.requires or {}) do
        version_of.requirement(requirement)
    end
    check_definitions(where, 'procedures', manifest.procedures, procedure_fields)
    check_definitions(where, 'commands', manifest.commands, command_fields)
    check_definitions(where, 'options', manifest.options, option_fields)
    check_definitions(where, 'spaces', manifest.spaces)
    check_definitions(where, 'triggers', manifest.triggers)
    check_definitions(where, 'sequences', manifest.sequences)
    if manifest.start and not manifest.start:match('^[%a_][%w_]*$') then
        fail('%s: `start` names a function that the module exports', where)
    end
    for name, definition in pairs(manifest.procedures or {}) do
        if type(definition.call) ~= 'string' or not definition.call:match('^[%a_][%w_%.]*$') then
            fail('%s: procedure "%s" names a function that the module exports: call = ..', where, name)
        end
    end
    check_commands(where, manifest)
    return manifest
end

-- ------------------------------------------------------------------------------ what there is

local function check_name(name)
    if type(name) ~= 'string' then
        fail('the name of a module is a string')
    end
end

--- The row of a module: {id, owner, name, version, manifest}, or nil.
local function find(name)
    check_name(name)
    return native.module(name)
end

local function must_find(name)
    local row = find(name)
    if not row then
        core.raise(core.ERROR_NOT_FOUND, ('no module "%s" is installed'):format(name))
    end
    return row
end

local function sorted_keys(t)
    local keys = {}
    for key in pairs(t or {}) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end

local function describe(row)
    local manifest = row.manifest
    return {
        name = row.name,
        version = row.version,
        summary = manifest.summary,
        requires = manifest.requires or {},
        exports = manifest.exports or {},
        procedures = sorted_keys(manifest.procedures),
        commands = sorted_keys(manifest.commands),
        triggers = sorted_keys(manifest.triggers),
        spaces = sorted_keys(manifest.spaces),
    }
end

--- The values of a module's options: those that were set, else the defaults.
local function options_of(row)
    local values = {}
    for name, option in pairs(row.manifest.options or {}) do
        values[name] = option.default
    end
    for name, value in pairs(row.manifest.set or {}) do
        values[name] = value
    end
    return values
end

local function check_options(manifest, values)
    for name, value in pairs(values or {}) do
        local option = (manifest.options or {})[name]
        if not option then
            fail('module "%s" has no option "%s"; it has: %s', manifest.name, tostring(name),
                table.concat(sorted_keys(manifest.options), ', '))
        end
        if option.type and type(value) ~= option.type then
            fail('option "%s" of module "%s" is a %s', name, manifest.name, option.type)
        end
    end
end

-- ------------------------------------------------------------------------------ installation

local function check_requirements(manifest)
    for _, requirement in ipairs(manifest.requires or {}) do
        local name, matches = version_of.requirement(requirement)
        local row = native.module(name)
        if not row then
            fail('module "%s" needs "%s", which is not installed: box.module.install(\'%s\')', manifest.name,
                requirement, name)
        elseif not matches(row.version) then
            fail('module "%s" needs "%s", but %s %s is installed', manifest.name, requirement, name,
                row.version)
        end
    end
end

local function put_files(id, files)
    for path, content in pairs(files) do
        native.record_put(SPACE_ID_MODULE_FILE, { id, path, content }, false, 1)
    end
end

local function make_sequences(box, manifest)
    for _, name in ipairs(sorted_keys(manifest.sequences)) do
        local options = {}
        for key, value in pairs(manifest.sequences[name]) do
            options[key] = value
        end
        options.if_not_exists = true
        box.schema.sequence.create(name, options)
    end
end

local function make_spaces(box, manifest)
    for _, name in ipairs(sorted_keys(manifest.spaces)) do
        local options = {}
        for key, value in pairs(manifest.spaces[name]) do
            options[key] = value
        end
        local indexes = options.indexes or {}
        options.indexes, options.if_not_exists = nil, true
        local space = box.schema.space.create(name, options)
        for _, index in ipairs(indexes) do
            local index_options = {}
            for key, value in pairs(index) do
                index_options[key] = value
            end
            index_options.name, index_options.if_not_exists = nil, true
            space:create_index(index.name, index_options)
        end
    end
end

local function migrations_of(manifest, files)
    local folder, found = (manifest.migrations or 'migrations') .. '/', {}
    for path, text in pairs(files) do
        if path:sub(1, #folder) == folder then
            found[path:sub(#folder + 1)] = text
        end
    end
    return migration.steps(found)
end

--- The body of a function that calls what the module exports.
local function caller(manifest, name)
    return ('function(...) return require(%q).%s(...) end'):format(manifest.name, name)
end

local function make_procedures(box, manifest, before)
    for _, name in ipairs(sorted_keys(manifest.procedures)) do
        local definition = manifest.procedures[name]
        local options = {}
        for key, value in pairs(definition) do
            options[key] = value
        end
        options.call = nil
        options.body = caller(manifest, definition.call)
        options.replace = before ~= nil and (before.procedures or {})[name] ~= nil
        box.schema.func.create(name, options)
    end
    for _, name in ipairs(sorted_keys(before and before.procedures)) do
        if not (manifest.procedures or {})[name] then
            box.schema.func.drop(name, { if_exists = true })
        end
    end
end

local function make_triggers(box, manifest, before)
    for _, name in ipairs(sorted_keys(before and before.triggers)) do
        box.schema.trigger.drop(name, { if_exists = true })
    end
    for _, name in ipairs(sorted_keys(manifest.triggers)) do
        local options = {}
        for key, value in pairs(manifest.triggers[name]) do
            options[key] = value
        end
        if options.call then
            options.body = caller(manifest, options.call)
            options.call = nil
        end
        box.schema.trigger.create(name, options)
    end
end

--- Commands of other modules, and those that are built in, keep their names.
local function check_commands_are_free(manifest)
    for name in pairs(manifest.commands or {}) do
        if native.command_taken(name) then
            fail('module "%s": %s is a command of the server', manifest.name, name)
        end
        for _, row in ipairs(native.modules()) do
            if row.name ~= manifest.name and (row.manifest.commands or {})[name] then
                fail('module "%s": %s is a command of module "%s"', manifest.name, name, row.name)
            end
        end
    end
end

local function wanted_by(name)
    for _, row in ipairs(native.modules()) do
        for _, requirement in ipairs(row.manifest.requires or {}) do
            if version_of.requirement(requirement) == name then
                return row.name, requirement
            end
        end
    end
end

--- The files of a module: one that comes with the server, or a folder.
local function read_source(source)
    if type(source) ~= 'string' or source == '' then
        fail('a module is installed by its name, or by the path of its folder')
    end
    local files, where = native.module_builtin(source), source
    if not files then
        if not source:find('/', 1, true) then
            fail('no module "%s" comes with the server (there are: %s); a folder has a / in its path', source,
                table.concat(native.modules_builtin(), ', '))
        end
        files = native.folder_read(source)
    end
    if not files['manifest.lua'] then
        fail('%s has no manifest.lua', where)
    end
    return files, read_manifest(files['manifest.lua'], where)
end

--- One that can't be loaded is refused before anything is written.
local function check_library(manifest, files)
    if manifest.library then
        library.load(manifest.name, files[manifest.library] or
            fail('module "%s" has no file %s, which its manifest calls its library', manifest.name,
                manifest.library))
    end
end

local revision = 0

--- Writes everything of a module; `before` is the row that it takes the place of.
local function write(box, files, manifest, options, before)
    check_requirements(manifest)
    check_commands_are_free(manifest)
    check_library(manifest, files)
    if before then
        for _, path in ipairs(native.module_files(before.id)) do
            native.record_delete(SPACE_ID_MODULE_FILE, { before.id, path })
        end
    end
    revision = revision + 1
    local stored = {}
    for key, value in pairs(manifest) do
        stored[key] = value
    end
    stored.set = options or before and before.manifest.set or {}
    stored.revision = ('%s:%.6f:%d'):format(manifest.version, api.now(runtime), revision)
    check_options(manifest, stored.set)
    local id = native.record_put(SPACE_ID_MODULE,
        { before and before.id or core.NULL, native.user_id(), manifest.name, manifest.version, stored },
        before == nil, 1)
    put_files(id, files)
    make_sequences(box, manifest)
    make_spaces(box, manifest)
    box.schema.migration.apply(manifest.name, migrations_of(manifest, files))
    make_procedures(box, manifest, before and before.manifest)
    make_triggers(box, manifest, before and before.manifest)
end

-- ------------------------------------------------------------------------------------ require

-- Modules compiled in this state: name -> {revision, environment, packages = {path = value}}.
local loaded = {}
local LOADING = {}

local function reload(row)
    local entry = loaded[row.name]
    if not entry or entry.revision ~= row.manifest.revision then
        entry = {
            revision = row.manifest.revision,
            id = row.id,
            packages = {},
            main = row.manifest.main or 'init.lua',
            library = row.manifest.library,
        }
        loaded[row.name] = entry
    end
    return entry
end

-- What trusted code has required, and Lua's own `require` keeps.
local required = {}

local function forget(name)
    for path in pairs(required) do
        if path == name or path:sub(1, #name + 1) == name .. '.' then
            package.loaded[path], required[path] = nil, nil
        end
    end
end

local checked_version = -1

--- The entry of an installed module, or nil.
local function entry_of(name)
    local version = api.schema_version(runtime)
    if version ~= checked_version then
        for loaded_name, entry in pairs(loaded) do
            local row = native.module(loaded_name)
            if not row or row.manifest.revision ~= entry.revision then
                loaded[loaded_name] = nil
            end
        end
        checked_version = version -- last: the time of a request may be over anywhere
    end
    local entry = loaded[name]
    if not entry then
        local row = native.module(name)
        entry = row and reload(row)
    end
    return entry
end

local function candidates(entry, rest)
    if rest == '' then
        return { entry.main }
    end
    local path = rest:gsub('%.', '/')
    return { path .. '.lua', path .. '/init.lua' }
end

local function read_package(entry, globals, name, path, text)
    if not entry.environment then
        local environment = sandbox.environment(globals)
        if entry.library then
            local bytes = native.module_file(entry.id, entry.library)
            environment.library = library.load(name:match('^[^.]+'), bytes)
        end
        entry.environment = environment
    end
    entry.packages[path] = LOADING
    local ok, value = pcall(function()
        return sandbox.compile(text, name .. '/' .. path, entry.environment)(name)
    end)
    if not ok then
        entry.packages[path] = nil
        error(value, 0)
    end
    if value == nil then
        value = true
    end
    entry.packages[path] = value
    return value
end

--- The value of a stored module, or nil; `globals` is what its files see besides the library.
local function require_stored(name, globals)
    local first, rest = name:match('^([%a_][%w_]*)%.?(.*)$')
    local entry = first and entry_of(first)
    if not entry then
        return nil
    end
    for _, path in ipairs(candidates(entry, rest)) do
        local value = entry.packages[path]
        if value == LOADING then
            error(("module '%s' is required by what it requires"):format(name), 0)
        elseif value ~= nil then
            return value
        end
        local text = native.module_file(entry.id, path)
        if text then
            return read_package(entry, globals, first, path, text)
        end
    end
    error(("module '%s' has no file %s"):format(first, table.concat(candidates(entry, rest), ' or ')), 0)
end

-- Pure Lua below .rocks of the server's folder: name -> value.
local rocks = {}

local function require_rock(name, globals)
    if rocks[name] ~= nil then
        return rocks[name]
    end
    local text, path = native.rock_read(name)
    if not text then
        return nil
    end
    local value = sandbox.compile(text, path, sandbox.environment(globals))(name)
    rocks[name] = value == nil and true or value
    return rocks[name]
end

-- ------------------------------------------------------------------------------------- module

local module = {}

--- box.module, made for a state whose code in the sandbox sees `globals`.
---@param globals table
---@return table
function module.new(globals)
    local functions = {}

    --- box.module.install(name or path, {options = {..}}): gives name and version.
    function functions.install(source, settings)
        settings = settings or {}
        local files, manifest = read_source(source)
        local present = native.module(manifest.name)
        if present then
            if settings.if_not_exists then
                return describe(present)
            end
            core.raise(core.ERROR_EXISTS, ('module "%s" %s is installed: box.module.upgrade')
                :format(manifest.name, present.version))
        end
        transaction.atomic({ schema = true }, write, globals.box, files, manifest, settings.options)
        forget(manifest.name)
        return describe(native.module(manifest.name))
    end

    --- box.module.upgrade(name or path, {options, force}): a newer version takes the place of the old
    --- one; `force`: any other.
    function functions.upgrade(source, settings)
        settings = settings or {}
        local files, manifest = read_source(source)
        local present = must_find(manifest.name)
        if not settings.force and not version_of.less(present.version, manifest.version) then
            fail('module "%s" %s is installed, and %s is not newer: {force = true} installs it all the same',
                manifest.name, present.version, manifest.version)
        end
        transaction.atomic({ schema = true }, write, globals.box, files, manifest, settings.options, present)
        forget(manifest.name)
        return describe(native.module(manifest.name))
    end

    --- box.module.remove(name, {purge}): the module's code goes; with `purge` its migrations are taken
    --- back, and its spaces dropped.
    function functions.remove(name, settings)
        settings = settings or {}
        local row = find(name)
        if not row and settings.if_exists then
            return
        end
        row = must_find(name)
        local other, requirement = wanted_by(name)
        if other then
            fail('module "%s" needs "%s": remove it first', other, requirement)
        end
        transaction.atomic({ schema = true }, function()
            local box, manifest = globals.box, row.manifest
            for _, trigger in ipairs(sorted_keys(manifest.triggers)) do
                box.schema.trigger.drop(trigger, { if_exists = true })
            end
            for _, procedure in ipairs(sorted_keys(manifest.procedures)) do
                box.schema.func.drop(procedure, { if_exists = true })
            end
            if settings.purge then
                box.schema.migration.rollback(name, { to = 0 })
                for _, space in ipairs(sorted_keys(manifest.spaces)) do
                    if box.space[space] then
                        box.space[space]:drop()
                    end
                end
                for _, sequence in ipairs(sorted_keys(manifest.sequences)) do
                    box.schema.sequence.drop(sequence, { if_exists = true })
                end
            end
            for _, path in ipairs(native.module_files(row.id)) do
                native.record_delete(SPACE_ID_MODULE_FILE, { row.id, path })
            end
            native.record_delete(SPACE_ID_MODULE, { row.id })
        end)
        forget(name)
    end

    --- box.module.list(): what is installed; box.module.info(name): one of them, or nil.
    function functions.list()
        local result = {}
        for position, row in ipairs(native.modules()) do
            result[position] = describe(row)
        end
        return result
    end

    function functions.info(name)
        local row = find(name)
        return row and describe(row)
    end

    --- box.module.available(): the names of those that come with the server; with {about = true} name,
    --- version and summary of each.
    function functions.available(settings)
        local names = native.modules_builtin()
        if not settings or not settings.about then
            return names
        end
        local list = {}
        for n, name in ipairs(names) do
            local _, manifest = read_source(name)
            list[n] = { name = name, version = manifest.version, summary = manifest.summary }
        end
        return list
    end

    --- box.module.options(name): the values of its options; with a table sets some of them.
    function functions.options(name, values)
        local row = must_find(name)
        if values ~= nil then
            if type(values) ~= 'table' then
                fail('the options of a module are a table')
            end
            check_options(row.manifest, values)
            local manifest, set = {}, {}
            for key, value in pairs(row.manifest) do
                manifest[key] = value
            end
            for key, value in pairs(row.manifest.set or {}) do
                set[key] = value
            end
            for key, value in pairs(values) do
                set[key] = value
            end
            manifest.set = set
            transaction.atomic({ schema = true }, native.record_put, SPACE_ID_MODULE,
                { row.id, row.owner, row.name, row.version, manifest }, false, 1)
            row = must_find(name)
        end
        return options_of(row)
    end

    return functions
end

--- The value of a module that is stored in the database, or found below .rocks; nil: there is none.
---@param name string
---@param globals table
function module.require(name, globals)
    if type(name) ~= 'string' then
        return nil
    end
    local value = require_stored(name, globals)
    if value ~= nil and native.trusted then
        required[name] = true
    elseif value == nil then
        value = require_rock(name, globals)
    end
    return value
end

return module
