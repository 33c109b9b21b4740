-- SPDX-License-Identifier: Apache-2.0
--
-- Options of the service: /usr/share/doc/perigee/configuration.md lists them all.
return {
    dir = '/var/lib/perigee',
    listen = '127.0.0.1:6379',
    -- listen = '127.0.0.1:6379, *:6380 tls, unix:/run/perigee/socket mode=660',
    -- password = '...',
    -- tls_certificate = '/etc/perigee/server.pem',
    -- tls_key = '/etc/perigee/server.key',
    -- memory_max = '2gb',
}
