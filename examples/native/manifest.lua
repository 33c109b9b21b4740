-- SPDX-License-Identifier: Apache-2.0
--
-- A module with a C library: distances on the earth, and places that are counted and searched.

return {
    name = 'geo',
    version = '1.0.0',
    summary = 'Places, and which of them are near, computed in C.',
    library = 'geo.so',
    exports = { 'distance', 'visit', 'near' },
    spaces = {
        geo_places = {
            format = {
                { 'name', 'string' }, { 'latitude', 'number' }, { 'longitude', 'number' },
                { 'visits', 'unsigned' },
            },
            indexes = { { name = 'pk', parts = { 'name' } } },
        },
    },
    procedures = {
        ['geo.distance'] = { call = 'distance', readonly = true },
        ['geo.visit'] = { call = 'visit' },
        ['geo.near'] = { call = 'near', readonly = true },
    },
    commands = {
        GEO = { procedure = 'geo.distance', arity = 5, summary = 'Metres between two points.' },
    },
}
