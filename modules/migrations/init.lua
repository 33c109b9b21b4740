-- SPDX-License-Identifier: Apache-2.0
--
-- Migrations by folder: box.schema.migration with the steps of the files in it, 001_name.lua, 002_..
--
-- A folder is a path (with a / at its beginning, or a point), read by fio and so from where fio may read;
-- or a stored module and one of its folders, 'shop/steps', which a restored backup has as well; or a table
-- of names and texts. What is applied belongs to an owner: the last part of the folder's name, unless one
-- is given.

local migrations = {}

local function invalid(format, ...)
    box.error({ code = box.error.INVALID, reason = format:format(...) })
end

--- The files of a folder on the server's machine.
local function read_folder(path)
    local ok, fio = pcall(require, 'fio')
    if not ok then
        invalid('%s: files can\'t be read here (there is no fio): put them into a module', path)
    end
    local names, why = fio.listdir(path)
    if not names then
        invalid('%s can\'t be read: %s', path, tostring(why))
    end
    local files = {}
    for _, name in ipairs(names) do
        if name:match('%.lua$') then
            local file, reason = fio.open(path .. '/' .. name, { 'O_RDONLY' })
            local text = file and file:read()
            if file then
                file:close()
            end
            if not text then
                invalid('%s/%s can\'t be read: %s', path, name, tostring(reason))
            end
            files[name] = text
        end
    end
    return files
end

--- The files of a folder of a stored module.
local function read_module(name, folder)
    local id
    for _, row in box.space._module:pairs() do
        if row[3] == name then
            id = row[1]
        end
    end
    if not id then
        invalid('no module "%s" is installed; a folder of files begins with / or a point', name)
    end
    local files, prefix = {}, folder .. '/'
    for _, row in box.space._module_file:pairs({ id }) do
        if row[2]:sub(1, #prefix) == prefix and not row[2]:find('/', #prefix + 1, true) then
            files[row[2]:sub(#prefix + 1)] = row[3]
        end
    end
    return files
end

--- The steps of a folder, and whose they are.
local function read(folder, options)
    local owner, files = options and options.owner, nil
    if type(folder) == 'table' then
        files = folder
    elseif type(folder) ~= 'string' or folder == '' then
        invalid('migrations are applied from a folder')
    elseif folder:match('^[/.]') then
        folder = #folder > 1 and folder:gsub('/+$', '') or folder
        files, owner = read_folder(folder), owner or folder:match('([^/]+)$')
    else
        local name, below = folder:match('^([%a_][%w_]*)/?(.*)$')
        if not name then
            invalid('"%s" is no folder', folder)
        end
        files, owner = read_module(name, below ~= '' and below or 'migrations'), owner or folder
    end
    if type(owner) ~= 'string' then
        invalid('whose migrations are these? {owner = name}')
    end
    local steps = box.schema.migration.steps(files)
    if #steps == 0 then
        invalid('%s has no files like 001_name.lua', type(folder) == 'string' and folder or owner)
    end
    return owner, steps
end

--- migrations.apply(folder, {owner, to, dry_run}): those that have not been, each in one transaction; gives
--- their numbers.
function migrations.apply(folder, options)
    local owner, steps = read(folder, options)
    return box.schema.migration.apply(owner, steps, { to = options and options.to,
        dry_run = options and options.dry_run })
end

--- migrations.dry_run(folder, {owner, to}): does everything in one transaction and takes it back; gives the
--- numbers of what would be applied, or raises what would be raised.
function migrations.dry_run(folder, options)
    local owner, steps = read(folder, options)
    return box.schema.migration.apply(owner, steps, { to = options and options.to, dry_run = true })
end

--- migrations.status(folder, {owner}): for each step number, name, state and time. States: applied,
--- pending, changed (since it was applied), missing (from the folder).
function migrations.status(folder, options)
    local owner, steps = read(folder, options)
    return box.schema.migration.status(owner, steps)
end

--- migrations.rollback(folder or owner, {owner, to, dry_run}): back to that number, or by one step; gives
--- the numbers taken back. The texts are those that were applied: the files are not needed.
function migrations.rollback(folder, options)
    options = options or {}
    local owner = options.owner or (type(folder) == 'string' and (folder:match('^[/.]')
        and folder:gsub('/+$', ''):match('([^/]+)$') or folder))
    if type(owner) ~= 'string' then
        invalid('whose migrations are these? {owner = name}')
    end
    return box.schema.migration.rollback(owner, { to = options.to, dry_run = options.dry_run })
end

--- migrations.new(folder, name): the name of the next file: '003_name.lua'.
function migrations.new(folder, name, options)
    local _, steps = read(folder, options)
    if type(name) ~= 'string' or not name:match('^[%w_-]+$') then
        invalid('a migration has a name of letters, digits, - and _')
    end
    return ('%03d_%s.lua'):format(steps[#steps].number + 1, name)
end

return migrations
