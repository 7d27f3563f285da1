/** The README's lines for `az`, as they stand there. The server is one of a test, and client-env is asked outside of az's tree. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { run } from '../cli/command-line.ts'
import { readmeBlock } from '../rig/readme.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

test('az: the lines of the README', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const flow = world.flows(t)

  await flow(
    'client-env, a group, a disk, a snapshot',
    async (t) => {
      const { env, folder } = world.served
      const { code, stdout: variables } = await run(folder, ['client-env'], { env, passphrase: undefined })
      if (code !== 0) return t.skip('the command line has no client-env yet')
      const lines = readmeBlock('With az and the SDKs', 'sh').split('\n')
      const typed = lines.filter((line) => line.startsWith('az '))
      assert.ok(typed.length >= 3, 'the README has lines for az')
      await (await world.another()).shell(`${variables}\n${typed.join('\n')}`)
      const snapshots = await world.az.run<unknown[]>('snapshot', 'list')
      assert.equal(snapshots.length, 1)
      return undefined
    },
    'Microsoft.Compute/disks',
    'Microsoft.Compute/snapshots',
  )
})
