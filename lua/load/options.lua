-- SPDX-License-Identifier: Apache-2.0
--
-- What is said behind `perigee load` and `perigee dump`, checked.

local options = {}

options.LOAD_HELP = [=[
perigee load FILE SPACE [ADDRESS] [OPTION]...

Puts the rows of a file into a space: csv, tsv, jsonl or msgpack by the end of its name; - is standard input.
The same command again goes on where it was stopped; what has been loaded is never loaded twice.

  --format csv|tsv|jsonl|msgpack    when the name does not say so
  --map COLUMN=FIELD[:TYPE],...     which column goes into which field; COLUMN= leaves one out. Without it
                                    they have the same names; without a header, the same order
  --no-header                       the first record of csv and tsv is a row, too; columns are 1, 2, ..
  --delimiter C, --quote C          of csv and tsv; --quote '': \t and the like instead of quotes, in tsv
  --null TEXT                       what stands for nil: nothing in csv, \N in tsv
  --create                          makes the space, by types guessed from the first rows
  --primary FIELD,...               of its primary key; the first field
  --engine NAME                     of it
  --dry-run                         shows what would be done, and does nothing
  --mode insert|replace             insert: a key that is there is an error
  --on-error stop|skip              skip: what is no row goes aside
  --rejects FILE                    where to; FILE.rejected, with the reasons in FILE.rejected.reasons
  --rejects-max N                   how many, at most; 1000
  --batch N                         rows in one transaction, at most; 1000
  --name TEXT                       of this load: by it the server knows how far it is. The path of the file
  --again                           forgets how far it was, and begins at the beginning
]=]

options.DUMP_HELP = [=[
perigee dump SPACE [FILE [ADDRESS]] [OPTION]...

Writes the rows of a space as they are at one moment, in the order of its primary key: as csv, tsv, jsonl or
msgpack by the end of the file's name. Without FILE, or for -, to standard output. `perigee load` makes the
same rows of it again.

  --format csv|tsv|jsonl|msgpack    when the name does not say so; jsonl on standard output
  --no-header                       csv and tsv begin with the first row
  --delimiter C, --quote C          of csv and tsv; --quote '': \t and the like instead of quotes, in tsv
  --null TEXT                       what stands for nil: nothing in csv, \N in tsv
  --pad                             rows with fewer fields than the format get empty cells
  --rest                            a column * for fields behind those of the format
]=]

options.COMMON_HELP = [=[

ADDRESS is host:port, :port or unix:path; without it the option `listen`. As of `perigee console`:
  -u USER, --password TEXT (or PERIGEE_PASSWORD), --tls, --cacert FILE, --cert FILE --key FILE,
  --hostname NAME, --insecure
]=]

local formats = { csv = 'csv', tsv = 'tsv', tab = 'tsv', jsonl = 'jsonl', ndjson = 'jsonl',
    msgpack = 'msgpack',
    mp = 'msgpack' }

local function format_of(given, path, otherwise)
    local name = given.format or path:match('%.(%a+)$')
    local format = name and formats[name:lower()] or (not given.format and otherwise)
    if not format and not given.format and path:find(':%d+$') then
        error(path .. ': an address comes behind the file, for which - is possible', 0)
    elseif not format then
        error(("%s: --format is csv, tsv, jsonl or msgpack"):format(
            given.format and "'" .. given.format .. "'" or path
                .. ': its name does not say of what format it is'), 0)
    end
    return format
end

local function check_number(text, name, least)
    local number = tonumber(text)
    if not number or number < least or number % 1 ~= 0 or number > 2 ^ 53 then
        error(("--%s: '%s' is no whole number from %d on"):format(name, text, least), 0)
    end
    return number
end

local function one_of(value, name, ...)
    for n = 1, select('#', ...) do
        if value == (select(n, ...)) then
            return value
        end
    end
    error(("--%s: '%s' is none of %s"):format(name, value, table.concat({ ... }, ', ')), 0)
end

--- The words by name; `allowed` has those of the command.
local function by_name(words, allowed, command)
    local given = { map = {} }
    for _, word in ipairs(words) do
        local name, value = word[1], word[2]
        if not allowed[name] then
            error(("--%s is not for %s; `perigee %s --help` lists what is"):format(name, command, command), 0)
        elseif name == 'map' then
            table.insert(given.map, value)
        else
            given[name] = value or true
        end
    end
    return given
end

local function set(text)
    local result = {}
    for word in text:gmatch('%S+') do
        result[word] = true
    end
    return result
end

local for_load = set('format map no-header delimiter quote null create primary engine dry-run mode on-error '
    .. 'rejects rejects-max batch name again help')
local for_dump = set('format no-header delimiter quote null pad rest help')

--- Options of `perigee load`.
---@param names string[] FILE and SPACE
---@param words table[] {word, value}
function options.load(names, words)
    local given = by_name(words, for_load, 'load')
    if given.help then
        return { help = true }
    elseif #names < 2 then
        error('load needs a file and a space: perigee load FILE SPACE', 0)
    end
    local path = names[1]
    local parts = {}
    for part in (given.primary or ''):gmatch('[^,]+') do
        parts[#parts + 1] = part
    end
    return {
        path = path, space = names[2], format = format_of(given, path), map = given.map,
        header = not given['no-header'], cells = given, create = given.create, primary = parts,
        engine = given.engine, dry_run = given['dry-run'], again = given.again, name = given.name,
        mode = one_of(given.mode or 'insert', 'mode', 'insert', 'replace'),
        skip = one_of(given['on-error'] or 'stop', 'on-error', 'stop', 'skip') == 'skip',
        rejects = given.rejects or (path == '-' and 'stdin' or path) .. '.rejected',
        rejects_max = check_number(given['rejects-max'] or '1000', 'rejects-max', 0),
        batch = check_number(given.batch or '1000', 'batch', 1),
    }
end

--- Options of `perigee dump`.
---@param names string[] SPACE and FILE
---@param words table[] {word, value}
function options.dump(names, words)
    local given = by_name(words, for_dump, 'dump')
    if given.help then
        return { help = true }
    elseif #names < 1 then
        error('dump needs a space: perigee dump SPACE [FILE]', 0)
    end
    local path = names[2] or '-'
    return {
        path = path, space = names[1], format = format_of(given, path, path == '-' and 'jsonl' or nil),
        header = not given['no-header'], cells = given, pad = given.pad, rest = given.rest,
    }
end

return options
