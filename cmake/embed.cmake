# SPDX-License-Identifier: Apache-2.0
#
# Writes OUT, a C file that holds every ROOT/**.lua as bytes. A module's name is its path below
# ROOT without .lua, with dots for slashes: lua/box/space.lua is "box.space", lua/box/init.lua "box".
# (The shape of the table is declared in src/lua/builtin.h.)
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/*.lua)
list(SORT files)
set(bodies "")
set(rows "")
set(n 0)
foreach(file IN LISTS files)
    file(READ ${ROOT}/${file} hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR size "${digits} / 2")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "\\.lua$" "" name ${file})
    string(REGEX REPLACE "/init$" "" name ${name})
    string(REPLACE "/" "." name ${name})
    string(APPEND bodies "static const unsigned char file_${n}[] = {${bytes}0};\n")
    string(APPEND rows "    {\"${name}\", file_${n}, ${size}},\n")
    math(EXPR n "${n} + 1")
endforeach()
file(WRITE ${OUT} "/* Generated from lua/ by cmake/embed.cmake. */
#include \"lua/builtin.h\"\n
${bodies}
const struct lua_builtin lua_builtins[] = {
${rows}    {NULL, NULL, 0},
};
")
