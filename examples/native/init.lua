-- SPDX-License-Identifier: Apache-2.0
--
-- What the module offers. `library` has the functions of geo.c; degrees come as numbers or, from a command,
-- as text.

local library = library -- luacheck: read globals library
local geo = {}

--- Metres from one point to another, given in degrees.
function geo.distance(latitude1, longitude1, latitude2, longitude2)
    return library.distance(tonumber(latitude1), tonumber(longitude1), tonumber(latitude2),
        tonumber(longitude2))
end

--- Counts a visit of a place; gives how many there were. A new place needs its degrees.
geo.visit = library.visit

--- The names of the places within so many metres, nearest first.
geo.near = library.near

return geo
