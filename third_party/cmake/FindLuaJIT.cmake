# SPDX-License-Identifier: Apache-2.0
#
# Defines the target luajit and LUAJIT_CHECKHOOK (1 or 0). Takes the LuaJIT below PERIGEE_LUAJIT,
# which ./dev builds from Debian's source with LUAJIT_ENABLE_CHECKHOOK, or else the packaged one, in
# whose compiled loops a time limit cannot fire.
include(FindPackageHandleStandardArgs)
add_library(luajit INTERFACE)
set(LUAJIT_CHECKHOOK 0)
if(EXISTS ${PERIGEE_LUAJIT}/lib/libluajit-5.1.a)
    set(LuaJIT_LIBRARY ${PERIGEE_LUAJIT}/lib/libluajit-5.1.a)
    set(LuaJIT_INCLUDE_DIR ${PERIGEE_LUAJIT}/include/luajit-2.1)
    if(EXISTS ${PERIGEE_LUAJIT}/CHECKHOOK)
        set(LUAJIT_CHECKHOOK 1)
    endif()
    # All of it, so that Lua's C modules find every lua_* symbol in the executable.
    target_link_libraries(luajit INTERFACE
        "$<LINK_LIBRARY:WHOLE_ARCHIVE,${LuaJIT_LIBRARY}>" m dl)
    set(what "own build, ${PERIGEE_LUAJIT}")
else()
    pkg_check_modules(LUAJIT_PKG QUIET luajit)
    if(LUAJIT_PKG_FOUND)
        find_library(LuaJIT_LIBRARY NAMES luajit-5.1 HINTS ${LUAJIT_PKG_LIBRARY_DIRS})
        find_path(LuaJIT_INCLUDE_DIR luajit.h HINTS ${LUAJIT_PKG_INCLUDE_DIRS}
            PATH_SUFFIXES luajit-2.1)
        target_link_libraries(luajit INTERFACE ${LuaJIT_LIBRARY} m dl)
    endif()
    set(what "packaged, ${LuaJIT_LIBRARY}")
endif()
find_package_handle_standard_args(LuaJIT REQUIRED_VARS LuaJIT_LIBRARY LuaJIT_INCLUDE_DIR)
target_include_directories(luajit SYSTEM INTERFACE ${LuaJIT_INCLUDE_DIR})
if(LUAJIT_CHECKHOOK)
    message(STATUS "LuaJIT: ${what}, with CHECKHOOK")
else()
    message(STATUS "LuaJIT: ${what}, without CHECKHOOK")
endif()
