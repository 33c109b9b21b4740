-- SPDX-License-Identifier: Apache-2.0
--
-- fio: files and folders, under Tarantool's names. What fails gives nil and a text; a wrong argument and a
-- missing privilege raise errors.
--
-- The operator's own code names files as the process does. Other code needs the privilege to use the
-- binding fio, and sees the folder of the option fio_dir alone: src/lua/fio.c.

local core = require('box.core')

local pattern = require('box.pattern')

local native = core.native

local fio = {}

local PIECE, JOB = 65536, 4 * 1024 * 1024
local READ, WRITE, SYNC, DATASYNC = 0, 1, 2, 3
local DEPTH_MAX = 64

local function text_of(value, usage)
    if type(value) ~= 'string' then
        error('Usage: ' .. usage, 3)
    end
    return value
end

-- --------------------------------------------------------------------------------- paths

--- The part behind the last slash, without `suffix` at its end.
function fio.basename(path, suffix)
    text_of(path, 'fio.basename(path[, suffix])')
    local name = path:match('([^/]*)$')
    if suffix and suffix ~= '' and #name >= #suffix and name:sub(-#suffix) == suffix then
        name = name:sub(1, -#suffix - 1)
    end
    return name
end

function fio.dirname(path)
    text_of(path, 'fio.dirname(path)')
    path = #path > 1 and path:gsub('/+$', '') or path
    if path == '' then
        return '/'
    end
    local folder = path:match('^(.*)/[^/]*$')
    if not folder then
        return '.'
    end
    return folder == '' and '/' or folder
end

function fio.pathjoin(...)
    local parts = {}
    for n = 1, select('#', ...) do
        local part = select(n, ...)
        if part == nil then
            error(('fio.pathjoin(path, ..): argument %d is missing'):format(n), 2)
        end
        part = tostring(part)
        if n > 1 then
            part = part:gsub('^/+', '')
        end
        if part ~= '' then
            parts[#parts + 1] = part
        end
    end
    local path = table.concat(parts, '/'):gsub('/+', '/')
    return #path > 1 and path:gsub('/$', '') or path
end

--- The path from the root, without `.` and `..`; in the granted folder from that.
function fio.abspath(path)
    text_of(path, 'fio.abspath(path)')
    if path:sub(1, 1) ~= '/' then
        path = (native.trusted and native.fio_cwd() or '') .. '/' .. path
    end
    local parts = {}
    for part in path:gmatch('[^/]+') do
        if part == '..' then
            parts[#parts] = nil
        elseif part ~= '.' then
            parts[#parts + 1] = part
        end
    end
    return '/' .. table.concat(parts, '/')
end

-- ---------------------------------------------------------------------------- open files

local handles = setmetatable({}, { __mode = 'k' })

local function handle_of(file)
    return handles[file] or error('this is no open file', 3)
end

--- A job for another thread, while this fiber sleeps; nil: nothing can sleep here.
local function by_thread(handle, kind, what, offset)
    if not pcall(native.fiber_check) then
        return nil
    end
    local job, err = native.fio_start(handle, kind, what, offset)
    while not job and not err do
        core.pause(0.001)
        job, err = native.fio_start(handle, kind, what, offset)
    end
    if not job then
        return { nil, err }
    end
    local ended = { native.fio_result(job) }
    while ended[1] == false do
        core.pause(1)
        ended = { native.fio_result(job) }
    end
    return ended
end

local function read_some(handle, size, offset)
    local ended = size > PIECE and by_thread(handle, READ, math.min(size, JOB), offset)
    if ended then
        return ended[1], ended[2]
    end
    return native.fio_read(handle, size, offset)
end

--- Reads until there are `size` bytes, or no more.
local function read(handle, size, offset)
    local parts, count = {}, 0
    repeat
        local bytes, err = read_some(handle, size - count, offset and offset + count)
        if not bytes then
            return nil, err
        end
        parts[#parts + 1], count = bytes, count + #bytes
    until bytes == '' or count >= size
    return table.concat(parts)
end

local function write(handle, text, offset)
    local done = 0
    while done < #text do
        local piece = #text - done > JOB and text:sub(done + 1, done + JOB)
            or done > 0 and text:sub(done + 1) or text
        local at = offset and offset + done
        local ended = #piece > PIECE and by_thread(handle, WRITE, piece, at)
        local count, err
        if ended then
            count, err = ended[1], ended[2]
        else
            count, err = native.fio_write(handle, piece, at)
        end
        if not count then
            return nil, err
        end
        done = done + count
    end
    return true
end

local function sync(handle, data_only)
    local ended = by_thread(handle, data_only and DATASYNC or SYNC)
    if ended then
        return ended[1] or false, ended[2]
    end
    return native.fio_sync(handle, data_only)
end

local methods = {}

--- What is left of the file, from where it is.
local function read_rest(handle)
    local stat, err = native.fio_fstat(handle)
    if not stat then
        return nil, err
    end
    local at = native.fio_seek(handle, 0, 1) or 0
    local left = math.max(stat.size - at, 0)
    return read(handle, left + (stat.size == 0 and PIECE or 0))
end

--- file:read([size]): at most so many bytes, '' at the end; without a size all that is left.
function methods.read(self, size)
    if size == nil then
        return read_rest(handle_of(self))
    end
    return read(handle_of(self), size)
end

function methods.pread(self, size, offset)
    if type(size) ~= 'number' or type(offset) ~= 'number' then
        error('Usage: file:pread(size, offset)', 2)
    end
    return read(handle_of(self), size, offset)
end

--- file:write(text): true once all of it is with the system.
function methods.write(self, text)
    return write(handle_of(self), text_of(text, 'file:write(text)'))
end

function methods.pwrite(self, text, offset)
    if type(offset) ~= 'number' then
        error('Usage: file:pwrite(text, offset)', 2)
    end
    return write(handle_of(self), text_of(text, 'file:pwrite(text, offset)'), offset)
end

local whences = { SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, [0] = 0, [1] = 1, [2] = 2 }

--- file:seek(offset[, 'SEEK_SET' | 'SEEK_CUR' | 'SEEK_END']): the place from the beginning.
function methods.seek(self, offset, whence)
    whence = whences[whence or 'SEEK_SET']
    if type(offset) ~= 'number' or not whence then
        error('Usage: file:seek(offset[, whence])', 2)
    end
    return native.fio_seek(handle_of(self), offset, whence)
end

function methods.truncate(self, size)
    return native.fio_truncate(handle_of(self), size or 0)
end

function methods.fsync(self)
    return sync(handle_of(self), false)
end

function methods.fdatasync(self)
    return sync(handle_of(self), true)
end

local function kind_test(kind)
    return function(self) return self.type == kind end
end

--- Numbers (size, mode, mtime ..), `type`, and is_reg(), is_dir(), is_link().
local function show_stat(stat, err)
    if not stat then
        return nil, err
    end
    local fields = {
        is_reg = kind_test('file'), is_dir = kind_test('directory'), is_link = kind_test('link'),
    }
    for name, value in pairs(stat) do
        fields[name] = value
    end
    return core.object(fields, {
        serialize = function() return stat end,
        __pairs = function() return next, stat, nil end,
    })
end

function methods.stat(self)
    return show_stat(native.fio_fstat(handle_of(self)))
end

function methods.close(self)
    return native.fio_close(handle_of(self))
end

local function list(flags)
    return type(flags) == 'string' and { flags } or flags or { 'O_RDONLY' }
end

--- fio.open(path[, {'O_RDWR', 'O_CREAT' ..}[, mode]])
function fio.open(path, flags, mode)
    text_of(path, 'fio.open(path[, flags[, mode]])')
    local handle, err = native.fio_open(path, list(flags), type(mode) == 'number' and mode or nil)
    if not handle then
        return nil, err
    end
    local file = core.object(methods)
    handles[file] = handle
    return file
end

-- --------------------------------------------------------------------------------- names

function fio.stat(path)
    return show_stat(native.fio_stat(text_of(path, 'fio.stat(path)'), false))
end

--- Of a link itself.
function fio.lstat(path)
    return show_stat(native.fio_stat(text_of(path, 'fio.lstat(path)'), true))
end

--- The names in a folder, in order.
function fio.listdir(path)
    local names, err = native.fio_listdir(text_of(path, 'fio.listdir(path)'))
    if not names then
        return nil, err
    end
    table.sort(names)
    return names
end

function fio.mkdir(path, mode)
    return native.fio_mkdir(text_of(path, 'fio.mkdir(path[, mode])'), mode)
end

local function kind_of(path)
    local stat = native.fio_stat(path, false)
    return stat and stat.type
end

--- A folder, and those that it is in.
function fio.mktree(path, mode)
    text_of(path, 'fio.mktree(path[, mode])')
    local done = path:sub(1, 1) == '/' and '/' or ''
    for part in path:gmatch('[^/]+') do
        done = done .. part
        if part ~= '.' and part ~= '..' and kind_of(done) ~= 'directory' then
            local ok, err = native.fio_mkdir(done, mode)
            if not ok and kind_of(done) ~= 'directory' then -- another one may have made it
                return nil, ('%s: %s'):format(done, err)
            end
        end
        done = done .. '/'
    end
    return true
end

function fio.unlink(path)
    return native.fio_unlink(text_of(path, 'fio.unlink(path)'), false)
end

function fio.rmdir(path)
    return native.fio_unlink(text_of(path, 'fio.rmdir(path)'), true)
end

local function remove_tree(path, depth)
    local stat, err = native.fio_stat(path, true)
    if not stat then
        return nil, err
    elseif stat.type ~= 'directory' then
        return native.fio_unlink(path, false)
    elseif depth == DEPTH_MAX then
        return nil, 'folders are nested too deep'
    end
    local names
    names, err = native.fio_listdir(path)
    if not names then
        return nil, err
    end
    for _, name in ipairs(names) do
        local ok, message = remove_tree(path .. '/' .. name, depth + 1)
        if not ok then
            return nil, message
        end
    end
    return native.fio_unlink(path, true)
end

--- A folder and all that is in it. Links are removed, not followed.
function fio.rmtree(path)
    return remove_tree(text_of(path, 'fio.rmtree(path)'), 0)
end

function fio.rename(from, to)
    text_of(from, 'fio.rename(from, to)')
    return native.fio_rename(from, text_of(to, 'fio.rename(from, to)'))
end

function fio.chmod(path, mode)
    return native.fio_chmod(text_of(path, 'fio.chmod(path, mode)'), mode)
end

function fio.readlink(path)
    return native.fio_readlink(text_of(path, 'fio.readlink(path)'))
end

--- Truncates a file of this name.
function fio.truncate(path, size)
    text_of(path, 'fio.truncate(path, size)')
    local handle, err = native.fio_open(path, { 'O_WRONLY' })
    if not handle then
        return nil, err
    end
    local ok, message = native.fio_truncate(handle, size or 0)
    native.fio_close(handle)
    return ok, message
end

local function copy(from, to, mode)
    local target, err = native.fio_open(to, { 'O_WRONLY', 'O_CREAT', 'O_TRUNC' }, mode)
    if not target then
        return nil, err
    end
    local ok
    repeat
        local bytes
        bytes, err = read_some(from, JOB)
        ok = bytes
        if bytes and bytes ~= '' then
            ok, err = write(target, bytes)
        end
    until not ok or bytes == ''
    native.fio_close(target)
    if not ok then
        return nil, err
    end
    return true
end

--- Copies a file; into a folder under its own name.
function fio.copyfile(from, to)
    text_of(from, 'fio.copyfile(from, to)')
    text_of(to, 'fio.copyfile(from, to)')
    local source, err = native.fio_open(from, { 'O_RDONLY' })
    if not source then
        return nil, err
    end
    if kind_of(to) == 'directory' then
        to = fio.pathjoin(to, fio.basename(from))
    end
    local stat = native.fio_fstat(source)
    local there = native.fio_stat(to, false)
    local ok
    if there and there.inode == stat.inode and there.dev == stat.dev then
        ok, err = nil, 'these are one file'
    else
        ok, err = copy(source, to, stat.mode % 512)
    end
    native.fio_close(source)
    return ok, err
end

--- A new folder of a random name: in $TMPDIR or /tmp, else in the granted folder.
function fio.tempdir()
    local base = native.trusted and (os.getenv('TMPDIR') or '/tmp') .. '/' or ''
    for _ = 1, 16 do
        local name = native.urandom(9):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
        local ok = native.fio_mkdir(base .. 'tmp' .. name, 448)
        if ok then
            return base .. 'tmp' .. name
        end
    end
    return nil, 'no folder could be made'
end

-- ---------------------------------------------------------------------------------- glob

--- The pattern of Lua for one part of a path.
local function translate(part)
    local result = part:gsub('%[!', '[^'):gsub('[%^%$%(%)%%%.%+%-]', function(c)
        return c == '^' and '^' or c == '-' and '-' or '%' .. c
    end)
    return '^' .. result:gsub('%*', '.*'):gsub('%?', '.') .. '$'
end

local function matches(name, part)
    local ok, found = pcall(pattern.find, name, translate(part))
    return ok and found ~= nil and (name:sub(1, 1) ~= '.' or part:sub(1, 1) == '.')
end

local function expand(folder, parts, n, found)
    if n > #parts then
        found[#found + 1] = folder
        return
    end
    local prefix = folder == '' and '' or folder == '/' and '/' or folder .. '/'
    if not parts[n]:find('[%*%?%[]') then
        if native.fio_stat(prefix .. parts[n], true) then
            expand(prefix .. parts[n], parts, n + 1, found)
        end
        return
    end
    for _, name in ipairs(fio.listdir(folder == '' and '.' or folder) or {}) do
        if matches(name, parts[n]) then
            expand(prefix .. name, parts, n + 1, found)
        end
    end
end

--- The paths that match: * ? [abc] [!abc] within one part.
function fio.glob(wanted)
    text_of(wanted, 'fio.glob(pattern)')
    local parts, found = {}, {}
    for part in wanted:gmatch('[^/]+') do
        parts[#parts + 1] = part
    end
    expand(wanted:sub(1, 1) == '/' and '/' or '', parts, 1, found)
    return found
end

-- ---------------------------------------------------------------------------------- path

fio.path = core.object({
    exists = function(path) return kind_of(path) ~= nil end,
    lexists = function(path) return native.fio_stat(path, true) ~= nil end,
    is_file = function(path) return kind_of(path) == 'file' end,
    is_dir = function(path) return kind_of(path) == 'directory' end,
    is_link = function(path)
        local stat = native.fio_stat(path, true)
        return stat ~= nil and stat.type == 'link'
    end,
})

if native.trusted then
    --- fio.symlink(target, path)
    function fio.symlink(target, path)
        return native.fio_symlink(target, path)
    end

    fio.cwd = native.fio_cwd
end

return core.object(fio)
