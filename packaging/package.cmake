# SPDX-License-Identifier: Apache-2.0
#
# What a Debian package has beside the program, and what it says about itself. Libraries that the
# program is linked with are found by dpkg-shlibdeps; libcurl is loaded when it is needed.
file(GLOB documents ${CMAKE_SOURCE_DIR}/docs/*.md)
set(packaging ${CMAKE_SOURCE_DIR}/packaging)
install(FILES ${documents} ${CMAKE_SOURCE_DIR}/README.md ${packaging}/copyright
    DESTINATION share/doc/perigee)
install(FILES ${packaging}/perigee.service DESTINATION lib/systemd/system)
install(FILES ${packaging}/perigee.lua DESTINATION /etc/perigee)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME perigee)
set(CPACK_PACKAGE_VENDOR "The authors of Perigee")
set(CPACK_PACKAGE_CONTACT "The authors of Perigee <perigee@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "database that runs Lua")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libcurl4")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/postinst ${packaging}/prerm
    ${packaging}/postrm ${packaging}/conffiles)
include(CPack)
