import assert from 'node:assert/strict'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManualClock } from '#base'
import { systemClock, systemRandom } from '#runtime'
import { AdminWorld } from '../admin.fixture.ts'
import { openHome } from '../home.ts'
import { initHome } from '../init-home.ts'
import { type Diagnosis, diagnose } from './doctor.ts'
import { sharedDevices } from './place-checks.ts'

function found({ findings }: Diagnosis, check: string): string {
  const one = findings.filter((finding) => finding.check === check)
  return one.map(({ severity, says }) => `${severity}: ${says}`).join('\n')
}

test('sharedDevices() warns of regions on one device, once for each device', () => {
  const place = (region: string, device: string) => ({ region, device })
  assert.deepEqual(sharedDevices([]), [])
  assert.deepEqual(
    sharedDevices([place('a', '1'), place('a', '1'), place('b', '2')]).map(({ severity }) => severity),
    ['well'],
  )
  const shared = sharedDevices([place('b', '1'), place('a', '1'), place('c', '2'), place('d', '2'), place('e', '3')])
  assert.deepEqual(
    shared.map(({ severity, says }) => [severity, /regions (.*) share/.exec(says)?.[1]]),
    [
      ['warning', 'a and b'],
      ['warning', 'c and d'],
    ],
  )
})

test('diagnose() finds nothing failed in a home that was just made, and each injury that is then done to it', async () => {
  await using world = await AdminWorld.make() // For a folder that goes away.
  const home = openHome(join(world.home.folder, 'h'))
  await initHome(home, { clock: systemClock, random: systemRandom }, { port: 0 })
  const fresh = await diagnose(home, systemClock, false)
  assert.deepEqual(
    fresh.findings.filter(({ severity }) => severity === 'failed'),
    [],
  )
  assert.match(found(fresh, 'server'), /^warning: It does not run/)
  assert.match(found(fresh, 'devices'), /^warning: The regions eastus and westus share a device/)
  assert.match(found(fresh, 'catalog'), /^well/)
  assert.ok(fresh.findings.every(({ severity, remedy }) => severity === 'well' || remedy !== undefined))

  await chmod(join(home.folder, 'keys', 'administrator.secret'), 0o644)
  await writeFile(join(home.folder, 'holdfast.yaml'), 'listen: {prot: 1}\n')
  await rm(join(home.folder, 'regions/eastus/pool'), { recursive: true })
  await mkdir(join(home.folder, 'regions/westus'), { recursive: true })
  const hurt = await diagnose(home, systemClock, false)
  assert.equal(hurt.healthy, false)
  assert.match(found(hurt, 'rights'), /failed: .*administrator\.secret holds a secret/)
  assert.match(found(hurt, 'configuration'), /failed: .*listen\.prot is no setting/)
  assert.match(found(hurt, 'pool eastus/default'), /failed: .*cannot be used/)

  const late = await diagnose(home, new ManualClock(systemClock.nowMs() + 396 * 24 * 3_600_000), false)
  assert.match(found(late, 'certificate'), /^warning/)
  const over = await diagnose(home, new ManualClock(systemClock.nowMs() + 398 * 24 * 3_600_000), false)
  assert.match(found(over, 'certificate'), /^failed: .*ended/)
  await writeFile(home.catalog, 'This is no database at all.'.repeat(400))
  for (const end of ['-wal', '-shm']) await rm(`${home.catalog}${end}`, { force: true })
  assert.match(found(await diagnose(home, systemClock, false), 'catalog'), /^failed: .*not a database/)
})
