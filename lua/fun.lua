-- SPDX-License-Identifier: Apache-2.0
--
-- fun: iterators that are put together, with the names and meanings of the Lua Fun library
-- (https://luafun.github.io). box.space.s:pairs():filter(f):map(g):take(10):totable()
--
-- An iterator is a generator in Lua's sense (gen, param, state): gen(param, state) gives the next
-- state and the values, or nil at the end. The object holds the three, is called by a generic for,
-- and has every function below as a method, the iterator coming first. States are what Lua's for
-- hides; functions given by users see only the values.
--
-- Generators are closures that are given values as they are and make no tables, so that LuaJIT
-- compiles the whole chain into the loop that draws on it. What some keep between two steps (how many
-- are left, where they are in several iterators) begins anew when they are asked for the step after
-- START. So an iterator can be gone over again when what it comes from can, but not by two loops at
-- a time.

local core = require('box.core')

local floor, random = math.floor, math.random
local type, select, unpack, tostring, error = type, select, unpack, tostring, error
local setmetatable, rawget, next = setmetatable, rawget, next

local methods, exported = {}, {}
local START = {}

local metatable = {
    __index = methods,
    --- The step of a generic for; without a state the first one.
    __call = function(self, _, state)
        if state == nil then
            state = self.state
        end
        return self.gen(self.param, state)
    end,
    __tostring = function() return '<generator>' end,
    __metatable = 'iterator',
}
core.serializers[metatable] = function(self) return methods.totable(self) end

local function wrap(gen, param, state)
    return setmetatable({ gen = gen, param = param, state = state }, metatable), param, state
end

local function is_iterator(value)
    return type(value) == 'table' and rawget(value, 'gen') ~= nil and type(rawget(value, 'gen')) == 'function'
end

-- ------------------------------------------------------------------------------ what can be iterated

local function nothing() return nil end

local function string_gen(text, position)
    position = position + 1
    if position > #text then
        return nil
    end
    return position, text:sub(position, position)
end

local function array_gen(array, position)
    position = position + 1
    local value = array[position]
    if value == nil then
        return nil
    end
    return position, value
end

local function map_gen(map, key)
    local value
    key, value = next(map, key)
    return key, key, value
end

--- gen, param, state of whatever can be iterated.
local function raw(object, param, state)
    local kind = type(object)
    if kind == 'table' then
        if is_iterator(object) then
            return object.gen, object.param, object.state
        elseif #object > 0 then
            return array_gen, object, 0
        end
        return map_gen, object, nil
    elseif kind == 'function' then
        return object, param, state
    elseif kind == 'string' then
        return #object == 0 and nothing or string_gen, object, 0
    elseif core.tuple_type and kind == 'cdata' and core.is_tuple(object) then
        return object:ipairs()
    end
    error('an iterator, a table, a string or a generator is expected, not a ' .. kind, 3)
end

--- Defines fn(gen, param, state, ...) as a method, and as a function that takes the iterator last.
--- Up to three arguments come before it in the function.
local function define(names, arity, fn)
    local function method(self, ...)
        local gen, param, state = raw(self)
        return fn(gen, param, state, ...)
    end
    local function last(...)
        if arity == 0 then
            return fn(raw(...))
        elseif arity == 1 then
            local a, object, param, state = ...
            local gen
            gen, param, state = raw(object, param, state)
            return fn(gen, param, state, a)
        end
        local a, b, object, param, state = ...
        local gen
        gen, param, state = raw(object, param, state)
        return fn(gen, param, state, a, b)
    end
    for name in names:gmatch('%S+') do
        methods[name], exported[name] = method, last
    end
end

local function check_count(number, what)
    if type(number) ~= 'number' or number ~= number or number < 0 then
        error(what .. ' is a number from 0 on', 4)
    end
    return floor(number)
end

function exported.iter(...) return wrap(raw(...)) end
function exported.wrap(gen, param, state) return wrap(gen, param, state) end
function exported.unwrap(object) return object.gen, object.param, object.state end
function methods.iter(self) return self, self.param, self.state end
function methods.unwrap(self) return self.gen, self.param, self.state end
methods.wrap = methods.iter

-- ---------------------------------------------------------------------------------- generators

function exported.range(start, stop, step)
    if stop == nil then
        start, stop = start > 0 and 1 or -1, start
        if stop == 0 then
            return wrap(nothing, nil, nil)
        end
    end
    step = step or (start <= stop and 1 or -1)
    if step == 0 then
        error('the step of a range is not 0', 2)
    end
    return wrap(function(_, count)
        local value = start + count * step
        if (step > 0 and value > stop) or (step < 0 and value < stop) then
            return nil
        end
        return count + 1, value
    end, nil, 0)
end

function exported.duplicate(...)
    if select('#', ...) <= 1 then
        local value = ...
        return wrap(function(_, count) return count + 1, value end, nil, 0)
    end
    local values, number = { ... }, select('#', ...)
    return wrap(function(_, count) return count + 1, unpack(values, 1, number) end, nil, 0)
end
exported.xrepeat, exported.replicate = exported.duplicate, exported.duplicate

function exported.tabulate(fn)
    return wrap(function(_, count) return count + 1, fn(count) end, nil, 0)
end

function exported.zeros() return exported.duplicate(0) end
function exported.ones() return exported.duplicate(1) end

--- Numbers in [0, 1), or whole ones from n up to, and without, m.
function exported.rands(n, m)
    if n == nil then
        return wrap(function() return 0, random() end, nil, 0)
    elseif m == nil then
        n, m = 0, n
    end
    if n >= m then
        error('the range of random numbers is empty', 2)
    end
    return wrap(function() return 0, random(n, m - 1) end, nil, 0)
end

-- ------------------------------------------------------------------------------------- slicing

local function drop_state(_, ...) return ... end

define('nth', 1, function(gen, param, state, n)
    n = check_count(n, 'the position')
    if n == 0 then
        return nil
    end
    for _ = 1, n - 1 do
        state = gen(param, state)
        if state == nil then
            return nil
        end
    end
    return drop_state(gen(param, state))
end)

local function head_of(state, ...)
    if state == nil then
        error('head: the iterator is empty', 3)
    end
    return ...
end

define('head car', 0, function(gen, param, state) return head_of(gen(param, state)) end)

define('tail cdr', 0, function(gen, param, state)
    state = gen(param, state)
    if state == nil then
        return wrap(nothing, nil, nil)
    end
    return wrap(gen, param, state)
end)

local function take_n(gen, param, state, n)
    n = check_count(n, 'the number')
    local left
    return wrap(function(_, at)
        if at == START then
            at, left = state, n
        end
        if left <= 0 then
            return nil
        end
        left = left - 1
        return gen(param, at)
    end, nil, START)
end
define('take_n', 1, take_n)

local function while_true(fn, state, ...)
    if state == nil or not fn(...) then
        return nil
    end
    return state, ...
end

local function take_while(gen, param, state, fn)
    return wrap(function(_, at) return while_true(fn, gen(param, at)) end, nil, state)
end
define('take_while', 1, take_while)

define('take', 1, function(gen, param, state, what)
    if type(what) == 'function' then
        return take_while(gen, param, state, what)
    end
    return take_n(gen, param, state, what)
end)

local function drop_n(gen, param, state, n)
    for _ = 1, check_count(n, 'the number') do
        state = gen(param, state)
        if state == nil then
            return wrap(nothing, nil, nil)
        end
    end
    return wrap(gen, param, state)
end
define('drop_n', 1, drop_n)

--- Gives the values that are at hand first, and then goes on.
local function behind(gen, param, state, ...)
    if state == nil then
        return wrap(nothing, nil, nil)
    end
    local values, number = { ... }, select('#', ...)
    return wrap(function(_, at)
        if at == START then
            return state, unpack(values, 1, number)
        end
        return gen(param, at)
    end, nil, START)
end

local function still(fn, state, ...)
    return state ~= nil and fn(...)
end

local function drop_while(gen, param, state, fn)
    local function step(...)
        local at = ...
        if still(fn, ...) then
            return at, true
        end
        return nil, behind(gen, param, ...)
    end
    while true do
        local at, result = step(gen(param, state))
        if at == nil then
            return result, result.param, result.state
        end
        state = at
    end
end
define('drop_while', 1, drop_while)

define('drop', 1, function(gen, param, state, what)
    if type(what) == 'function' then
        return drop_while(gen, param, state, what)
    end
    return drop_n(gen, param, state, what)
end)

define('span split split_at', 1, function(gen, param, state, what)
    if type(what) == 'function' then
        return take_while(gen, param, state, what), (drop_while(gen, param, state, what))
    end
    return take_n(gen, param, state, what), (drop_n(gen, param, state, what))
end)

-- ------------------------------------------------------------------------------------ indexing

define('index index_of elem_index', 1, function(gen, param, state, wanted)
    local position = 0
    local value
    while true do
        state, value = gen(param, state)
        if state == nil then
            return nil
        end
        position = position + 1
        if value == wanted then
            return position
        end
    end
end)

define('indexes elem_indexes indices elem_indices', 1, function(gen, param, state, wanted)
    local position, following, value
    return wrap(function(_, at)
        if at == START then
            position, following = 0, state
        end
        while true do
            following, value = gen(param, following)
            if following == nil then
                return nil
            end
            position = position + 1
            if value == wanted then
                return position, position
            end
        end
    end, nil, START)
end)

-- ----------------------------------------------------------------------------------- filtering

local function choose_single(fn, gen, param, state, value)
    while state ~= nil and not fn(value) do
        state, value = gen(param, state)
    end
    return state, value
end

local function choose_several(fn, gen, param, state, ...)
    if state == nil or fn(...) then
        return state, ...
    end
    return choose_several(fn, gen, param, gen(param, state))
end

local function choose(fn, gen, param, state, ...)
    if select('#', ...) < 2 then
        return choose_single(fn, gen, param, state, ...)
    end
    return choose_several(fn, gen, param, state, ...)
end

local function filter(gen, param, state, fn)
    return wrap(function(_, at) return choose(fn, gen, param, gen(param, at)) end, nil, state)
end
define('filter', 1, filter)

local function negated(fn)
    return function(...) return not fn(...) end
end

define('remove_if', 1, function(gen, param, state, fn) return filter(gen, param, state, negated(fn)) end)

define('grep', 1, function(gen, param, state, what)
    if type(what) == 'string' then
        return filter(gen, param, state, function(value) return tostring(value):find(what) ~= nil end)
    end
    return filter(gen, param, state, what)
end)

define('partition', 1, function(gen, param, state, fn)
    return (filter(gen, param, state, fn)), (filter(gen, param, state, negated(fn)))
end)

-- ------------------------------------------------------------------------------------ reducing

define('foldl reduce', 2, function(gen, param, state, fn, accumulated)
    local function step(at, ...)
        if at ~= nil then
            accumulated = fn(accumulated, ...)
        end
        return at
    end
    repeat
        state = step(gen(param, state))
    until state == nil
    return accumulated
end)

local function length(gen, param, state)
    local count = 0
    state = gen(param, state)
    while state ~= nil do
        count = count + 1
        state = gen(param, state)
    end
    return count
end
define('length', 0, length)

define('is_null', 0, function(gen, param, state) return gen(param, state) == nil end)

--- Whether all of the first is at the beginning of the second.
local function is_prefix_of(first, second)
    local gen, param, state = raw(first)
    local other_gen, other_param, other_state = raw(second)
    local value, other
    while true do
        state, value = gen(param, state)
        if state == nil then
            return true
        end
        other_state, other = other_gen(other_param, other_state)
        if other_state == nil or value ~= other then
            return false
        end
    end
end
methods.is_prefix_of, exported.is_prefix_of = is_prefix_of, is_prefix_of

local function verdict(fn, at, ...)
    if at == nil then
        return nil, nil
    end
    return at, fn(...)
end

define('all every', 1, function(gen, param, state, fn)
    local good
    repeat
        state, good = verdict(fn, gen(param, state))
    until state == nil or not good
    return state == nil
end)

define('any some', 1, function(gen, param, state, fn)
    local good
    repeat
        state, good = verdict(fn, gen(param, state))
    until state == nil or good
    return state ~= nil
end)

local function accumulate(gen, param, state, fn, result)
    local value
    while true do
        state, value = gen(param, state)
        if state == nil then
            return result
        end
        result = fn(result, value)
    end
end

define('sum', 0, function(gen, param, state)
    return accumulate(gen, param, state, function(a, b) return a + b end, 0)
end)

define('product', 0, function(gen, param, state)
    return accumulate(gen, param, state, function(a, b) return a * b end, 1)
end)

local function best(gen, param, state, better, name)
    local first
    state, first = gen(param, state)
    if state == nil then
        error(name .. ': the iterator is empty', 3)
    end
    return accumulate(gen, param, state, better, first)
end

define('min minimum', 0, function(gen, param, state)
    return best(gen, param, state, function(a, b) return b < a and b or a end, 'min')
end)

define('max maximum', 0, function(gen, param, state)
    return best(gen, param, state, function(a, b) return a < b and b or a end, 'max')
end)

define('min_by minimum_by', 1, function(gen, param, state, fn)
    return best(gen, param, state, fn, 'min_by')
end)

define('max_by maximum_by', 1, function(gen, param, state, fn)
    return best(gen, param, state, fn, 'max_by')
end)

define('totable', 0, function(gen, param, state)
    local result, count = {}, 0
    while true do
        local value
        state, value = gen(param, state)
        if state == nil then
            return result
        end
        count = count + 1
        result[count] = value
    end
end)

define('tomap', 0, function(gen, param, state)
    local result = {}
    while true do
        local key, value
        state, key, value = gen(param, state)
        if state == nil then
            return result
        end
        result[key] = value
    end
end)

define('each for_each foreach', 1, function(gen, param, state, fn)
    local function step(at, ...)
        if at ~= nil then
            fn(...)
        end
        return at
    end
    repeat
        state = step(gen(param, state))
    until state == nil
end)

-- ------------------------------------------------------------------------------ transformations

local function mapped(fn, state, ...)
    if state == nil then
        return nil
    end
    return state, fn(...)
end

define('map', 1, function(gen, param, state, fn)
    return wrap(function(_, at) return mapped(fn, gen(param, at)) end, nil, state)
end)

define('enumerate', 0, function(gen, param, state)
    local position, following
    local function step(at, ...)
        if at == nil then
            return nil
        end
        following, position = at, position + 1
        return position, position, ...
    end
    return wrap(function(_, at)
        if at == START then
            position, following = 0, state
        end
        return step(gen(param, following))
    end, nil, START)
end)

--- A separator between two values.
define('intersperse', 1, function(gen, param, state, separator)
    local following, held, have, value
    return wrap(function(_, at)
        if at == START then
            following, value = gen(param, state)
        elseif have then
            have = false
            return 1, held
        else
            following, value = gen(param, following)
            if following ~= nil then
                held, have = value, true
                return 1, separator
            end
        end
        return following and 1, value
    end, nil, START)
end)

-- -------------------------------------------------------------------------------- compositions

local function raw_each(...)
    local gens, params, states = {}, {}, {}
    for n = 1, select('#', ...) do
        gens[n], params[n], states[n] = raw((select(n, ...)))
    end
    return select('#', ...), gens, params, states
end

--- The values of all, one of each at a time; ends with the shortest.
local function zip(...)
    local number, gens, params, states = raw_each(...)
    local at, values = {}, {}
    return wrap(function(_, count)
        if count == START then
            count = 0
            for n = 1, number do
                at[n] = states[n]
            end
        end
        for n = 1, number do
            local following, value = gens[n](params[n], at[n])
            if following == nil then
                return nil
            end
            at[n], values[n] = following, value
        end
        return count + 1, unpack(values, 1, number)
    end, nil, START)
end
methods.zip, exported.zip = zip, zip

define('cycle', 0, function(gen, param, state)
    local function step(at, ...)
        if at == nil then
            return gen(param, state)
        end
        return at, ...
    end
    return wrap(function(_, at) return step(gen(param, at)) end, nil, state)
end)

--- One behind the other.
local function chain(...)
    local number, gens, params, states = raw_each(...)
    local current, following
    local function advance(at, ...)
        if at ~= nil then
            following = at
            return 1, ...
        end
        current = current + 1
        if current > number then
            return nil
        end
        return advance(gens[current](params[current], states[current]))
    end
    return wrap(function(_, at)
        if at == START then
            current, following = 1, states[1]
        end
        if current > number then
            return nil
        end
        return advance(gens[current](params[current], following))
    end, nil, START)
end
methods.chain, exported.chain = chain, chain

-- ----------------------------------------------------------------------------------- operators

local operators = {
    lt = function(a, b) return a < b end,
    le = function(a, b) return a <= b end,
    eq = function(a, b) return a == b end,
    ne = function(a, b) return a ~= b end,
    ge = function(a, b) return a >= b end,
    gt = function(a, b) return a > b end,
    add = function(a, b) return a + b end,
    div = function(a, b) return a / b end,
    floordiv = function(a, b) return floor(a / b) end,
    mod = function(a, b) return a % b end,
    mul = function(a, b) return a * b end,
    neg = function(a) return -a end,
    unm = function(a) return -a end,
    pow = function(a, b) return a ^ b end,
    sub = function(a, b) return a - b end,
    concat = function(a, b) return a .. b end,
    len = function(a) return #a end,
    length = function(a) return #a end,
    land = function(a, b) return a and b end,
    lor = function(a, b) return a or b end,
    lnot = function(a) return not a end,
    truth = function(a) return not not a end,
}
operators.intdiv = function(a, b)
    local quotient = a / b
    return quotient >= 0 and floor(quotient) or -floor(-quotient)
end
operators.truediv, operators.neq = operators.div, operators.neg
exported.operator, exported.op = core.object(operators), core.object(operators)

--- For box.space: an iterator of these three.
core.wrap_iterator = wrap

return core.object(exported, { __call = function(_, ...) return exported.iter(...) end })
