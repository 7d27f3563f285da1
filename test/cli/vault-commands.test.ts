/** Vaults and policies by the command line, as a user types them. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ServedHome } from '../server/served-home.ts'
import { run } from './command-line.ts'

type Resource = Readonly<{ id: string; name: string; properties: Readonly<Record<string, unknown>> }>

const home = await ServedHome.make()
after(() => home[Symbol.asyncDispose]())

async function text(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(home.folder, args, { env: home.env, passphrase: undefined })
  assert.equal(code, 0, `holdfast ${args.join(' ')}: ${stderr}`)
  return stdout
}

test('A vault is made, shown, changed, and deleted; what is for good is not taken back', async () => {
  await home.serve()
  await home.run('group', 'create', 'web', '-l', 'eastus')
  const made = await home.run<Resource>('vault', 'create', 'v1', '-g', 'web', '--tags', 'owner=ops')
  assert.deepEqual([made.name, made.properties['provisioningState']], ['v1', 'Succeeded'])
  assert.match(
    await text('vault', 'list', '-g', 'web'),
    /NAME +GROUP +LOCATION.*\n.*v1 +web +eastus +GeoRedundant +Enabled, 14 days +Disabled +Succeeded/,
  )
  await text('vault', 'set', 'v1', '-g', 'web', '--soft-delete', 'AlwaysON', '--soft-delete-days', '30')
  assert.match(await text('vault', 'show', 'v1', '-g', 'web'), /Soft delete +AlwaysON, 30 days/)
  const refused = await home.fail('vault', 'set', 'v1', '-g', 'web', '--soft-delete', 'Enabled')
  assert.equal(refused.exitCode, 5)
  assert.equal((await home.fail('vault', 'create', 'v1', '-g', 'web')).exitCode, 2)
})

test('Policies are made of options or a file, and shown as people say them', async () => {
  const vault = ['--vault', 'v1', '-g', 'web']
  await text(
    'policy',
    'create',
    'night',
    ...vault,
    '--daily',
    '22:00',
    '--keep-days',
    '30',
    '--keep-weeks',
    '12',
    '--keep-months',
    '6',
    '--month-days',
    '1,last',
  )
  await text(
    'policy',
    'create',
    'often',
    ...vault,
    '--every',
    '4',
    '--from',
    '08:00',
    '--window',
    '12',
    '--keep-days',
    '14',
    '--time-zone',
    'Europe/Berlin',
  )
  await text('policy', 'create', 'weekly', ...vault, '--weekly', 'Sunday,Wednesday@03:30', '--keep-weeks', '4')
  const table = await text('policy', 'list', ...vault)
  assert.match(table, /night +V1 +daily at 22:00 +UTC +30 days; 12 weeks \(Sunday\); 6 months \(1, last\) +0/)
  assert.match(table, /often +V2 +every 4 h from 08:00 for 12 h +Europe\/Berlin +14 days +0/)
  assert.match(table, /weekly +V1 +Sunday, Wednesday at 03:30 +UTC +4 weeks \(Sunday, Wednesday\)/)
  await text('policy', 'set', 'night', ...vault, '--daily', '23:00', '--keep-days', '40')
  const shown = await home.run<Resource>('policy', 'show', 'night', ...vault)
  const file = join(home.folder, 'policy.json')
  await writeFile(file, JSON.stringify(shown))
  await text('policy', 'create', 'copy', ...vault, '--file', file)
  assert.match(await text('policy', 'show', 'copy', ...vault), /Backups +daily at 23:00\n/)
  for (const args of [
    ['create', 'bad', ...vault],
    ['create', 'bad', ...vault, '--daily', '25:00', '--keep-days', '30'],
    ['create', 'bad', ...vault, '--daily', '22:00', '--keep-days', '3'],
    ['create', 'night', ...vault, '--daily', '22:00', '--keep-days', '30'],
    ['set', 'absent', ...vault, '--daily', '22:00', '--keep-days', '30'],
  ])
    assert.equal((await home.fail('policy', ...args)).exitCode, 2, args.join(' '))
  await text('policy', 'delete', 'copy', ...vault, '--yes')
  await text('vault', 'delete', '--yes', 'v1', '-g', 'web')
  assert.match(await text('vault', 'deleted', '-l', 'eastus'), /There is no deleted vault here/)
})
