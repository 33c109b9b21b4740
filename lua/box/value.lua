-- SPDX-License-Identifier: Apache-2.0
--
-- What decimal, uuid and datetime stand on: the types of their objects, and the functions of
-- src/lua/value.c through FFI.
--
-- The objects are cdata of the size that C knows; their members have random names, for the reason
-- that box/core.lua gives. So is an extension of MessagePack that nobody here knows: it has a type
-- and data, and goes back as it came.

local ffi = require('ffi')
local core = require('box.core')

local native, shared = core.native, core.value

ffi.cdef((([[
struct perigee_decimal { uint64_t $a, $b, $c; };
struct perigee_uuid { uint64_t $a, $b; };
struct perigee_datetime { int64_t $a, $b; };
struct perigee_interval { int64_t $a[9]; };
struct perigee_extension { uint32_t $size; int32_t $type; char $data[?]; };
struct perigee_datetime_fields { int64_t year; int32_t month, day, hour, min, sec, nsec, wday, yday; };
struct perigee_values {
    int (*decimal_parse)(struct perigee_decimal *, const char *, size_t);
    int (*decimal_of_double)(struct perigee_decimal *, double);
    void (*decimal_of_int)(struct perigee_decimal *, int64_t);
    void (*decimal_of_uint)(struct perigee_decimal *, uint64_t);
    size_t (*decimal_print)(const struct perigee_decimal *, char *);
    int (*decimal_binary)(int, struct perigee_decimal *, const struct perigee_decimal *,
                          const struct perigee_decimal *);
    int (*decimal_unary)(int, struct perigee_decimal *, const struct perigee_decimal *);
    void (*decimal_round)(int, struct perigee_decimal *, const struct perigee_decimal *, uint32_t);
    int (*decimal_rescale)(struct perigee_decimal *, const struct perigee_decimal *, uint32_t);
    int (*decimal_compare)(const struct perigee_decimal *, const struct perigee_decimal *);
    int (*decimal_compare_number)(const struct perigee_decimal *, double);
    double (*decimal_number)(const struct perigee_decimal *);
    uint32_t (*decimal_precision)(const struct perigee_decimal *);
    int32_t (*decimal_scale)(const struct perigee_decimal *);
    int (*uuid_generate)(struct perigee_uuid *);
    int (*uuid_parse)(struct perigee_uuid *, const char *, size_t);
    void (*uuid_print)(const struct perigee_uuid *, char *);
    int (*uuid_compare)(const struct perigee_uuid *, const struct perigee_uuid *);
    int (*datetime_make)(struct perigee_datetime *, double, int32_t, int);
    double (*datetime_seconds)(const struct perigee_datetime *, int32_t *, int32_t *);
    void (*datetime_split)(const struct perigee_datetime *, struct perigee_datetime_fields *);
    int (*datetime_join)(struct perigee_datetime *, const struct perigee_datetime_fields *, int);
    int (*datetime_days_in_month)(int64_t, int);
    int (*datetime_add)(struct perigee_datetime *, const struct perigee_datetime *,
                        const struct perigee_interval *, int);
    void (*datetime_subtract)(struct perigee_interval *, const struct perigee_datetime *,
                              const struct perigee_datetime *);
    int (*datetime_compare)(const struct perigee_datetime *, const struct perigee_datetime *);
    size_t (*datetime_print)(const struct perigee_datetime *, char *);
    int (*datetime_parse)(struct perigee_datetime *, const char *, size_t, int, int);
    int (*datetime_scan)(struct perigee_datetime *, const char *, size_t, const char *, size_t, int,
                         size_t *);
    int (*datetime_format)(const struct perigee_datetime *, const char *, size_t, char *, size_t, size_t *);
    int (*datetime_zone)(const char *, size_t, int32_t *);
    int (*datetime_zone_of)(const struct perigee_datetime *);
    int (*datetime_summer)(const struct perigee_datetime *);
    const char *(*zone_name)(int);
    int (*interval_make)(struct perigee_interval *, const double *);
    double (*interval_get)(const struct perigee_interval *, int);
    int (*interval_add)(struct perigee_interval *, const struct perigee_interval *,
                        const struct perigee_interval *, int);
    int (*interval_equal)(const struct perigee_interval *, const struct perigee_interval *);
    size_t (*interval_print)(const struct perigee_interval *, char *);
};
]]):gsub('%$', native.secret)))

local value = {
    api = ffi.cast('const struct perigee_values *', native.values),
    decimal = ffi.typeof('struct perigee_decimal'),
    uuid = ffi.typeof('struct perigee_uuid'),
    datetime = ffi.typeof('struct perigee_datetime'),
    interval = ffi.typeof('struct perigee_interval'),
    -- where text is printed: as long as the longest, that of an interval
    text = ffi.new('char[256]'),
    TOO_LARGE = -14,
}
local extension = ffi.typeof('struct perigee_extension')

-- The values of struct lua__value's type in src/lua/value.h.
local DECIMAL, UUID, DATETIME, INTERVAL, EXTENSION = 32, 33, 34, 35, 36
-- Stands there for the type of an extension: bytes that are none.
local VARBINARY = 256

-- -------------------------------------------------------------------------------- extensions

local SIZE, TYPE, DATA = native.secret .. 'size', native.secret .. 'type', native.secret .. 'data'

local function data_of(self)
    return ffi.string(self[DATA], self[SIZE])
end

ffi.metatype(extension, {
    __index = function(self, key)
        if key == 'type' then
            return self[TYPE]
        elseif key == 'data' then
            return data_of(self)
        end
        return nil
    end,
    __newindex = function() error('an extension can not be changed', 2) end,
    __eq = function(left, right)
        return ffi.istype(extension, left) and ffi.istype(extension, right) and left[TYPE] == right[TYPE]
            and data_of(left) == data_of(right)
    end,
    __tostring = function(self)
        if self[TYPE] == VARBINARY then
            return data_of(self)
        end
        return ('extension %d of %d bytes'):format(self[TYPE], self[SIZE])
    end,
})

--- Bytes that are packed as such.
---@param text string
function value.varbinary(text)
    local result = ffi.new(extension, #text)
    result[SIZE], result[TYPE] = #text, VARBINARY
    ffi.copy(result[DATA], text, #text)
    return result
end

function value.is_varbinary(object)
    return ffi.istype(extension, object) and object[TYPE] == VARBINARY
end

local function make_extension()
    local size = shared.size
    local result = ffi.new(extension, size)
    result[SIZE], result[TYPE] = size, tonumber(shared.integer)
    ffi.copy(result[DATA], shared.data, size)
    return result
end

-- ------------------------------------------------------------------ from and to MessagePack

local types = { [DECIMAL] = value.decimal, [UUID] = value.uuid, [DATETIME] = value.datetime,
    [INTERVAL] = value.interval }

local classify_other = core.classify

--- Called by C with a cdata value: see box/core.lua.
function core.classify(cdata)
    if classify_other(cdata) then
        return true
    elseif shared.type ~= core.ABSENT then
        return false
    end
    for kind, ctype in pairs(types) do
        if ffi.istype(ctype, cdata) then
            shared.type = kind
            return false
        end
    end
    if ffi.istype(extension, cdata) then
        shared.type = EXTENSION
    end
    return false
end

local make_other = core.make

--- Called by C: the object that `shared` describes.
function core.make()
    local kind = shared.type
    local ctype = types[kind]
    if ctype then
        local result = ffi.new(ctype)
        ffi.copy(result, shared.data, ffi.sizeof(ctype))
        return result
    elseif kind == EXTENSION then
        return make_extension()
    end
    return make_other()
end

return value
