/** Machines by the command line, as a user types them. The guest is none: firmware that finds nothing to boot. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { hostOf, rememberAccelerator } from '../api/machine-api-world.ts'
import { ServedHome } from '../server/served-home.ts'
import { run } from './command-line.ts'

type Resource = Readonly<{ id: string; name: string; properties: Readonly<Record<string, unknown>> }>

const home = await ServedHome.make()
after(async () => {
  const host = hostOf(home.home)
  for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  await home[Symbol.asyncDispose]()
})

async function text(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(home.folder, args, { env: home.env, passphrase: undefined })
  assert.equal(code, 0, `holdfast ${args.join(' ')}: ${stderr}`)
  return stdout
}

test('A machine is made, looked at, changed, stopped, started and deleted', async () => {
  await rememberAccelerator(join(home.home, 'run', 'm'))
  await home.serve()
  await home.run('group', 'create', 'web', '-l', 'eastus')
  const size = ['--size', 'Holdfast_1x64']
  const made = await home.run<Resource>(
    'machine',
    'create',
    'm1',
    '-g',
    'web',
    '--empty',
    '1G',
    ...size,
    '--new-data',
    '1G',
  )
  assert.equal(made.properties['provisioningState'], 'Succeeded')
  const table = await text('machine', 'list', '-g', 'web')
  assert.match(table, /NAME +GROUP +LOCATION +SIZE +POWER +AGENT\n.*m1 +web +eastus +Holdfast_1x64 +running +Not Ready/)
  assert.match(await text('machine', 'show', 'm1', '-g', 'web'), /Data disks +0: m1_DataDisk_0_/)
  await text('disk', 'create', 'd1', '-g', 'web', '--size', '1G')
  await text('machine', 'attach', 'm1', '-g', 'web', '--disk', 'd1')
  assert.match(await text('machine', 'show', 'm1', '-g', 'web'), /, 1: d1/)
  await text('machine', 'detach', 'm1', '-g', 'web', '--disk', 'd1')
  await text('machine', 'console', 'm1', '-g', 'web')
  const shot = join(home.folder, 'shot.png')
  await text('machine', 'screenshot', 'm1', '-g', 'web', '--to', shot)
  assert.equal((await readFile(shot)).subarray(1, 4).toString(), 'PNG')
  await text('machine', 'stop', 'm1', '-g', 'web', '--force')
  assert.match(await text('machine', 'list', '-g', 'web'), /Holdfast_1x64 +stopped/)
  await text('machine', 'deallocate', 'm1', '-g', 'web')
  await text('machine', 'resize', 'm1', '-g', 'web', '--size', 'Holdfast_1x96')
  await text('machine', 'start', 'm1', '-g', 'web')
  assert.match(await text('machine', 'list', '-g', 'web'), /Holdfast_1x96 +running/)
  await text('machine', 'stop', 'm1', '-g', 'web', '--force')
  await text('machine', 'generalize', 'm1', '-g', 'web', '--yes')
  const refused = await home.fail('machine', 'start', 'm1', '-g', 'web')
  assert.equal(refused.exitCode, 5)
  await text('machine', 'delete', 'm1', '-g', 'web', '--yes')
  assert.match(await text('machine', 'list', '-g', 'web'), /There is no machine here/)
})

test('What makes no sense is refused: exit 2', async () => {
  for (const args of [
    ['machine', 'create', 'x', '-g', 'web'],
    ['machine', 'create', 'x', '-g', 'web', '--disk', 'a', '--snapshot', 'b'],
    ['machine', 'create', 'x', '-g', 'web', '--empty', '1G', '--ssh-key', '/dev/null'],
    ['machine', 'run-command', 'x', '-g', 'web'],
    ['machine', 'attach', 'x', '-g', 'web', '--disk', 'a', 'b', '--lun', '1'],
  ])
    assert.equal((await home.fail(...args)).exitCode, 2, args.join(' '))
})
