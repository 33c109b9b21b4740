-- SPDX-License-Identifier: Apache-2.0
--
-- decimal: numbers of 38 decimal digits in exact arithmetic. Numbers, 64-bit integers and text may
-- stand where a decimal does; a number means the shortest decimal that reads back as it, so that
-- decimal.new(0.1) is 0.1.

local ffi = require('ffi')
local core = require('box.core')
local value = require('box.value')

local api, ctype, text = value.api, value.decimal, value.text
local int64, uint64 = ffi.typeof('int64_t'), ffi.typeof('uint64_t')
local INVALID, TOO_LARGE = core.ERROR_INVALID, value.TOO_LARGE

-- The numbers of operations in src/lua/value.c, and of roundings in src/codec/decimal.h.
local ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER, POWER = 0, 1, 2, 3, 4, 5
local NEGATE, ABS, TRIM, SQRT, EXP, LN, LOG10 = 0, 1, 2, 3, 4, 5, 6
local HALF_UP, DOWN, FLOOR, CEILING = 0, 1, 2, 3
local DIGITS = 38

local decimal, methods = {}, {}

local function print_decimal(self)
    return ffi.string(text, api.decimal_print(self, text))
end

--- The decimal that something is; nil and the code when it is none.
local function convert(from)
    if ffi.istype(ctype, from) then
        return from
    end
    local result, code = ffi.new(ctype), INVALID
    if type(from) == 'number' then
        code = api.decimal_of_double(result, from)
    elseif type(from) == 'string' then
        code = api.decimal_parse(result, from, #from)
    elseif ffi.istype(int64, from) then
        api.decimal_of_int(result, from)
        code = 0
    elseif ffi.istype(uint64, from) then
        api.decimal_of_uint(result, from)
        code = 0
    end
    if code ~= 0 then
        return nil, code
    end
    return result
end

local function take(from)
    local result, code = convert(from)
    if result then
        return result
    elseif code == TOO_LARGE then
        core.raise(code, ('%s has more than %d digits before the point'):format(tostring(from), DIGITS))
    end
    local shown = type(from) == 'string' and ('%q'):format(from) or tostring(from)
    core.raise(INVALID, shown .. ' is not a decimal number')
end

--- Raises what an operation has returned.
local function check(code, what, reason)
    if code == TOO_LARGE then
        core.raise(code, ('%s: the result has more than %d digits before the point'):format(what, DIGITS))
    elseif code ~= 0 then
        core.raise(code, ('%s: %s'):format(what, reason))
    end
end

-- --------------------------------------------------------------------------------- operators

local function binary(operation, what, reason)
    return function(left, right)
        left, right = take(left), take(right)
        local result = ffi.new(ctype)
        check(api.decimal_binary(operation, result, left, right), what, reason)
        return result
    end
end

--- Negative, 0, positive; nil when they have no order.
local function compare(left, right)
    if type(right) == 'number' then
        return right == right and api.decimal_compare_number(left, right) or nil
    elseif type(left) == 'number' then
        return left == left and -api.decimal_compare_number(right, left) or nil
    end
    left, right = convert(left), convert(right)
    return left and right and api.decimal_compare(left, right) or nil
end

local function order(left, right)
    local result = compare(left, right)
    if result == nil and left == left and right == right then
        take(left)
        take(right)
    end
    return result
end

ffi.metatype(ctype, {
    __index = function(_, key) return methods[key] end,
    __newindex = function() error('a decimal can not be changed', 2) end,
    __tostring = print_decimal,
    __concat = function(left, right) return tostring(left) .. tostring(right) end,
    __add = binary(ADD, 'addition'),
    __sub = binary(SUBTRACT, 'subtraction'),
    __mul = binary(MULTIPLY, 'multiplication'),
    __div = binary(DIVIDE, 'division', 'by zero'),
    __mod = binary(REMAINDER, 'remainder', 'of a division by zero'),
    __pow = binary(POWER, 'power', 'it has no value for these numbers'),
    __unm = function(self)
        local result = ffi.new(ctype)
        api.decimal_unary(NEGATE, result, self)
        return result
    end,
    __eq = function(left, right) return compare(left, right) == 0 end,
    __lt = function(left, right)
        local result = order(left, right)
        return result ~= nil and result < 0
    end,
    __le = function(left, right)
        local result = order(left, right)
        return result ~= nil and result <= 0
    end,
})

-- --------------------------------------------------------------------------------- functions

--- decimal.new(number | text | 64-bit integer | decimal)
function decimal.new(from)
    return take(from)
end

--- decimal.is_decimal(value)
function decimal.is_decimal(from)
    return ffi.istype(ctype, from)
end

local function unary(name, operation, reason)
    methods[name] = function(self)
        local result = ffi.new(ctype)
        check(api.decimal_unary(operation, result, take(self)), name, reason)
        return result
    end
end

unary('abs', ABS)
unary('trim', TRIM)
unary('sqrt', SQRT, 'of a negative number')
unary('exp', EXP)
unary('ln', LN, 'of a number that is not above 0')
unary('log10', LOG10, 'of a number that is not above 0')

local function check_scale(scale)
    if scale == nil then
        return 0
    elseif type(scale) ~= 'number' or scale ~= math.floor(scale) or scale < 0 or scale > DIGITS then
        core.raise(INVALID, ('a scale is a whole number from 0 to %d'):format(DIGITS))
    end
    return scale
end

local function rounding(name, kind)
    methods[name] = function(self, scale)
        local result = ffi.new(ctype)
        api.decimal_round(kind, result, take(self), check_scale(scale))
        return result
    end
end

rounding('round', HALF_UP)
rounding('trunc', DOWN)
rounding('floor', FLOOR)
rounding('ceil', CEILING)

--- With exactly so many digits behind the point.
function methods.rescale(self, scale)
    local result = ffi.new(ctype)
    self, scale = take(self), check_scale(scale)
    if api.decimal_rescale(result, self, scale) ~= 0 then
        core.raise(TOO_LARGE, ('rescale: there is no room for %d digits behind the point'):format(scale))
    end
    return result
end

function methods.precision(self)
    return api.decimal_precision(take(self))
end

function methods.scale(self)
    return api.decimal_scale(take(self))
end

--- The nearest number.
function methods.tonumber(self)
    return api.decimal_number(take(self))
end

function methods.tostring(self)
    return print_decimal(take(self))
end

for name, method in pairs(methods) do
    decimal[name] = method
end

return core.object(decimal)
