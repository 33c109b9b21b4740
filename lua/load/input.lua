-- SPDX-License-Identifier: Apache-2.0
--
-- What is read, in pieces: `text` holds what has come and is not used up yet, from `position` on. Readers of
-- formats look at it, ask for `more` when a record is not whole, and move `position` behind what they
-- have taken. Offsets count the bytes of the whole input from 0.
--
-- A sum over all that was used up tells later whether another input begins with the same bytes.

local CHUNK_BYTES = 1024 * 1024

local input = {}
input.__index = input

--- An input of what `read(size)` gives, nil at the end.
---@param read function
---@param sum function sum(before, text, first, last): a checksum extended by a part of a text
function input.new(read, sum)
    return setmetatable({
        read = read, sum = sum,
        text = '', position = 1, base = 0, -- the offset of the first byte of `text`
        ended = false, pieces = 0,
        crc = 0, summed = 1, -- the sum of what is before text[summed]
    }, input)
end

--- How many bytes are used up.
function input:offset()
    return self.base + self.position - 1
end

--- The sum of what is used up.
function input:checksum()
    if self.summed < self.position then
        self.crc = self.sum(self.crc, self.text, self.summed, self.position - 1)
        self.summed = self.position
    end
    return self.crc
end

--- Reads another piece, larger when one record needs many; false at the end. Positions in `text` are other
--- ones then.
function input:more()
    if self.ended then
        return false
    end
    self:checksum()
    local rest = self.text:sub(self.position)
    local bytes = self.read(math.max(CHUNK_BYTES, #rest))
    if not bytes then
        self.ended = true
        return false
    end
    self.base = self:offset()
    self.text, self.position, self.summed = rest .. bytes, 1, 1
    self.pieces = self.pieces + 1
    return true
end

--- Uses up what is before an offset. `want(first, text)` is given each piece and where it begins. False when
--- the input ends before.
function input:skip_to(offset, want)
    while self:offset() < offset do
        local left = #self.text - self.position + 1
        if left == 0 then
            if not self:more() then
                return false
            end
        else
            local size = math.min(left, offset - self:offset())
            if want then
                want(self:offset(), self.text:sub(self.position, self.position + size - 1))
            end
            self.position = self.position + size
        end
    end
    self:checksum()
    return true
end

return input
