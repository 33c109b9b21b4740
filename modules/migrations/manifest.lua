-- SPDX-License-Identifier: Apache-2.0

return {
    name = 'migrations',
    version = '1.0.0',
    summary = 'Applies folders of numbered migrations.',
    exports = { 'apply', 'dry_run', 'status', 'rollback', 'new' },
}
