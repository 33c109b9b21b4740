-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local line = require('console.line')
local model = require('screen')
local screen = require('console.screen')

local UP, DOWN, RIGHT, LEFT = '\27[A', '\27[B', '\27[C', '\27[D'

local function history(...)
    local entries = { ... }
    return { at = function(_, n) return entries[#entries - n + 1] end }
end

local function new(...)
    return line.new({
        is_complete = function(s) return not s:find('%($') and not s:find('do$') end,
        complete = function(s)
            if s:find('bo$') then
                return 'x'
            end
            return nil, s:find('b$') and 'bit  box' or nil
        end,
        history = history(...),
    })
end

--- The text after these keys, with the cursor as a bar.
local function typed(keys, ...)
    local edited = new(...)
    edited:feed(keys)
    return edited.text:sub(1, edited.cursor - 1) .. '|' .. edited.text:sub(edited.cursor)
end

describe('a line that is edited', function()
    it('takes characters where the cursor is', function()
        assert.equal('abXc|', typed('abc' .. LEFT .. 'X' .. RIGHT))
        assert.equal('X|abc', typed('abc\1X'))
        assert.equal('abcX|', typed('abc\1\5X'))
        assert.equal('grüXße|', typed('grüße' .. LEFT .. LEFT .. 'X\27OF'))
        assert.equal('a|', typed('aé' .. LEFT .. '\27[3~'))
    end)

    it('removes, cuts and puts back', function()
        assert.equal('ab|', typed('abü\127'))
        assert.equal('one |', typed('one two\23'))
        assert.equal('|', typed('one two\21'))
        assert.equal('one two|', typed('one two\21\25'))
        assert.equal('|', typed('one two\1\11'))
        assert.equal('o|e', typed('one' .. LEFT .. LEFT .. '\4'))
        assert.equal('ba|', typed('ab\20'))
        assert.equal('one| two', typed('one two\27b' .. LEFT))
        assert.equal('| two', typed('one two\1\27d'))
        assert.equal('one two|', typed('one two\1\27f\27[1;5C'))
        assert.equal('a|', typed('ae\204\129\127'))
    end)

    it('goes on in another line until it is a whole input', function()
        local edited = new()
        assert.is_nil(edited:feed('f(\r'))
        assert.equal('f(\n', edited.text)
        assert.equal('enter', edited:feed('1)\rnext'))
        assert.equal('f(\n1)', edited.text)
        edited:reset()
        assert.is_nil(edited:feed())
        assert.equal('next', edited.text)
        assert.equal('a\n|', typed('a\27\r'))
    end)

    it('takes what is pasted as it is, wherever it is cut', function()
        local pasted = 'x\27[200~a\tb\r\nc\3\27[Ad\27[201~!'
        for cut = 1, #pasted do
            local edited = new()
            edited:feed(pasted:sub(1, cut))
            edited:feed(pasted:sub(cut + 1))
            assert.equal('xa\tb\nc\3\27[Ad!', edited.text)
        end
    end)

    it('takes keys that come in pieces', function()
        local edited = new()
        for byte in ('aü' .. LEFT .. '\27[1;5D' .. 'b'):gmatch('.') do
            edited:feed(byte)
        end
        assert.equal('baü', edited.text)
    end)

    it('walks through its lines, and through the history beyond them', function()
        assert.equal('b1\nb2|', typed('draft' .. UP, 'a', 'b1\nb2'))
        assert.equal('b1|\nb2', typed('draft' .. UP .. UP, 'a', 'b1\nb2'))
        assert.equal('a|', typed('draft' .. UP .. UP .. UP, 'a', 'b1\nb2'))
        assert.equal('a|', typed('draft\16\16\16', 'a', 'b1\nb2'))
        assert.equal('draft|', typed('draft\16\16\14\14\14', 'a', 'b1\nb2'))
        assert.equal('draft|', typed('draft' .. UP .. UP .. DOWN .. DOWN, 'a', 'b1\nb2'))
        assert.equal('one\ntw|o\nx', typed('one\27\rtwo\27\rx' .. UP .. RIGHT))
    end)

    it('searches in the history', function()
        assert.equal('say hello|', typed('now\18hel' .. RIGHT, 'say hello', 'bye'))
        assert.equal('first a|', typed('\18a\18\5', 'first a', 'second a'))
        assert.equal('now|', typed('now\18hel\7', 'say hello'))
        assert.equal('enter', new('say hello'):feed('\18hel\r'))
        assert.equal('bye|', typed('\18xyz\127\127\127\5', 'say hello', 'bye'))
    end)

    it('completes, lists and leaves', function()
        assert.equal('box|', typed('bo\t'))
        local edited = new()
        assert.equal('list', edited:feed('b\t'))
        assert.equal('bit  box', edited.listing)
        assert.equal('end', new():feed('\4'))
        assert.equal('drop', new():feed('abc\3'))
        assert.equal('suspend', new():feed('\26'))
        assert.equal('clear', new():feed('\12'))
    end)

    it('knows the bracket that belongs to the one before the cursor', function()
        local function bracket(keys)
            local edited = new()
            edited:feed(keys)
            return edited:bracket()
        end
        assert.equal(2, bracket('f(a[1], "(")'))
        assert.equal(4, bracket('f(a[1]'))
        assert.is_nil(bracket('f(a[1)'))
        assert.is_nil(bracket('")"'))
    end)
end)

describe('the screen of a line', function()
    local look = { prompt = '> ', continuation = '-> ' }

    --- Draws after each piece of keys; gives what the terminal shows and where its cursor is.
    local function drawn(columns, rows, ...)
        local shown = model.new(columns, rows)
        local edited = new('older\nentry')
        local part = screen.new(function(s) shown:feed((s:gsub('([^\r])\n', '%1\r\n'))) end,
            function() return columns, rows end)
        part:draw(edited, look)
        for _, keys in ipairs({ ... }) do
            edited:feed(keys)
            part:draw(edited, look)
        end
        return shown, part
    end

    it('is the prompt, the text, and the cursor in it', function()
        local shown = drawn(20, 10, 'a', 'b', 'c', LEFT, 'X')
        assert.equal('> abXc', shown:text())
        assert.equal('> abX', shown:before_cursor())
    end)

    it('breaks what is wider than the terminal', function()
        local shown = drawn(6, 10, 'abcd', 'e', 'f', '\1')
        assert.equal('> abcd\nef', shown:text())
        assert.equal('> ', shown:before_cursor())
        shown = drawn(6, 10, 'abcd')
        assert.equal('> abcd\n', shown:text())
        assert.same({ 2, 1 }, { shown.row, shown.column })
        shown = drawn(6, 10, 'abcdef', '\21')
        assert.equal('>\n', shown:text())
    end)

    it('has a prompt of its own for each further line', function()
        local shown = drawn(20, 10, 'f(\r', '1)', UP)
        assert.equal('> f(\n-> 1)', shown:text())
        assert.equal('> f(', shown:before_cursor())
        shown = drawn(20, 10, 'x', UP, DOWN, DOWN)
        assert.equal('> x\n', shown:text())
    end)

    it('shows the lines around the cursor when there are more than rows', function()
        local shown = drawn(20, 4, 'f(\rg(\rh(\ri(\rj')
        assert.equal('-> h(\n-> i(\n-> j', shown:text())
        shown = drawn(20, 4, 'f(\rg(\rh(\ri(\rj', UP .. UP .. UP .. UP)
        assert.equal('> f(\n-> g(\n-> h(', shown:text())
    end)

    it('shows a search and what it has found', function()
        local shown = drawn(30, 10, '\18', 'ent')
        assert.equal("search 'ent': older entry", shown:text())
        shown = drawn(30, 10, '\18', 'ent', '\5')
        assert.equal('> older\n-> entry', shown:text())
    end)

    it('shows a hint behind the end, which goes with the line', function()
        local shown = model.new(30, 10)
        local edited = new()
        local part = screen.new(function(s) shown:feed(s) end, function() return 30, 10 end)
        edited:feed('f(')
        part:draw(edited, { prompt = '> ', continuation = '-> ', hint = 'a, b)', colored = true })
        assert.equal('> f(a, b)', shown:text())
        assert.equal('> f(', shown:before_cursor())
        part:draw(edited, look)
        part:leave()
        assert.equal('> f(\n', shown:text())
        assert.same({ 2, 1 }, { shown.row, shown.column })
    end)
end)
