-- SPDX-License-Identifier: Apache-2.0

return {
    name = 'csv',
    version = '1.0.0',
    summary = 'Text with a row a line and fields between commas, read and written (RFC 4180).',
    exports = { 'parse', 'iterate', 'format', 'load', 'dump' },
}
