/** The README's program, as it stands there, run as a user runs it: NODE_EXTRA_CA_CERTS and nothing else. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { ended } from '../cli/command-line.ts'
import { readmeBlock } from '../rig/readme.ts'
import { SdkWorld } from './sdk-world.ts'

test('the README’s program makes a disk and an incremental snapshot', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks('Microsoft.Compute/disks', 'Microsoft.Compute/snapshots')
  if (skip !== false) return t.skip(skip)
  const folder = join(world.served.folder, 'program')
  await mkdir(folder)
  await symlink(resolve(import.meta.dirname, '../../node_modules'), join(folder, 'node_modules'))
  await writeFile(join(folder, 'client.json'), JSON.stringify(world.record))
  await writeFile(join(folder, 'snapshot.mjs'), readmeBlock('With az and the SDKs', 'js'))
  const env = { PATH: process.env['PATH'], NODE_EXTRA_CA_CERTS: world.record.caFile }
  const program = spawn(process.execPath, ['snapshot.mjs'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const { code, stdout, stderr } = await ended(program)
  assert.deepEqual([code, stdout.trim()], [0, 'Succeeded 1073741824'], stderr)
  return undefined
})
