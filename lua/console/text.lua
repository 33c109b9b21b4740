-- SPDX-License-Identifier: Apache-2.0
--
-- Text as a terminal shows it: how wide it is, cut to a width, and without anything that the
-- terminal would obey.

local ffi = require('ffi')

local text = {}

local charwidth
local library -- held: a library that nobody refers to is unloaded
--- Columns of a code point, by utf8proc: of the executable when it has the console, else the library.
local function width_function()
    local ok, native = pcall(require, 'console.native')
    if ok then
        return ffi.cast('int (*)(int32_t)', native.charwidth)
    end
    ffi.cdef('int utf8proc_charwidth(int32_t);')
    library = ffi.load('utf8proc')
    return library.utf8proc_charwidth
end

--- The code point at `position` and the position behind it; nil and the next one for bytes that are
--- not UTF-8.
local function decode(s, position)
    local first = s:byte(position)
    if first < 0x80 then
        return first, position + 1
    end
    local count = first >= 0xf0 and 3 or first >= 0xe0 and 2 or first >= 0xc2 and 1
    if not count or first > 0xf4 then
        return nil, position + 1
    end
    local code = first - (count == 3 and 0xf0 or count == 2 and 0xe0 or 0xc0)
    for n = 1, count do
        local byte = s:byte(position + n)
        if not byte or byte < 0x80 or byte > 0xbf then
            return nil, position + 1
        end
        code = code * 64 + byte - 0x80
    end
    local least = count == 3 and 0x10000 or count == 2 and 0x800 or 0x80
    if code < least or code > 0x10ffff or (code >= 0xd800 and code <= 0xdfff) then
        return nil, position + 1
    end
    return code, position + count + 1
end

--- Whether all of it is UTF-8.
---@param s string
---@return boolean
function text.is_utf8(s)
    local position = s:find('[\128-\255]')
    while position do
        local code, past = decode(s, position)
        if not code then
            return false
        end
        position = s:find('[\128-\255]', past)
    end
    return true
end

local names = { ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\\'] = '\\\\' }

--- What control characters and bytes that are not UTF-8 are shown as.
local function escape_bytes(bytes)
    return (bytes:gsub('.', function(c) return names[c] or ('\\x%02x'):format(c:byte()) end))
end

--- C1 controls, marks that turn the direction of writing, and separators of lines.
local function is_control(code)
    return code < 0x20 or (code >= 0x7f and code < 0xa0) or code == 0x2028 or code == 0x2029
        or (code >= 0x202a and code <= 0x202e) or (code >= 0x2066 and code <= 0x2069)
end

--- The text in one line that a terminal shows as it is. `keep` holds control characters to be left.
---@param s string
---@param keep string?
---@return string
function text.printable(s, keep)
    if not s:find('[^\32-\126]') then
        return s
    end
    local out, position = {}, 1
    while position <= #s do
        local code, past = decode(s, position)
        local part = s:sub(position, past - 1)
        if not code or (is_control(code) and not (keep and keep:find(part, 1, true))) then
            part = escape_bytes(part)
        end
        out[#out + 1] = part
        position = past
    end
    return table.concat(out)
end

--- Columns that a printable text takes.
---@param s string
---@return integer
function text.width(s)
    if not s:find('[\128-\255]') then
        return #s
    end
    charwidth = charwidth or width_function()
    local columns, position = 0, 1
    while position <= #s do
        local code
        code, position = decode(s, position)
        columns = columns + math.max(charwidth(code or 0xfffd), 0)
    end
    return columns
end

--- The text, or its beginning and an ellipsis when it is wider than `columns`.
---@param s string
---@param columns integer
---@return string
function text.cut(s, columns)
    if text.width(s) <= columns then
        return s
    end
    charwidth = charwidth or width_function()
    local used, position, from = 0, 1, 1
    while position <= #s do
        local code, past = decode(s, position)
        used = used + math.max(charwidth(code or 0xfffd), 0)
        if used > columns - 1 then
            break
        end
        position, from = past, past
    end
    return s:sub(1, from - 1) .. '…'
end

--- Padded with blanks to `columns`.
---@param s string
---@param columns integer
---@param right boolean? whether the text stands at the right
---@return string
function text.pad(s, columns, right)
    local blanks = (' '):rep(columns - text.width(s))
    return right and blanks .. s or s .. blanks
end

return text
