-- SPDX-License-Identifier: Apache-2.0
--
-- table.sort, in Lua: LuaJIT's own is one call of C, in which nobody is interrupted, neither for others nor
-- because the time is over. The algorithm is that of Lua 5.1 (ltablib.c: quicksort by the median of three,
-- the smaller part first), step by step, so equal elements, errors and calls of an order are the same as
-- there.

local type, rawget, rawset, getmetatable = type, rawget, rawset, debug.getmetatable

--- So few are sorted by C at once, where no order is given: that takes less than a millisecond.
local AT_ONCE_MAX = 4096
local sort_at_once = table.sort

--- True: the order contradicts itself.
local function sort_before(t, low, high, before)
    while low < high do
        local first, last = t[low], t[high]
        if before(last, first) then
            t[low], t[high] = last, first
        end
        if high - low == 1 then
            return
        end
        local i = (low + high - (low + high) % 2) / 2
        local middle = t[i]
        first = t[low]
        if before(middle, first) then
            t[i], t[low] = first, middle
        else
            last = t[high]
            if before(last, middle) then
                t[i], t[high] = last, middle
            end
        end
        if high - low == 2 then
            return
        end
        local pivot = t[i]
        t[i], t[high - 1] = t[high - 1], pivot
        i = low
        local j = high - 1
        while true do
            i = i + 1
            local left = t[i]
            while before(left, pivot) do
                if i >= high then
                    return true
                end
                i = i + 1
                left = t[i]
            end
            j = j - 1
            local right = t[j]
            while before(pivot, right) do
                if j <= low then
                    return true
                end
                j = j - 1
                right = t[j]
            end
            if j < i then
                break
            end
            t[i], t[j] = right, left
        end
        t[high - 1], t[i] = t[i], t[high - 1]
        if i - low < high - i then
            if sort_before(t, low, i - 1, before) then
                return true
            end
            low = i + 1
        else
            if sort_before(t, i + 1, high, before) then
                return true
            end
            high = i - 1
        end
    end
end

local function has_order(value)
    local metatable = getmetatable(value)
    return metatable ~= nil and rawget(metatable, '__lt') ~= nil
end

--- `<` of any two values; its errors are those of C, which have no place.
local function less(left, right)
    local kind, other = type(left), type(right)
    if kind == other and (kind == 'number' or kind == 'string') or has_order(left) or has_order(right) then
        return left < right
    end
    error(('attempt to compare %s'):format(kind == other and ('two %s values'):format(kind)
        or ('%s with %s'):format(kind, other)), 0)
end

--- Whether all are numbers, or all strings.
local function are_plain(t, count)
    local kind = type(t[1])
    if kind ~= 'number' and kind ~= 'string' then
        return false
    end
    for n = 2, count do
        if type(t[n]) ~= kind then
            return false
        end
    end
    return true
end

--- Without the questions that other values need.
local function less_plain(left, right)
    return left < right
end

--- As table.sort.
---@param t table
---@param before fun(left: any, right: any): boolean?
return function(t, before)
    if type(t) ~= 'table' or before ~= nil and type(before) ~= 'function'
        or not before and #t <= AT_ONCE_MAX then
        return sort_at_once(t, before)
    end
    local count, list = #t, t
    if getmetatable(t) ~= nil then -- what it says about fields does not count
        list = {}
        for n = 1, count do
            list[n] = rawget(t, n)
        end
    end
    if sort_before(list, 1, count, before or are_plain(list, count) and less_plain or less) then
        error('invalid order function for sorting', 2)
    end
    for n = 1, list ~= t and count or 0 do
        rawset(t, n, list[n])
    end
end
