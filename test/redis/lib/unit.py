# SPDX-License-Identifier: Apache-2.0
"""Runs unittest's tests and ends with the counts that test/run.sh adds up."""
import sys
import unittest


def main(module='__main__'):
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('# pass %d\n# fail %d\n# skipped %d' % (max(0, result.testsRun - failed - skipped), failed, skipped))
    sys.exit(1 if failed else 0)
