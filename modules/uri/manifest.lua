-- SPDX-License-Identifier: Apache-2.0

return {
    name = 'uri',
    version = '1.0.0',
    summary = 'Parts of URIs and addresses, and the escaping of text in them (RFC 3986).',
    exports = { 'parse', 'format', 'escape', 'unescape', 'params', 'format_params' },
}
