import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { test } from 'node:test'
import { lanesOf } from './test-lanes.ts'

test('lanesOf() leaves a file alone that boots a guest, itself or through what it imports', () => {
  const texts: Readonly<Record<string, string>> = {
    'test/a/plain.test.ts': "import { x } from './near.ts'\n",
    'test/a/near.ts': "import { y } from './plain.test.ts'\n",
    'test/a/itself.test.ts': "spawn('qemu-system-x86_64')\n",
    'test/a/through.test.ts': "import { z } from '../b/world.ts'\n",
    'test/b/world.ts': "import { g } from '../rig/guest-process.ts'\n",
    'test/rig/guest-process.ts': "spawn('qemu-system-x86_64')\n",
  }
  const files = ['test/a/plain.test.ts', 'test/a/itself.test.ts', 'test/a/through.test.ts']
  assert.deepEqual(
    lanesOf(files, (path) => texts[path] ?? assert.fail(`${path} was not to be read`)),
    {
      together: ['test/a/plain.test.ts'],
      alone: ['test/a/itself.test.ts', 'test/a/through.test.ts'],
    },
  )
})

test('lanesOf() knows both kinds among the tests that there are', () => {
  const { together, alone } = lanesOf(globSync('test/**/*.test.ts').sort())
  assert.ok(alone.includes('test/transfer/live.test.ts') && alone.includes('test/kill/running.test.ts'))
  assert.ok(together.includes('test/block/images.test.ts') && together.includes('test/api/groups.test.ts'))
})
